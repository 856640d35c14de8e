"""What a draft puts into a store: sealed objects, each a stream of its own under the draft's key.

Source: docs/spec/draft.md §2 and §3.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from blake3 import blake3

from paddock.crypto.streaming import HEADER_BYTES, Buffer, StreamKey, StreamLayout, new_header
from paddock.errors import DraftIncomplete, EncodingRefused, NoSuchObject, PieceRefused, TagRefused, VolumeTooLarge
from paddock.seal.datakey import DataKey

SEGMENT_BYTES = 256 << 10
PAD_BYTES = 4096
MAX_PIECE_BYTES = 16 << 20
_LEAF_CONTEXT = "paddock 2026 draft v1 segment"
_NUMBER = re.compile(r"[0-9a-f]{32}")
LEAF_BYTES = 32


class ObjectStore(Protocol):
    """What a draft needs of a store: `paddock.store.Store`, or less strict about the kind of bytes."""

    def put(self, name: str, chunks: Iterable[Buffer]) -> int:
        """See `Store.put`."""
        ...

    def read(self, name: str, offset: int, length: int) -> Buffer:
        """See `Store.read`."""
        ...

    def size(self, name: str) -> int:
        """See `Store.size`."""
        ...

    def delete(self, name: str) -> None:
        """See `Store.delete`."""
        ...


def new_draft_number() -> str:
    """16 random bytes as 32 hex digits (D-1)."""
    return secrets.token_hex(16)


def is_draft_number(text: str) -> bool:
    """Whether it has the form of one (D-1)."""
    return _NUMBER.fullmatch(text) is not None


def object_name(draft: str, kind: str, number: int) -> str:
    """Where an object stands in the store.

    Args:
        draft: the draft's number.
        kind: `j` for a record of the journal, `p` for a piece.
        number: counted from 0.
    """
    # D-1
    return f"drafts/{draft}/{kind}/{number}"


def padded(length: int) -> int:
    """The length that an object's plaintext has in the store (D-4)."""
    return max(PAD_BYTES, -(-length // PAD_BYTES) * PAD_BYTES)


def leaf_hash(stored: Buffer) -> bytes:
    """The hash that commits to the stored bytes of one segment (D-6)."""
    return blake3(stored, derive_key_context=_LEAF_CONTEXT).digest()


def seal_object(key: DataKey, draft: str, kind: str, number: int, plain: Buffer) -> tuple[bytearray, bytes]:
    """Seal an object.

    Args:
        key: the draft's key.
        draft: its number.
        kind: `j` or `p`.
        number: the object's number, never used before.
        plain: what it holds, of a length that `padded` gives.

    Returns:
        The stored bytes, and the leaf hashes of their segments one after another.
    """
    view = memoryview(plain)
    layout = StreamLayout.of_plaintext(SEGMENT_BYTES, len(view))
    header = new_header()
    # D-2: a fresh header for each object, so no nonce is ever used twice, also when an object is tried again.
    stream = StreamKey(key.raw(), header, _label(draft, kind, number))
    out = bytearray(layout.sealed_bytes)
    out[:HEADER_BYTES] = header
    window, leaves = memoryview(out), []
    for segment in range(layout.segments):
        at, length = layout.plain_range(segment)
        start, size = layout.sealed_range(segment)
        skip = HEADER_BYTES if segment == 0 else 0
        stream.seal_segment(
            segment, segment + 1 == layout.segments, view[at : at + length], window[start + skip : start + size]
        )
        leaves.append(leaf_hash(window[start : start + size]))
    return out, b"".join(leaves)


def open_object(key: DataKey, draft: str, kind: str, number: int, stored: memoryview) -> bytearray:
    """Open a whole object.

    Raises:
        EncodingRefused: its form is not that of a stream.
        TagRefused: it was not sealed as this object of this draft.
    """
    try:
        layout = StreamLayout(SEGMENT_BYTES, len(stored))
    except VolumeTooLarge:
        raise EncodingRefused("An object of a draft is too long.") from None
    # D-2
    stream = StreamKey(key.raw(), bytes(stored[:HEADER_BYTES]), _label(draft, kind, number))
    out = bytearray(layout.plain_bytes)
    for segment in range(layout.segments):
        at, length = layout.plain_range(segment)
        start, size = layout.sealed_range(segment)
        skip = HEADER_BYTES if segment == 0 else 0
        stream.open_segment(
            segment,
            segment + 1 == layout.segments,
            stored[start + skip : start + size],
            memoryview(out)[at : at + length],
        )
    return out


@dataclass(frozen=True)
class Piece:
    """One sealed piece of content, as a record commits it.

    Args:
        number: its number in the draft.
        plain_bytes: length of its plaintext, padding included.
        leaves: the leaf hashes of its segments one after another.
    """

    number: int
    plain_bytes: int
    leaves: bytes

    @property
    def layout(self) -> StreamLayout:
        """Where its segments stand."""
        return StreamLayout.of_plaintext(SEGMENT_BYTES, self.plain_bytes)

    def read(self, segment: int, store: ObjectStore, key: DataKey, draft: str) -> tuple[int, bytearray]:
        """Fetch, compare and open one segment.

        Returns:
            The place of its first byte in the piece, and its plaintext.

        Raises:
            DraftIncomplete: the store has no such piece.
            PieceRefused: it is not what was committed.
            Unavailable: the store did not answer.
        """
        layout, name = self.layout, object_name(draft, "p", self.number)
        start, size = layout.sealed_range(segment)
        try:
            # The header belongs to the first segment; others need it, too.
            header = bytes(store.read(name, 0, HEADER_BYTES)) if segment else b""
            stored = memoryview(store.read(name, start, size))
        except NoSuchObject:
            raise DraftIncomplete(f"It lacks {name}.") from None
        # D-6
        if len(stored) != size or leaf_hash(stored) != self.leaves[segment * LEAF_BYTES : (segment + 1) * LEAF_BYTES]:
            raise PieceRefused(f"Segment {segment} of {name}.")
        at, length = layout.plain_range(segment)
        out = bytearray(length)
        skip = 0 if segment else HEADER_BYTES
        try:
            stream = StreamKey(key.raw(), header or bytes(stored[:HEADER_BYTES]), _label(draft, "p", self.number))
            stream.open_segment(segment, segment + 1 == layout.segments, stored[skip:], memoryview(out))
        except (TagRefused, EncodingRefused):
            raise PieceRefused(f"Segment {segment} of {name} does not open.") from None
        return at, out

    @staticmethod
    def leaf_bytes(plain_bytes: int) -> int:
        """How many bytes of leaf hashes a piece of this length has."""
        return StreamLayout.of_plaintext(SEGMENT_BYTES, plain_bytes).segments * LEAF_BYTES


def _label(draft: str, kind: str, number: int) -> bytes:
    return f"paddock/draft/v1/{draft}/{kind}/{number}".encode("ascii")


__all__ = [
    "MAX_PIECE_BYTES",
    "PAD_BYTES",
    "ObjectStore",
    "Piece",
    "is_draft_number",
    "new_draft_number",
    "object_name",
    "open_object",
    "padded",
    "seal_object",
]
