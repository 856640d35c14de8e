"""The file table of a volume: which path holds which bytes of its content.

    index   = blocks || fence table || part table || zero padding || footer (56 bytes)
    block   = entries, as many as fit into 16 KiB
    entry   = u16 path length || path || digest (32) || u16 extents || extent …
    extent  = u64 offset || u64 length, in the contents of all parts one after another
    fence   = u64 position of the block || u32 entries || u16 extents of its first file || u16 path length || its path
    part    = number (16) || key (32) || header (40) || root (32) || u32 segment size || u64 stored || u64 content bytes
    footer  = "PDKINDX1" || u64 files || u64 bytes of all files || u64 position and u64 length of the fence table ||
              u64 blocks || u64 parts

All integers are big-endian. Files stand in ascending order of their paths' bytes, so that one block and its two
neighbouring fences suffice to find and check an entry: a table of a million files is searched by reading one block.

Source: docs/spec/sealed-volume.md §6.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from paddock.crypto.streaming import DATA_KEY_BYTES, HEADER_BYTES, StreamLayout
from paddock.errors import EncodingRefused, IndexRefused, PathRefused, VolumeTooLarge
from paddock.seal.manifest import StreamFacts
from paddock.seal.padding import Padding, padded_length, zeros
from paddock.seal.paths import PathOrder, check_path, is_path
from paddock.seal.tree import HASH_BYTES

MAGIC = b"PDKINDX1"
MAX_BLOCK_BYTES = 16 << 10
MAX_TABLE_BYTES = 16 << 20
"""Fence table and part table are held in memory while a volume is open; these serve tens of millions of files."""
MAX_EXTENTS = 128
"""Extents of one file; a file that grew more often is written anew."""

_PATH_LENGTH = struct.Struct(">H")
_COUNT = struct.Struct(">H")
_EXTENT = struct.Struct(">QQ")
_CUT = "It ends in the middle of an entry."
_FENCE = struct.Struct(">QLH")
_PART = struct.Struct(f">16s{DATA_KEY_BYTES}s{HEADER_BYTES}s{HASH_BYTES}sIQQ")
_FOOTER = struct.Struct(">8sQQQQQQ")
FOOTER_BYTES = _FOOTER.size
PART_BYTES = _PART.size
_ENTRY_BYTES = _PATH_LENGTH.size + HASH_BYTES + _COUNT.size


class Extent(NamedTuple):
    """Bytes of the contents of all parts, one after another in the order of their table: from where, how many."""

    offset: int
    length: int


class Stored(NamedTuple):
    """Content that stands in parts already.

    Args:
        digest: `content_hash` of it.
        extents: where it stands, in order; none for empty content.
    """

    digest: bytes
    extents: tuple[Extent, ...]

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return sum(extent.length for extent in self.extents)


class Entry(NamedTuple):
    """One file: its path and its content."""

    path: bytes
    stored: Stored


@dataclass(frozen=True, slots=True)
class Part:
    """One payload stream: under which number it is kept, its key, and what commits to it.

    Args:
        number: 32 hex digits.
        key: the 32 secret bytes of this stream alone.
        facts: length, header, root.
        content_bytes: bytes of files in it; the rest is padding.
    """

    number: str
    key: bytes = field(repr=False)
    facts: StreamFacts
    content_bytes: int


@dataclass(frozen=True, slots=True)
class Fence:
    """One block: where it stands, how many entries it has, and its first file's path and number of extents."""

    position: int
    entries: int
    extents: int
    path: bytes


@dataclass(frozen=True, slots=True)
class Footer:
    """The last 56 bytes of the index."""

    files: int
    file_bytes: int
    fences_position: int
    fences_bytes: int
    blocks: int
    parts: int

    @property
    def parts_position(self) -> int:
        """Where the part table begins."""
        return self.fences_position + self.fences_bytes

    @property
    def parts_bytes(self) -> int:
        """Length of the part table."""
        return self.parts * PART_BYTES


