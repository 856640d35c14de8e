"""The files of an open volume, as jobs see them."""

from __future__ import annotations

from typing import BinaryIO

from paddock.seal.reader import VolumeReader


class VolumeFiles:
    """Plain files over a sealed volume. Plaintext is in memory only, in the reader's bounded caches."""

    def __init__(self, reader: VolumeReader) -> None:
        self._reader = reader

    def names(self) -> list[str]:
        """Every file's path, in ascending order of bytes."""
        return self._reader.paths()

    def size(self, name: str) -> int:
        """Length of a file in bytes.

        Raises:
            NoSuchFile: there is none of this name.
        """
        return self._reader.size(name)

    def open(self, name: str) -> BinaryIO:
        """A file as a read-only, seekable, buffered stream.

        Raises:
            NoSuchFile: there is none of this name.
        """
        return self._reader.open_file(name)
