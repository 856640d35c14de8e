"""Opened segments of pieces, for reading back."""

from __future__ import annotations

from collections import OrderedDict

from paddock.seal.datakey import DataKey
from paddock.views.drafts.objects import ObjectStore, Piece


class Segments:
    """The segments read last, at most `capacity` of them. For one thread at a time.

    Args:
        store: where the pieces are; not trusted.
        key: the draft's key.
        draft: its number.
        capacity: segments of 256 KiB.
    """

    def __init__(self, store: ObjectStore, key: DataKey, draft: str, capacity: int) -> None:
        self._store = store
        self._key = key
        self._draft = draft
        self._capacity = capacity
        self._opened: OrderedDict[tuple[int, int], tuple[int, bytearray]] = OrderedDict()

    def read_into(self, piece: Piece, offset: int, out: memoryview) -> None:
        """Fill a buffer from an offset of a piece; the range lies inside it. Raises as `Piece.read`."""
        filled = 0
        while filled < len(out):
            at, plain = self._segment(piece, piece.layout.segment_of(offset + filled))
            skip = offset + filled - at
            count = min(len(out) - filled, len(plain) - skip)
            out[filled : filled + count] = memoryview(plain)[skip : skip + count]
            filled += count

    def _segment(self, piece: Piece, number: int) -> tuple[int, bytearray]:
        where = (piece.number, number)
        found = self._opened.get(where)
        if found is None:
            found = self._opened[where] = piece.read(number, self._store, self._key, self._draft)
            if len(self._opened) > self._capacity:
                self._opened.popitem(last=False)
        else:
            self._opened.move_to_end(where)
        return found
