"""Signed notes: a text and signatures by named keys.

Source: C2SP signed-note v1.0.0 (github.com/C2SP/C2SP/blob/main/signed-note.md); docs/spec/ledger.md §3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from paddock.crypto.digest import b64, sha256, unb64
from paddock.crypto.signing import KEY_BYTES, SIGNATURE_BYTES, SigningKey, VerifyKey
from paddock.errors import CheckpointRefused, EncodingRefused, SignatureRefused

ED25519 = b"\x01"
COSIGNATURE = b"\x04"
MAX_NOTE_BYTES = 1 << 16
MAX_SIGNATURES = 64
_KEY_ID_BYTES = 4
_DASH = "\u2014"
_NAME = re.compile(r"[^\s+]{1,255}")


@dataclass(frozen=True)
class NoteSignature:
    """One signature line: whose it says it is, which key, and the bytes. Verified by nobody yet."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        """The line as it stands in the note, without its end."""
        return f"{_DASH} {self.name} {b64(self.key_id + self.value)}"


@dataclass(frozen=True)
class Note:
    """A text that ends in a line feed, and its signatures."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(signature.line() + "\n" for signature in self.signatures)

    def by(self, name: str, key: VerifyKey, kind: bytes) -> Iterator[bytes]:
        """Signature bytes of lines that name this key; other lines are somebody else's and are passed over."""
        wanted = key_id(name, key, kind)
        return (s.value for s in self.signatures if s.name == name and s.key_id == wanted)


def check_name(name: str) -> None:
    """Raises CheckpointRefused unless `name` may stand in a note: no white space, no plus sign, not empty."""
    if not _NAME.fullmatch(name):
        raise CheckpointRefused("The name of a ledger or key has white space or a plus sign, or is empty.")


def key_id(name: str, key: VerifyKey, kind: bytes) -> bytes:
    """The four bytes that tell keys of one name apart; they identify, they prove nothing."""
    return sha256(name.encode() + b"\n" + kind + key.raw)[:_KEY_ID_BYTES]


def note_key(name: str, key: VerifyKey) -> str:
    """The key as people hand it on: `name+hex id+base64`."""
    check_name(name)
    return f"{name}+{key_id(name, key, ED25519).hex()}+{b64(ED25519 + key.raw)}"


def read_note_key(text: str) -> tuple[str, VerifyKey]:
    """Name and key from what `note_key` wrote.

    Raises:
        CheckpointRefused: another form, another algorithm, or the id does not fit the key.
    """
    try:
        name, identity, encoded = text.split("+", 2)
        check_name(name)
        raw = unb64(encoded, len(ED25519) + KEY_BYTES)
        key = VerifyKey(raw[1:])
    except (ValueError, EncodingRefused) as error:
        raise CheckpointRefused("The ledger's key is not well formed.") from error
    if raw[:1] != ED25519 or identity != key_id(name, key, ED25519).hex():
        raise CheckpointRefused("The ledger's key is not well formed.")
    return name, key


def sign_text(text: str, key: SigningKey, name: str) -> NoteSignature:
    """A plain Ed25519 signature over the note's text."""
    check_name(name)
    return NoteSignature(name, key_id(name, key.verify_key, ED25519), key.sign(text.encode()))


def verify_text(note: Note, key: VerifyKey, name: str) -> None:
    """Return if the note bears a valid plain signature of this key under this name.

    Raises:
        CheckpointRefused: none there, or one that is not valid (G-5).
    """
    found = False
    for value in note.by(name, key, ED25519):
        try:
            key.verify(value, note.text.encode())
        except SignatureRefused as error:
            raise CheckpointRefused("A signature on the checkpoint is not valid.") from error  # G-5
        found = True
    if not found:
        raise CheckpointRefused("The checkpoint is not signed by the expected key.")  # G-5


def read_note(written: str) -> Note:
    """Read a note strictly. No signature is verified.

    Raises:
        CheckpointRefused: not in the one form that `str(Note)` writes (G-4).
    """
    if len(written) > MAX_NOTE_BYTES:
        raise CheckpointRefused("The checkpoint is too long.")
    if any((ord(ch) < 0x20 and ch != "\n") or 0xD800 <= ord(ch) <= 0xDFFF for ch in written):
        raise CheckpointRefused("The checkpoint has control characters.")
    text, separator, block = written.rpartition("\n\n")
    lines = block.split("\n")
    if not separator or not text or lines.pop() != "" or not 1 <= len(lines) <= MAX_SIGNATURES:  # G-4
        raise CheckpointRefused("The checkpoint is not a signed note.")
    note = Note(text + "\n", tuple(_read_line(line) for line in lines))
    if str(note) != written:  # G-4
        raise CheckpointRefused("The checkpoint is not a signed note.")
    return note


def _read_line(line: str) -> NoteSignature:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != _DASH:
        raise CheckpointRefused("A signature line of the checkpoint is not well formed.")
    check_name(parts[1])
    try:
        raw = unb64(parts[2])
    except EncodingRefused as error:
        raise CheckpointRefused("A signature line of the checkpoint is not well formed.") from error
    # Lines by keys of other algorithms may be of any length; ours are checked where they are verified.
    if not _KEY_ID_BYTES < len(raw) <= 8192:
        raise CheckpointRefused("A signature line of the checkpoint is not well formed.")
    return NoteSignature(parts[1], raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:])


__all__ = [
    "COSIGNATURE",
    "ED25519",
    "SIGNATURE_BYTES",
    "Note",
    "NoteSignature",
    "check_name",
    "key_id",
    "note_key",
    "read_note",
    "read_note_key",
    "sign_text",
    "verify_text",
]
