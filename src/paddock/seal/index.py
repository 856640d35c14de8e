"""The file table of a volume: which path holds which bytes of the payload.

    index  = blocks || fence table || zero padding || footer (48 bytes)
    block  = entries, as many as fit into 64 KiB
    entry  = u16 path length || path || u64 offset || u64 length
    fence  = u64 position of the block || u32 entries || u64 payload offset || u16 path length || first path
    footer = "PDKINDX1" || u64 files || u64 content bytes || u64 position and u64 length of the fence table ||
             u64 blocks

All integers are big-endian. Files stand in ascending order of their paths' bytes, in the index and in the payload
alike, so that one block and its two neighbouring fences suffice to find and check an entry: a table of a million
files is searched by reading one block.

Source: docs/spec/sealed-volume.md §6.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from paddock.errors import IndexRefused, PathRefused, VolumeTooLarge
from paddock.seal.padding import Padding, padded_length, zeros
from paddock.seal.paths import PathOrder, check_path

MAGIC = b"PDKINDX1"
MAX_BLOCK_BYTES = 64 << 10
MAX_FENCES_BYTES = 16 << 20
"""The fence table is held in memory while a volume is open; this one serves hundreds of millions of files."""

_PATH_LENGTH = struct.Struct(">H")
_EXTENT = struct.Struct(">QQ")
_FENCE = struct.Struct(">QLQ")
_FOOTER = struct.Struct(">8sQQQQQ")
FOOTER_BYTES = _FOOTER.size


@dataclass(frozen=True)
class Entry:
    """One file: its path, and where its bytes stand in the payload's plaintext."""

    path: bytes
    offset: int
    length: int


@dataclass(frozen=True)
class Fence:
    """One block: where it stands, how many entries it has, and its first entry."""

    position: int
    entries: int
    offset: int
    path: bytes


@dataclass(frozen=True)
class Footer:
    """The last 48 bytes of the index."""

    files: int
    content_bytes: int
    fences_position: int
    fences_bytes: int
    blocks: int


class IndexBuilder:
    """Collects entries in path order and writes the index's plaintext."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._block = bytearray()
        self._fences = bytearray()
        self._fence = Fence(0, 0, 0, b"")
        self._position = 0
        self._order = PathOrder()
        self.files = 0
        self.content_bytes = 0

    def check(self, path: str) -> bytes:
        """The path's bytes, if it may come next.

        Raises:
            PathRefused: not a path that a volume holds, out of order, twice, or a directory of the one before.
        """
        raw = check_path(path)
        self._order.follow(raw)
        return raw

    def add(self, path: bytes, length: int) -> None:
        """Add the next file.

        Args:
            path: what `check` returned for it.
            length: its number of bytes, which follow those of the file before.
        """
        entry = _PATH_LENGTH.pack(len(path)) + path + _EXTENT.pack(self.content_bytes, length)
        if len(self._block) + len(entry) > MAX_BLOCK_BYTES:
            self._close_block()
        if not self._block:
            self._fence = Fence(self._position, 0, self.content_bytes, path)
        self._block += entry
        self._fence = Fence(self._fence.position, self._fence.entries + 1, self._fence.offset, self._fence.path)
        self.files += 1
        self.content_bytes += length

    def _close_block(self) -> None:
        fence = self._fence
        self._fences += _FENCE.pack(fence.position, fence.entries, fence.offset)
        self._fences += _PATH_LENGTH.pack(len(fence.path)) + fence.path
        if len(self._fences) > MAX_FENCES_BYTES:
            raise VolumeTooLarge("It has too many files.")
        self._blocks.append(bytes(self._block))
        self._position += len(self._block)
        self._block.clear()

    def finish(self, padding: Padding) -> Iterator[bytes]:
        """The index's plaintext in pieces; the builder is used up."""
        if self._block:
            self._close_block()
        yield from self._blocks
        yield bytes(self._fences)
        content = self._position + len(self._fences)
        yield from zeros(padded_length(content + FOOTER_BYTES, padding) - content - FOOTER_BYTES)
        yield _FOOTER.pack(MAGIC, self.files, self.content_bytes, self._position, len(self._fences), len(self._blocks))


