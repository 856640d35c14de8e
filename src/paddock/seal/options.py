"""How volumes are sealed and opened."""

from __future__ import annotations

from dataclasses import dataclass

from paddock.crypto.streaming import MIN_SEGMENT_BYTES, is_segment_size
from paddock.errors import SealOptionsInvalid
from paddock.seal.padding import PADDINGS, Padding

MAX_THREADS = 64


@dataclass(frozen=True)
class SealOptions:
    """How a volume is written. Memory in use is about `4 * threads * segment_bytes`.

    Args:
        segment_bytes: stored bytes of a segment, a power of two from 4 KiB to 4 MiB; what is read at once, too.
        padding: `padme`, or `none` where exact lengths may be seen.
        threads: threads that encrypt and hash.
        part_bytes: content of one part, at least 4 KiB; what is written again at most when a sealing is interrupted.

    Raises:
        SealOptionsInvalid: out of range.
    """

    segment_bytes: int = 512 << 10
    padding: Padding = "padme"
    threads: int = 2
    part_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        if not is_segment_size(self.segment_bytes):
            raise SealOptionsInvalid(f"A segment size of {self.segment_bytes} bytes was asked for.")
        if self.padding not in PADDINGS:
            raise SealOptionsInvalid("An unknown padding was asked for.")
        if self.part_bytes < MIN_SEGMENT_BYTES:
            raise SealOptionsInvalid(f"Parts of {self.part_bytes} bytes were asked for.")
        _check_threads(self.threads)


@dataclass(frozen=True)
class OpenOptions:
    """How a volume is read.

    Memory in use is about `cached_segments` segments, `2 * threads * fetch_bytes`, and 8 KiB for each tile.

    Args:
        threads: threads that fetch and open the segments of one large read.
        cached_segments: opened segments that are kept in memory, at least 1.
        cached_tiles: verified tiles (8 KiB) of the hash tree that are kept in memory, at least 1.
        cached_blocks: blocks of the file table (16 KiB, about 90 KiB once read) that are kept in memory, at least 1.
        cached_parts: parts whose key and tree are kept at hand, at least 1.
        fetch_bytes: how much a long read asks of the store at once; a segment at least.

    Raises:
        SealOptionsInvalid: out of range.
    """

    threads: int = 2
    cached_segments: int = 32
    cached_tiles: int = 64
    cached_blocks: int = 512
    cached_parts: int = 64
    fetch_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        _check_threads(self.threads)
        if min(self.cached_segments, self.cached_tiles, self.cached_blocks, self.cached_parts, self.fetch_bytes) < 1:
            raise SealOptionsInvalid("A cache that holds nothing was asked for.")


def _check_threads(threads: int) -> None:
    if not 1 <= threads <= MAX_THREADS:
        raise SealOptionsInvalid(f"{threads} threads were asked for.")
