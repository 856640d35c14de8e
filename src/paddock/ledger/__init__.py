"""Append-only transparency log: RFC 6962 hashes and proofs, checkpoints as C2SP signed notes.

What a reader needs is here; the durable log of a service is in `paddock.ledger.log` and `paddock.ledger.schema`, which
need SQLAlchemy.
"""

from paddock.ledger.checkpoint import (
    Checkpoint,
    accept_newer,
    cosign_checkpoint,
    cosigned_at,
    read_checkpoint,
    sign_checkpoint,
)
from paddock.ledger.merkle import leaf_hash, verify_consistency, verify_inclusion
from paddock.ledger.notes import note_key, read_note_key

__all__ = [
    "Checkpoint",
    "accept_newer",
    "cosign_checkpoint",
    "cosigned_at",
    "leaf_hash",
    "note_key",
    "read_checkpoint",
    "read_note_key",
    "sign_checkpoint",
    "verify_consistency",
    "verify_inclusion",
]