def parse_footer(data: bytes, index_bytes: int, padding: Padding) -> Footer:
    """Read the footer.

    Args:
        data: the last 48 bytes of the index's plaintext.
        index_bytes: length of the whole plaintext.
        padding: as the manifest states it.

    Raises:
        IndexRefused: a footer that no writer writes.

    Source: docs/spec/sealed-volume.md §6 (S-19).
    """
    # S-19
    if len(data) != FOOTER_BYTES or not data.startswith(MAGIC):
        raise IndexRefused("It does not end with a footer.")
    footer = Footer(*_FOOTER.unpack(data)[1:])
    content = footer.fences_position + footer.fences_bytes
    if index_bytes != padded_length(content + FOOTER_BYTES, padding):
        raise IndexRefused("Its length does not fit its content.")
    if footer.fences_bytes > MAX_FENCES_BYTES:
        raise IndexRefused("Its fence table is too large.")
    # S-16
    if footer.files == 0 and (content or footer.content_bytes):
        raise IndexRefused("It lists no file but has content.")
    return footer


def parse_fences(data: bytes, footer: Footer) -> list[Fence]:
    """Read the fence table.

    Args:
        data: the table's bytes, as long as the footer says.
        footer: the checked footer.

    Raises:
        IndexRefused: a table that no writer writes.

    Source: docs/spec/sealed-volume.md §6 (S-20).
    """
    fences: list[Fence] = []
    at = 0
    # S-20
    while at < len(data):
        fixed, at = _take(data, at, _FENCE.size)
        raw, at = _take_path(data, at)
        position, entries, offset = _FENCE.unpack(fixed)
        before = fences[-1] if fences else None
        if before is None:
            follows = position == 0 and offset == 0
        else:
            block_bytes = position - before.position
            follows = 0 < block_bytes <= MAX_BLOCK_BYTES and raw > before.path and offset >= before.offset
        if not follows or entries == 0:
            raise IndexRefused("Its fence table is not in order.")
        fences.append(Fence(position, entries, offset, raw))
    if len(fences) != footer.blocks or sum(fence.entries for fence in fences) != footer.files:
        raise IndexRefused("Its fence table does not fit the footer.")
    if fences and not 0 < footer.fences_position - fences[-1].position <= MAX_BLOCK_BYTES:
        raise IndexRefused("Its last block has no possible length.")
    return fences


def parse_block(data: bytes, fence: Fence, after: Fence | None, footer: Footer) -> list[Entry]:
    """Read one block and check it against the fences on both its sides.

    Args:
        data: the block's bytes.
        fence: the block's own fence.
        after: the next block's fence; None for the last block.
        footer: the checked footer.

    Raises:
        IndexRefused: a block that no writer writes.

    Source: docs/spec/sealed-volume.md §6 (S-21).
    """
    entries: list[Entry] = []
    order = PathOrder()
    expected = fence.offset
    at = 0
    # S-21
    try:
        while at < len(data):
            raw, at = _take_path(data, at)
            extent, at = _take(data, at, _EXTENT.size)
            offset, length = _EXTENT.unpack(extent)
            order.follow(raw)
            if offset != expected:
                raise IndexRefused("Its files overlap or leave a gap.")
            expected = offset + length
            entries.append(Entry(raw, offset, length))
        if after is not None:
            order.follow(after.path)
    except PathRefused:
        raise IndexRefused("Its paths are not in order.") from None
    if len(entries) != fence.entries or not entries or entries[0].path != fence.path:
        raise IndexRefused("A block does not fit its fence.")
    if expected != (footer.content_bytes if after is None else after.offset):
        raise IndexRefused("Its files do not fill the payload.")
    if after is not None and len(data) + _PATH_LENGTH.size + len(after.path) + _EXTENT.size <= MAX_BLOCK_BYTES:
        raise IndexRefused("A block ends before it is full.")
    return entries


def _take(data: bytes, at: int, count: int) -> tuple[bytes, int]:
    if at + count > len(data):
        raise IndexRefused("It ends in the middle of an entry.")
    return data[at : at + count], at + count


def _take_path(data: bytes, at: int) -> tuple[bytes, int]:
    size, at = _take(data, at, _PATH_LENGTH.size)
    raw, at = _take(data, at, _PATH_LENGTH.unpack(size)[0])
    # S-17
    try:
        check_path(raw.decode("utf-8"))
    except (UnicodeDecodeError, PathRefused):
        raise IndexRefused("A path in it is not one that a volume may hold.") from None
    return raw, at
