"""Checkpoints: size and root of a ledger, signed by its keeper and countersigned by whoever witnessed it.

Source: C2SP tlog-checkpoint and tlog-cosignature (github.com/C2SP/C2SP); docs/spec/ledger.md §3 (G-4, G-5, G-8).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from paddock.crypto.digest import b64, unb64
from paddock.crypto.signing import SIGNATURE_BYTES, SigningKey, VerifyKey
from paddock.errors import CheckpointRefused, EncodingRefused, SignatureRefused
from paddock.ledger.merkle import HASH_BYTES, verify_consistency
from paddock.ledger.notes import (
    COSIGNATURE,
    Note,
    NoteSignature,
    check_name,
    key_id,
    read_note,
    sign_text,
    verify_text,
)

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_TIME_BYTES = 8


@dataclass(frozen=True)
class Checkpoint:
    """What a ledger was at one moment.

    Args:
        origin: the ledger's name, unique among those that a reader knows; also the name of its key.
        size: number of entries.
        root: 32-byte tree hash over them.
    """

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note's text: three lines."""
        return f"{self.origin}\n{self.size}\n{b64(self.root)}\n"


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> str:
    """The checkpoint as a note, signed by the ledger's own key.

    Raises:
        CheckpointRefused: the origin cannot be a key's name.
    """
    text = checkpoint.text()
    return str(Note(text, (sign_text(text, key, checkpoint.origin),)))


def read_checkpoint(written: str, key: VerifyKey, *, origin: str) -> Checkpoint:
    """The checkpoint, after these steps: 1. strict form, 2. the expected ledger, 3. signed by its key.

    Raises:
        CheckpointRefused: one of them fails (G-4, G-5).
    """
    note = read_note(written)  # 1.
    checkpoint = _read_text(note.text)
    if checkpoint.origin != origin:  # 2. G-5
        raise CheckpointRefused("The checkpoint is of another ledger.")
    verify_text(note, key, origin)  # 3.
    return checkpoint


def cosign_checkpoint(written: str, key: SigningKey, name: str, *, at: datetime) -> str:
    """The note with one more signature: that `name` saw this checkpoint at this time.

    The caller must have verified the checkpoint and its consistency with what it saw before (`accept_newer`).

    Args:
        written: the note.
        key: the witness's key.
        name: under which the witness's key is known.
        at: when, by the witness's clock.
    """
    note = read_note(written)
    check_name(name)
    seconds = int(at.timestamp())
    value = seconds.to_bytes(_TIME_BYTES) + key.sign(_cosigned_message(note.text, seconds))
    signature = NoteSignature(name, key_id(name, key.verify_key, COSIGNATURE), value)
    return str(replace(note, signatures=(*note.signatures, signature)))


def cosigned_at(written: str, key: VerifyKey, name: str) -> datetime:
    """When the witness of this name and key signed this note, by its clock.

    Raises:
        CheckpointRefused: it did not, or the signature is not valid (G-5).
    """
    note = read_note(written)
    latest = None
    for value in note.by(name, key, COSIGNATURE):
        seconds = int.from_bytes(value[:_TIME_BYTES])
        try:
            if len(value) != _TIME_BYTES + SIGNATURE_BYTES:
                raise SignatureRefused
            key.verify(value[_TIME_BYTES:], _cosigned_message(note.text, seconds))
            moment = datetime.fromtimestamp(seconds, UTC)
        except (SignatureRefused, ValueError, OverflowError, OSError) as error:
            raise CheckpointRefused("A countersignature on the checkpoint is not valid.") from error  # G-5
        latest = moment if latest is None else max(latest, moment)
    if latest is None:
        raise CheckpointRefused("The checkpoint is not countersigned by the expected witness.")  # G-5
    return latest


def accept_newer(seen: Checkpoint, newer: Checkpoint, path: Sequence[bytes]) -> None:
    """Return if `newer` continues the ledger that `seen` is a checkpoint of.

    Args:
        seen: the last checkpoint that this reader accepted; it keeps it durably.
        newer: a verified checkpoint.
        path: the proof of consistency between them.

    Raises:
        ProofRefused: the ledger was rolled back, forked or rewritten (G-8).
        CheckpointRefused: they are of two ledgers.
    """
    if seen.origin != newer.origin:
        raise CheckpointRefused("The checkpoints are of two ledgers.")
    verify_consistency(seen.size, newer.size, seen.root, newer.root, path)  # G-8


def _cosigned_message(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def _read_text(text: str) -> Checkpoint:
    lines = text.split("\n")
    # G-4: three lines. The extension lines that C2SP allows are neither written nor accepted here.
    if len(lines) != 4 or not _NUMBER.fullmatch(lines[1]):
        raise CheckpointRefused("The checkpoint is not well formed.")
    check_name(lines[0])
    try:
        root = unb64(lines[2], HASH_BYTES)
    except EncodingRefused as error:
        raise CheckpointRefused("The checkpoint is not well formed.") from error
    return Checkpoint(lines[0], int(lines[1]), root)
