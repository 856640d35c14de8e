"""How volumes are sealed and opened."""

from __future__ import annotations

from dataclasses import dataclass

from paddock.crypto.streaming import is_segment_size
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

    Raises:
        SealOptionsInvalid: out of range.
    """

    segment_bytes: int = 1 << 20
    padding: Padding = "padme"
    threads: int = 2

    def __post_init__(self) -> None:
        if not is_segment_size(self.segment_bytes):
            raise SealOptionsInvalid(f"A segment size of {self.segment_bytes} bytes was asked for.")
        if self.padding not in PADDINGS:
            raise SealOptionsInvalid("An unknown padding was asked for.")
        _check_threads(self.threads)


@dataclass(frozen=True)
class OpenOptions:
    """How a volume is read. Memory in use is about `(cached_segments + 2 * threads) * segment size`.

    Args:
        threads: threads that fetch and open the segments of one large read.
        cached_segments: opened segments of each stream that are kept in memory, at least 1.
        cached_tiles: verified tiles (8 KiB) of the hash tree that are kept in memory, at least 1.
        cached_blocks: blocks (64 KiB) of the file table that are kept in memory, at least 1.

    Raises:
        SealOptionsInvalid: out of range.
    """

    threads: int = 2
    cached_segments: int = 8
    cached_tiles: int = 64
    cached_blocks: int = 16

    def __post_init__(self) -> None:
        _check_threads(self.threads)
        if min(self.cached_segments, self.cached_tiles, self.cached_blocks) < 1:
            raise SealOptionsInvalid("A cache that holds nothing was asked for.")


def _check_threads(threads: int) -> None:
    if not 1 <= threads <= MAX_THREADS:
        raise SealOptionsInvalid(f"{threads} threads were asked for.")
