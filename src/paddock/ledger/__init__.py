"""Append-only transparency log: RFC 6962 hashes, proofs, checkpoints as C2SP signed notes, and its durable tables."""

from paddock.ledger.checkpoint import (
    Checkpoint,
    accept_newer,
    cosign_checkpoint,
    cosigned_at,
    read_checkpoint,
    sign_checkpoint,
)
from paddock.ledger.log import append, checkpoint, consistency, inclusion, leaf_at, size, start
from paddock.ledger.merkle import leaf_hash, verify_consistency, verify_inclusion
from paddock.ledger.notes import note_key, read_note_key
from paddock.ledger.schema import define_tables

__all__ = [
    "Checkpoint",
    "accept_newer",
    "append",
    "checkpoint",
    "consistency",
    "cosign_checkpoint",
    "cosigned_at",
    "define_tables",
    "inclusion",
    "leaf_at",
    "leaf_hash",
    "note_key",
    "read_checkpoint",
    "read_note_key",
    "sign_checkpoint",
    "size",
    "start",
    "verify_consistency",
    "verify_inclusion",
]
