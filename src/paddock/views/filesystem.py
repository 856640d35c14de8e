"""A file system of fsspec over sealed volumes: `paddock://VOLUME/path`, for pandas, pyarrow, duckdb, PIL and others.

    register_volume("records", reader)
    pandas.read_csv("paddock://records/patients.csv")

Read-only. Plaintext stays in the memory of this process; every byte was verified before it is given out.

Needs `pip install 'paddock[fsspec]'`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

from fsspec.registry import known_implementations, register_implementation, registry
from fsspec.spec import AbstractFileSystem

from paddock.errors import NoSuchFile, PaddockError
from paddock.seal.reader import VolumeFile, VolumeReader

PROTOCOL = "paddock"
_lock = threading.Lock()
_volumes: dict[str, VolumeReader] = {}


def register_volume(name: str, reader: VolumeReader) -> None:
    """Let `paddock://name/…` in this process be the files of a volume, until `forget_volume`."""
    with _lock:
        _volumes[name] = reader
    if PROTOCOL not in known_implementations and PROTOCOL not in registry:
        # Where the package is installed, its entry point has made the protocol known already.
        register_implementation(PROTOCOL, VolumeFileSystem)


def forget_volume(name: str) -> None:
    """Take a registered name back; files that are open can still be read."""
    with _lock:
        _volumes.pop(name, None)


class VolumeFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """Files of sealed volumes.

    Args:
        reader: one volume, whose files are then named without a volume before them; None for registered ones.
    """

    protocol = PROTOCOL
    root_marker = ""
    cachable = False

    def __init__(self, reader: VolumeReader | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._reader = reader

    def __reduce__(self) -> Any:
        if self._reader is not None:
            raise TypeError(
                "an open volume holds its key, and keys are not pickled: register the volume in each process"
            )
        return super().__reduce__()

    @property
    def fsid(self) -> str:
        """What this file system is called."""
        return PROTOCOL

    def open_volume(self, name: str) -> VolumeReader:
        """The volume of a name.

        Raises:
            FileNotFoundError: none was registered under it.
        """
        with _lock:
            reader = _volumes.get(name)
        if reader is None:
            raise FileNotFoundError(f"no volume is registered as '{name}'")
        return reader

    def _volume_names(self) -> list[str]:
        with _lock:
            return sorted(_volumes)

    def _split(self, path: str) -> tuple[VolumeReader | None, str, str]:
        """The volume, what stands before its files' paths, and the path in it; no volume for the root of all."""
        plain = self._strip_protocol(path).strip("/")
        if self._reader is not None:
            return self._reader, "", plain
        name, _, inside = plain.partition("/")
        return (self.open_volume(name), f"{name}/", inside) if name else (None, "", "")

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Name, size and type of a file or directory."""
        reader, before, inside = self._split(path)
        if reader is None or not inside:
            return _directory(before.rstrip("/"))
        try:
            return _about(before, reader.find(inside))
        except NoSuchFile:
            if next(reader.iter_files(inside), None) is None:
                raise FileNotFoundError(path) from None
            return _directory(before + inside)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What stands in a directory, or the file itself."""
        found = list(self._entries(path))
        if not found:
            found = [self.info(path)]
            if found[0]["type"] == "directory":
                found = []
        return found if detail else [entry["name"] for entry in found]

    def _entries(self, path: str) -> Iterator[dict[str, Any]]:
        reader, before, inside = self._split(path)
        if reader is None:
            yield from (_directory(name) for name in self._volume_names())
            return
        place = f"{before}{inside}/" if inside else before
        for name, file in reader.iter_directory(inside):
            yield _directory(place + name) if file is None else _about(before, file)

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **more: Any
    ) -> Any:
        """All files below a path."""
        reader, before, inside = self._split(path)
        if reader is None or maxdepth is not None or withdirs:
            return super().find(path, maxdepth=maxdepth, withdirs=withdirs, detail=detail, **more)
        found = {before + file.path: _about(before, file) for file in reader.iter_files(inside)}
        if not found:
            entry = self.info(path)
            found = {entry["name"]: entry} if entry["type"] == "file" else {}
        return found if detail else list(found)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> BinaryIO:
        if mode != "rb":
            raise OSError(f"sealed volumes are read here, not written ({mode})")
        return self._file(path).open()

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """The bytes of a file, or a range of them; negative places count from its end."""
        file = self._file(path)
        first, last, _step = slice(start, end).indices(file.size)
        out = bytearray(max(0, last - first))
        file.read_into(first, memoryview(out))
        return bytes(out)

    def _file(self, path: str) -> VolumeFile:
        reader, _, inside = self._split(path)
        try:
            if reader is not None:
                return reader.find(inside)
        except NoSuchFile:
            pass
        if self.isdir(path):
            raise IsADirectoryError(path)
        raise FileNotFoundError(path)

    def isdir(self, path: str) -> bool:
        """Whether it is a directory."""
        try:
            return bool(self.info(path)["type"] == "directory")
        except (FileNotFoundError, PaddockError):
            return False


def _directory(name: str) -> dict[str, Any]:
    return {"name": name, "size": 0, "type": "directory"}


def _about(before: str, file: VolumeFile) -> dict[str, Any]:
    return {"name": before + file.path, "size": file.size, "type": "file"}
