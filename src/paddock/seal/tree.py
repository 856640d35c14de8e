"""The hash tree that commits to every stored byte.

    leaf hash     = BLAKE3-derive-key("… segment")(stored bytes of the segment)
    level 0       = the leaf hashes, 32 bytes each
    level k + 1   = BLAKE3-derive-key("… tile level k")(tile), one for each tile of level k
    tile          = up to 256 neighbouring hashes of a level (8 KiB)
    root          = the hash of the only tile of the top level

A GCM tag alone does not commit: whoever holds the data key can make two texts with one tag. A collision of BLAKE3
cannot be found, so an owner who works with the store cannot exchange data after others signed the asset's id.

Source: docs/spec/sealed-volume.md §4; BLAKE3 §2.4 (derive_key mode).
"""

from __future__ import annotations

from dataclasses import dataclass

from blake3 import blake3

from paddock.crypto.streaming import Buffer

HASH_BYTES = 32
TILE_HASHES = 256
TILE_BYTES = HASH_BYTES * TILE_HASHES
_SEGMENT_CONTEXT = "paddock 2026 sealed volume v1 segment"
_FILE_CONTEXT = "paddock 2026 sealed volume v1 file"
_TILE_CONTEXT = "paddock 2026 sealed volume v1 tile level "


def leaf_hash(sealed: Buffer) -> bytes:
    """The hash of one segment as stored; the first one includes the stream's header (S-9)."""
    return blake3(sealed, derive_key_context=_SEGMENT_CONTEXT).digest()


def tile_hash(level: int, tile: Buffer) -> bytes:
    """The hash of one tile of a level (S-10)."""
    return blake3(tile, derive_key_context=_TILE_CONTEXT + str(level)).digest()


class ContentHash:
    """The digest of a file's content, fed in pieces (S-21). It stands in the sealed file table alone."""

    __slots__ = ("_hash", "length")

    def __init__(self) -> None:
        self._hash = blake3(derive_key_context=_FILE_CONTEXT)
        self.length = 0

    def update(self, data: Buffer) -> None:
        """Take the next bytes."""
        self._hash.update(data)
        self.length += memoryview(data).nbytes

    def digest(self) -> bytes:
        """The 32-byte digest of what was taken so far; more may follow."""
        return self._hash.digest()

    def copy(self) -> ContentHash:
        """Another one that has taken the same."""
        other = ContentHash()
        other._hash, other.length = self._hash.copy(), self.length
        return other


def build_levels(leaves: Buffer) -> tuple[list[bytes], bytes]:
    """All levels of the tree, from the leaf hashes up, and the root.

    Args:
        leaves: the leaf hashes one after another, at least one.
    """
    levels = [bytes(leaves)]
    while True:
        below = memoryview(levels[-1])
        above = b"".join(
            tile_hash(len(levels) - 1, below[at : at + TILE_BYTES]) for at in range(0, len(below), TILE_BYTES)
        )
        if len(above) == HASH_BYTES:
            return levels, above
        levels.append(above)


@dataclass(frozen=True)
class TreeLayout:
    """Where the levels of one stream's tree stand in the object that holds them (S-11).

    Args:
        start: offset of level 0 in the object.
        segments: number of leaves, at least 1.
    """

    start: int
    segments: int

    @property
    def widths(self) -> list[int]:
        """Number of hashes of each level, from the leaves up."""
        widths = [self.segments]
        while widths[-1] > TILE_HASHES:
            widths.append(-(-widths[-1] // TILE_HASHES))
        return widths

    @property
    def end(self) -> int:
        """Offset of the first byte after this tree."""
        return self.start + HASH_BYTES * sum(self.widths)

    def tile_range(self, level: int, tile: int) -> tuple[int, int]:
        """Offset in the tree object and length of one tile."""
        widths = self.widths
        level_start = self.start + HASH_BYTES * sum(widths[:level])
        hashes = min(TILE_HASHES, widths[level] - tile * TILE_HASHES)
        return level_start + tile * TILE_BYTES, hashes * HASH_BYTES
