"""The content of one file of a draft: ranges that lie in memory, ranges that lie in pieces, and holes of zeros."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Extent:
    """One range of a file.

    Args:
        start: its first byte in the file.
        length: its number of bytes, at least 1.
        data: its bytes, where they are in memory.
        piece: number of the piece that holds them otherwise.
        at: where in the piece.
    """

    start: int
    length: int
    data: bytearray | None = None
    piece: int = -1
    at: int = 0

    @property
    def end(self) -> int:
        """One past the last byte."""
        return self.start + self.length

    def part(self, start: int, end: int) -> Extent:
        """The part of it from `start` to `end`, as an extent of its own."""
        skip = start - self.start
        if self.data is not None:
            return Extent(start, end - start, self.data[skip : end - self.start])
        return Extent(start, end - start, None, self.piece, self.at + skip)


class Content:
    """Extents in ascending order without overlap; what none covers, up to `size`, is zeros.

    Args:
        count: told of each piece how many extents more (or fewer, negative) refer to it.
        merge_bytes: extents in memory that follow one another grow together up to this length.
        extent_cost: bytes that an extent in memory counts for beside its own.
    """

    __slots__ = ("_cost", "_count", "_merge_bytes", "dirty_bytes", "extents", "size")

    def __init__(self, count: Callable[[int, int], None], merge_bytes: int, extent_cost: int) -> None:
        self._count = count
        self._merge_bytes = merge_bytes
        self._cost = extent_cost
        self.size = 0
        self.dirty_bytes = 0
        """Bytes of the extents in memory, and what each takes beside them."""
        self.extents: list[Extent] = []

    def write(self, offset: int, data: memoryview) -> None:
        """Put bytes at an offset; the file grows where they end behind it."""
        if not len(data):
            return
        end = offset + len(data)
        number = self._at(offset)
        if number >= 0:
            extent = self.extents[number]
            if extent.data is not None:
                last = number + 1 == len(self.extents)
                if end <= extent.end:
                    extent.data[offset - extent.start : end - extent.start] = data
                    return
                if extent.end == offset and last and extent.length + len(data) <= self._merge_bytes:
                    extent.data += data
                    extent.length += len(data)
                    self.dirty_bytes += len(data)
                    self.size = max(self.size, end)
                    return
        self.cut(offset, end)
        self._insert(Extent(offset, len(data), bytearray(data)))
        self.size = max(self.size, end)

    def truncate(self, size: int) -> None:
        """Make the file end at `size`; what is new is zeros."""
        if size < self.size:
            self.cut(size, self.size)
        self.size = size

    def cut(self, start: int, end: int) -> None:
        """Turn a range into a hole."""
        first = max(0, self._at(start))
        number = first
        kept: list[Extent] = []
        while number < len(self.extents) and self.extents[number].start < end:
            extent = self.extents[number]
            if extent.end <= start:
                kept.append(extent)
            else:
                if extent.start < start:
                    kept.append(extent.part(extent.start, start))
                if extent.end > end:
                    kept.append(extent.part(end, extent.end))
            number += 1
        before = self.extents[first:number]
        self._tell(kept, 1)
        self._tell(before, -1)
        self.extents[first:number] = kept

    def adopt(self, extents: list[Extent], size: int) -> None:
        """Take other extents in the place of all: ascending, without overlap, within `size`."""
        self._tell(extents, 1)
        self._tell(self.extents, -1)
        self.extents = extents
        self.size = size

    def ranges(self, offset: int, length: int) -> list[Extent]:
        """The extents that meet a range."""
        number = max(0, self._at(offset))
        found = []
        while number < len(self.extents) and self.extents[number].start < offset + length:
            if self.extents[number].end > offset:
                found.append(self.extents[number])
            number += 1
        return found

    def replace(self, old: Extent, new: list[Extent]) -> None:
        """Put extents over the same bytes in the place of one."""
        number = self._at(old.start)
        if number < 0 or self.extents[number] is not old:
            raise RuntimeError("the extent is not this file's")
        self._tell(new, 1)
        self._tell([old], -1)
        self.extents[number : number + 1] = new

    def _at(self, offset: int) -> int:
        """Number of the last extent that begins at or before an offset; -1 for none."""
        if self.extents and self.extents[-1].start <= offset:
            return len(self.extents) - 1
        return bisect_right(self.extents, offset, key=lambda extent: extent.start) - 1

    def _insert(self, extent: Extent) -> None:
        self._tell([extent], 1)
        self.extents.insert(self._at(extent.start) + 1, extent)

    def _tell(self, extents: list[Extent], sign: int) -> None:
        for extent in extents:
            if extent.data is None:
                self._count(extent.piece, sign)
            else:
                self.dirty_bytes += sign * (extent.length + self._cost)
