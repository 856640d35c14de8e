"""What is given to the kernel unasked: the surroundings of reads at random places.

The kernel reads ahead by itself where a file is read in order. Where it is read here and there, each read of a page costs a
request and a whole segment that is opened for it. So once a file is read that way, whole blocks are put into the page
cache at their first touch. Each block of a file is put there once, so all of this together costs no more than
reading the file once; and a file that would fill the memory is left alone.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict

_KEPT_FILES = 256
_SCATTERED_READS = 4
"""So many reads at random places before anything is guessed: many programs read a file's head and end alone."""
_MEMORY_SHARE = 8
_BULK_BYTES = 64 << 10
"""Longer reads are the kernel's own reading ahead, several of them at once and so in any order."""


class Surroundings:
    """Decides which block of a file goes into the page cache. Safe to use from several threads.

    Args:
        block_bytes: a multiple of the page size; 0 for none.
    """

    def __init__(self, block_bytes: int) -> None:
        self._block_bytes = block_bytes
        self._largest = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _MEMORY_SHARE
        self._seen: OrderedDict[int, _Seen] = OrderedDict()
        self._lock = threading.Lock()

    def block(self, node: int, size: int, offset: int, count: int) -> tuple[int, int] | None:
        """The block to give after a read, as offset and length; None for none.

        Args:
            node: the file's number.
            size: its length.
            offset: what was read.
            count: how much was read.
        """
        block_bytes = self._block_bytes
        if not block_bytes or size > self._largest or count >= size:
            return None
        with self._lock:
            seen = self._seen.get(node)
            if seen is None:
                seen = self._seen[node] = _Seen()
                if len(self._seen) > _KEPT_FILES:
                    self._seen.popitem(last=False)
            else:
                self._seen.move_to_end(node)
            in_order = offset == seen.end
            seen.end = offset + count
            if count >= _BULK_BYTES:
                seen.scattered = 0
            if in_order or count >= _BULK_BYTES:
                return None
            seen.scattered += 1
            number = offset // block_bytes
            if seen.scattered < _SCATTERED_READS or number in seen.blocks:
                return None
            seen.blocks.add(number)
        return number * block_bytes, min(block_bytes, size - number * block_bytes)


class _Seen:
    __slots__ = ("blocks", "end", "scattered")

    def __init__(self) -> None:
        self.end = 0
        self.scattered = 0
        self.blocks: set[int] = set()