class IndexBuilder:
    """Collects entries in path order and writes the index's plaintext."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._block = bytearray()
        self._fences = bytearray()
        self._fence = (0, 0, b"")
        self._entries = 0
        self._position = 0
        self._order = PathOrder()
        self.files = 0
        self.file_bytes = 0

    def check(self, path: str) -> bytes:
        """The path's bytes, if it may come next.

        Raises:
            PathRefused: not a path that a volume holds, out of order, twice, or a directory of the one before.
        """
        raw = check_path(path)
        self._order.follow(raw)
        return raw

    def add(self, path: bytes, stored: Stored) -> None:
        """Add the next file.

        Args:
            path: what `check` returned for it.
            stored: its content, in the parts that `finish` is given.
        """
        extents = stored.extents
        entry = b"".join(
            (
                _PATH_LENGTH.pack(len(path)),
                path,
                stored.digest,
                _COUNT.pack(len(extents)),
                *(_EXTENT.pack(extent.offset, extent.length) for extent in extents),
            )
        )
        if len(self._block) + len(entry) > MAX_BLOCK_BYTES:
            self._close_block()
        if not self._block:
            self._fence = (self._position, len(extents), path)
        self._block += entry
        self._entries += 1
        self.files += 1
        self.file_bytes += stored.size

    def _close_block(self) -> None:
        position, extents, path = self._fence
        self._fences += _FENCE.pack(position, self._entries, extents) + _PATH_LENGTH.pack(len(path)) + path
        if len(self._fences) > MAX_TABLE_BYTES:
            raise VolumeTooLarge("It has too many files.")
        self._blocks.append(bytes(self._block))
        self._position += len(self._block)
        self._block.clear()
        self._entries = 0

    def finish(self, parts: Sequence[Part], padding: Padding) -> Iterator[bytes]:
        """The index's plaintext in pieces; the builder is used up."""
        if self._block:
            self._close_block()
        if len(parts) * PART_BYTES > MAX_TABLE_BYTES:
            raise VolumeTooLarge("It has too many parts.")
        yield from self._blocks
        yield bytes(self._fences)
        for part in parts:
            yield _PART.pack(
                bytes.fromhex(part.number),
                part.key,
                part.facts.header,
                part.facts.root,
                part.facts.layout.segment_bytes,
                part.facts.layout.sealed_bytes,
                part.content_bytes,
            )
        content = self._position + len(self._fences) + len(parts) * PART_BYTES
        yield from zeros(padded_length(content + FOOTER_BYTES, padding) - content - FOOTER_BYTES)
        yield _FOOTER.pack(
            MAGIC, self.files, self.file_bytes, self._position, len(self._fences), len(self._blocks), len(parts)
        )


