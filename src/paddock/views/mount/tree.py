"""The directories of a volume, which follow from its sorted paths, and the numbers by which the kernel knows them.

Nothing here holds more of the file table than a block: listings are read on from where the last part ended, and a path is
kept only as long as the kernel holds its node.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from paddock.errors import NoSuchFile
from paddock.seal.reader import VolumeFile, VolumeReader
from paddock.views.mount.protocol import ROOT_ID

_KEPT_LISTINGS = 32


def inode(path: str) -> int:
    """The inode number of a path: the same in every mount of every volume; 2 to 2^63 - 1."""
    digest = hashlib.blake2b(path.encode("utf-8"), digest_size=8, person=b"paddock inode").digest()
    return max(2, int.from_bytes(digest, "little") >> 1)


class Nodes:
    """The paths that the kernel holds, by number. Safe to use from several threads."""

    def __init__(self) -> None:
        self._paths: dict[int, str] = {ROOT_ID: ""}
        self._counts: dict[int, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._paths)

    def hold(self, path: str) -> int:
        """Count one more use of a path by the kernel, and return its number."""
        number = inode(path)
        with self._lock:
            # Two paths of one number are as good as never met by chance, but a volume's owner could make them.
            while (there := self._paths.get(number)) is not None and there != path:
                number += 1
            self._paths[number] = path
            self._counts[number] = self._counts.get(number, 0) + 1
        return number

    def forget(self, number: int, count: int) -> None:
        """Count uses that the kernel gave up."""
        if number == ROOT_ID:
            return
        with self._lock:
            left = self._counts.get(number, 0) - count
            if left > 0:
                self._counts[number] = left
            else:
                self._counts.pop(number, None)
                self._paths.pop(number, None)

    def path(self, number: int) -> str | None:
        """The path of a number that the kernel holds; empty for the root."""
        return self._paths.get(number)

    def known(self, path: str) -> int | None:
        """The number of a path, if the kernel holds it."""
        number = inode(path)
        while (there := self._paths.get(number)) is not None:
            if there == path:
                return number
            number += 1
        return None


@dataclass(frozen=True)
class Child:
    """One name in a directory.

    Args:
        name: without its directory.
        path: with it.
        file: what it is; None for a directory.
    """

    name: str
    path: str
    file: VolumeFile | None


def children(reader: VolumeReader, directory: str) -> Iterator[Child]:
    """The names in a directory, in the order of the volume's paths."""
    above = directory + "/" if directory else ""
    for name, file in reader.iter_directory(directory):
        yield Child(name, above + name, file)


class Listings:
    """Where listings of directories stand, so that the next part of one is read on and not from the beginning."""

    def __init__(self, reader: VolumeReader) -> None:
        self._reader = reader
        self._open: OrderedDict[tuple[str, int], Iterator[Child]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, directory: str, position: int) -> Iterator[Child]:
        """The names from a position on. Whoever takes it is alone with it, and gives it back with `keep`."""
        with self._lock:
            names = self._open.pop((directory, position), None)
        if names is None:
            names = children(self._reader, directory)
            for _ in range(position):
                if next(names, None) is None:
                    break
        return names

    def keep(self, directory: str, position: int, names: Iterator[Child]) -> None:
        """Keep a listing for whoever reads on from this position."""
        with self._lock:
            self._open[directory, position] = names
            if len(self._open) > _KEPT_LISTINGS:
                self._open.popitem(last=False)


class Files:
    """The files that were asked for last, so that a read does not look up its path again."""

    def __init__(self, reader: VolumeReader, capacity: int) -> None:
        self._reader = reader
        self._capacity = capacity
        self._kept: OrderedDict[str, VolumeFile] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: str) -> VolumeFile:
        """The file of a path.

        Raises:
            NoSuchFile: there is none.
        """
        with self._lock:
            if (file := self._kept.get(path)) is not None:
                self._kept.move_to_end(path)
                return file
        file = self._reader.find(path)
        self.put(file)
        return file

    def put(self, file: VolumeFile) -> None:
        """Keep a file that was found otherwise."""
        with self._lock:
            self._kept[file.path] = file
            if len(self._kept) > self._capacity:
                self._kept.popitem(last=False)

    def look_up(self, path: str) -> VolumeFile | None:
        """The file of a path; None where it is a directory.

        Raises:
            NoSuchFile: there is neither.
        """
        try:
            return self.get(path)
        except NoSuchFile:
            if next(self._reader.iter_files(path), None) is None:
                raise
            return None
