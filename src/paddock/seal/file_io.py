"""A file of a volume as Python's stream of bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer as WritableBuffer


class SealedFile(io.RawIOBase):
    """Read-only and seekable; to be wrapped into `io.BufferedReader`.

    Args:
        name: the file's path in the volume.
        length: its number of bytes.
        read_into: fills a buffer from an offset; the range lies inside the file.
    """

    def __init__(self, name: str, length: int, read_into: Callable[[int, memoryview], None]) -> None:
        super().__init__()
        self.name = name
        self._length = length
        self._read_into = read_into
        self._position = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; past the end is allowed, and nothing is read there.

        Raises:
            ValueError: before the start, or an unknown `whence`.
        """
        self._check_open()
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}.get(whence)
        if base is None or base + offset < 0:
            raise ValueError("no such position")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WritableBuffer) -> int:
        """Fill a buffer from the position on; 0 at the end."""
        self._check_open()
        out = memoryview(buffer).cast("B")
        count = max(0, min(len(out), self._length - self._position))
        self._read_into(self._position, out[:count])
        self._position += count
        return count

    def readall(self) -> bytes:
        """Everything from the position on."""
        self._check_open()
        out = bytearray(max(0, self._length - self._position))
        self.readinto(out)
        return bytes(out)

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the file is closed")