def parse_footer(data: bytes, index_bytes: int, padding: Padding) -> Footer:
    """Read the footer.

    Args:
        data: the last 56 bytes of the index's plaintext.
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
    if footer.fences_bytes > MAX_TABLE_BYTES:
        raise IndexRefused("Its fence table is too large.")
    if footer.parts_bytes > MAX_TABLE_BYTES:
        raise IndexRefused("Its part table is too large.")
    content = footer.parts_position + footer.parts_bytes
    if index_bytes != padded_length(content + FOOTER_BYTES, padding):
        raise IndexRefused("Its length does not fit its content.")
    # S-16
    if footer.files == 0 and (footer.parts_position or footer.parts or footer.file_bytes):
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
        if at + _FENCE.size > len(data):
            raise IndexRefused(_CUT)
        position, entries, extents = _FENCE.unpack_from(data, at)
        raw, at = _take_path(data, at + _FENCE.size)
        before = fences[-1] if fences else None
        if before is None:
            follows = position == 0
        else:
            follows = 0 < position - before.position <= MAX_BLOCK_BYTES and raw > before.path
        if not follows or entries == 0:
            raise IndexRefused("Its fence table is not in order.")
        fences.append(Fence(position, entries, extents, raw))
    if len(fences) != footer.blocks or sum(fence.entries for fence in fences) != footer.files:
        raise IndexRefused("Its fence table does not fit the footer.")
    if fences and not 0 < footer.fences_position - fences[-1].position <= MAX_BLOCK_BYTES:
        raise IndexRefused("Its last block has no possible length.")
    return fences


def parse_parts(data: bytes, padding: Padding) -> tuple[Part, ...]:
    """Read the part table.

    Args:
        data: the table's bytes, as long as the footer says.
        padding: as the manifest states it.

    Raises:
        IndexRefused: a table that no writer writes.

    Source: docs/spec/sealed-volume.md §6 (S-22).
    """
    parts: list[Part] = []
    # S-22
    for number, key, header, root, segment_bytes, sealed_bytes, content in _PART.iter_unpack(data):
        try:
            layout = StreamLayout(segment_bytes, sealed_bytes)
        except (EncodingRefused, VolumeTooLarge):
            raise IndexRefused("A part has a length that no stream has.") from None
        if header[0] != HEADER_BYTES:
            raise IndexRefused("The header of a part is not well formed.")
        if not 0 < content <= layout.plain_bytes or (padding == "none" and content != layout.plain_bytes):
            raise IndexRefused("A part's length does not fit its content.")
        parts.append(Part(number.hex(), key, StreamFacts(layout, header, root), content))
    if len({part.number for part in parts}) != len(parts):
        raise IndexRefused("A part stands twice in its table.")
    return tuple(parts)


def parse_block(data: bytes, fence: Fence, after: Fence | None, content_bytes: int) -> list[Entry]:
    """Read one block and check it against the fences on both its sides.

    Args:
        data: the block's bytes.
        fence: the block's own fence.
        after: the next block's fence; None for the last block.
        content_bytes: of all parts together.

    Raises:
        IndexRefused: a block that no writer writes.

    Source: docs/spec/sealed-volume.md §6 (S-21).
    """
    entries: list[Entry] = []
    order = PathOrder()
    at, end = 0, len(data)
    # S-21. A file that is opened by its name may cost the reading of a block: this loop is written for speed.
    try:
        while at < end:
            raw, at = _take_path(data, at)
            rows = at + HASH_BYTES + _COUNT.size
            if rows > end:
                raise IndexRefused(_CUT)
            digest = data[at : at + HASH_BYTES]
            at = rows + _COUNT.unpack_from(data, rows - _COUNT.size)[0] * _EXTENT.size
            if at > end:
                raise IndexRefused(_CUT)
            order.follow(raw)
            entries.append(Entry(raw, Stored(digest, _extents(data[rows:at], content_bytes))))
        if after is not None:
            order.follow(after.path)
    except PathRefused:
        raise IndexRefused("Its paths are not in order.") from None
    if len(entries) != fence.entries or not entries:
        raise IndexRefused("A block does not fit its fence.")
    if (entries[0].path, len(entries[0].stored.extents)) != (fence.path, fence.extents):
        raise IndexRefused("A block does not fit its fence.")
    if after is not None:
        following = _ENTRY_BYTES + len(after.path) + after.extents * _EXTENT.size
        if len(data) + following <= MAX_BLOCK_BYTES:
            raise IndexRefused("A block ends before it is full.")
    return entries


def _extents(rows: bytes, content_bytes: int) -> tuple[Extent, ...]:
    found: list[Extent] = []
    end = -1
    for offset, length in _EXTENT.iter_unpack(rows):
        if length == 0 or offset + length > content_bytes:
            raise IndexRefused("A file lies outside the content.")
        if offset == end:
            raise IndexRefused("Two pieces of a file are one.")
        end = offset + length
        found.append(Extent(offset, length))
    if len(found) > MAX_EXTENTS:
        raise IndexRefused("A file has too many pieces.")
    return tuple(found)


def _take_path(data: bytes, at: int) -> tuple[bytes, int]:
    start = at + _PATH_LENGTH.size
    if start > len(data):
        raise IndexRefused(_CUT)
    end = start + _PATH_LENGTH.unpack_from(data, at)[0]
    if end > len(data):
        raise IndexRefused(_CUT)
    raw = data[start:end]
    # S-17
    if not is_path(raw):
        raise IndexRefused("A path in it is not one that a volume may hold.")
    return raw, end
