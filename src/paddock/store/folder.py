"""A folder as a store: one file for each object."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path

from paddock.errors import (
    NoSuchObject,
    ObjectExists,
    StoreFull,
    StoreMisbehaved,
    StoreUnreachable,
    StoreUrlInvalid,
)
from paddock.store.api import Buffer, check_name

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_KEPT_OPEN = 64
_AHEAD_BYTES = 4 << 20
_LONG_READ_BYTES = 128 << 10
_NO_NAMELESS = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}
"""How file systems and kernels say that they make no file without a name."""
_ABSENT = {errno.ENOENT, errno.ENOTDIR}


class FolderStore:
    """Objects as files below one folder.

    A new object is written beside its place, brought to the disk, and linked under its name: after a crash it is there
    whole or not at all, and an existing one is never replaced.

    Args:
        root: an absolute path; made when the first object comes.

    Raises:
        StoreUrlInvalid: not an absolute path.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_absolute():
            raise StoreUrlInvalid("A folder is named by its absolute path.")
        self._root = root
        self._lock = threading.Lock()
        self._files: OrderedDict[str, _Opened] = OrderedDict()

    def put(self, name: str, chunks: Iterable[Buffer]) -> int:
        """See `Store.put`."""
        target = self._root / check_name(name)
        with _told(name):
            if target.exists():
                raise ObjectExists(f"{name}.")
            _make_folders(target.parent)
            folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with _draft(target.parent) as (descriptor, draft):
                    length = _write_all(descriptor, chunks)
                    os.fsync(descriptor)
                    # link, unlike rename, refuses to replace a file that came meanwhile. With a folder's descriptor
                    # it follows the link in /proc; by a path alone, Python asks for a link that does not.
                    os.link(draft, target.name, dst_dir_fd=folder, follow_symlinks=True)
                os.fsync(folder)
            finally:
                os.close(folder)
        return length

    def read(self, name: str, offset: int, length: int) -> bytes:
        """See `Store.read`."""
        with _told(name):
            opened = self._opened(name)
            opened.ahead(offset, length)
            pieces = []
            while length > 0:
                piece = os.pread(opened.descriptor, length, offset)
                if not piece:
                    break
                pieces.append(piece)
                offset += len(piece)
                length -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def size(self, name: str) -> int:
        """See `Store.size`."""
        with _told(name):
            self._forget(name)  # whoever asks for the size asks whether it is there
            return os.fstat(self._opened(name).descriptor).st_size

    def delete(self, name: str) -> None:
        """See `Store.delete`."""
        target = self._root / check_name(name)
        with _told(name):
            self._forget(name)
            target.unlink()
            _sync_folder(target.parent)

    def _opened(self, name: str) -> _Opened:
        """The object's file; the ones that were read last stay open, so that the system reads ahead in them."""
        check_name(name)
        with self._lock:
            if (known := self._files.get(name)) is not None:
                self._files.move_to_end(name)
                return known
        opened = _Opened(self._root / name, name)
        with self._lock:
            self._files[name] = opened
            if len(self._files) > _KEPT_OPEN:
                self._files.popitem(last=False)
        return opened

    def _forget(self, name: str) -> None:
        with self._lock:
            self._files.pop(name, None)


class _Opened:
    """A file that is open for reading until nobody uses it."""

    def __init__(self, path: Path, name: str) -> None:
        self.descriptor = -1
        self._end = 0
        # O_NONBLOCK: a pipe planted under an object's name must not hold the reader up.
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(self.descriptor).st_mode):
            raise StoreMisbehaved(f"{name} is not a regular file.")

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def ahead(self, offset: int, length: int) -> None:
        """Where about the last read goes on, have the system fetch what comes next while this one is worked on."""
        near = abs(offset - self._end) <= _AHEAD_BYTES
        self._end = offset + length
        if near and length >= _LONG_READ_BYTES:
            os.posix_fadvise(self.descriptor, self._end, _AHEAD_BYTES, os.POSIX_FADV_WILLNEED)


@contextlib.contextmanager
def _draft(folder: Path) -> Iterator[tuple[int, Path]]:
    """A new file to write and a path to link it by; where the file system can, it has no name, and a crash leaves none."""
    try:
        descriptor = os.open(folder, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        named = None
    except OSError as error:
        if error.errno not in _NO_NAMELESS:
            raise
        # No name of an object begins with a dot, so this never meets one.
        named = folder / f".draft-{secrets.token_hex(8)}"
        descriptor = os.open(named, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor, named or Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
        if named is not None:
            named.unlink()


def _write_all(descriptor: int, chunks: Iterable[Buffer]) -> int:
    length = 0
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            view = view[os.write(descriptor, view) :]
        length += len(chunk)
    return length


def _make_folders(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn the system's errors into ours. Messages bear the object's name, not the folder's path."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StoreFull(f"While {name} was written.") from error
        if error.errno == errno.EEXIST:
            raise ObjectExists(f"{name}.") from None
        if error.errno in _ABSENT:
            raise NoSuchObject(f"{name}.") from None
        raise StoreUnreachable(f"{name}: {os.strerror(error.errno or 0)}.") from error
