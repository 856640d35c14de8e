"""Folders of the owner's own machine: what is sealed from them, and opened volumes written to them.

The only place where plaintext meets a disk, at its owner's wish.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from paddock.errors import LocalFileRefused, PathRefused
from paddock.seal.paths import MAX_PATH_BYTES, PathOrder, check_path
from paddock.seal.reader import VolumeReader

Progress = Callable[[int], None]
_PIECE_BYTES = 1 << 20
_ZEROS = bytes(_PIECE_BYTES)
_BLOCK_BYTES = 512
"""What `st_blocks` counts."""


@dataclass(frozen=True)
class LocalFile:
    """One file on this machine that is to be sealed.

    Args:
        name: its path in the volume.
        path: where it is.
    """

    name: str
    path: Path

    def stamp(self) -> tuple[int, int]:
        """Its size and when it was changed last, in ns: what tells that it is not the file that was looked at before.

        Raises:
            LocalFileRefused: it is gone.
        """
        with _told(self.path):
            return _stamp(self.path.stat())

    def pieces(self, start: int = 0, *, stamp: tuple[int, int] | None = None) -> Iterator[bytes]:
        """Its bytes from an offset on.

        Args:
            start: the offset.
            stamp: what it must have been when it was looked at before; None where it was not.

        Raises:
            LocalFileRefused: unreadable, no regular file any more, or changed while it was read.
        """
        with _told(self.path):
            # O_NOFOLLOW and the check: a link or pipe put there since the listing is not followed or waited for.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                before = os.fstat(descriptor)
                if not stat.S_ISREG(before.st_mode):
                    raise LocalFileRefused(f"{self.name} is no regular file any more.")
                if stamp is not None and stamp != _stamp(before):
                    raise LocalFileRefused(f"{self.name} was changed while it was sealed.")
                file.seek(start)
                if before.st_blocks * _BLOCK_BYTES < before.st_size:
                    yield from _sparse(descriptor, start, before.st_size)
                while piece := file.read(_PIECE_BYTES):
                    yield piece
                after = os.fstat(descriptor)
                if _stamp(before) != _stamp(after):
                    raise LocalFileRefused(f"{self.name} was changed while it was read.")


@dataclass(frozen=True)
class LocalFiles:
    """The files below a folder, or one file, in the order in which `write_volume` takes them.

    A folder of any number of files is walked, not held; a file that comes or goes meanwhile is noticed at the end.

    Args:
        root: the folder or file.
        count: how many files were listed.
        total_bytes: their sizes together, when they were listed; for a progress bar.
    """

    root: Path
    count: int
    total_bytes: int

    def each(self) -> Iterator[LocalFile]:
        """The files.

        Raises:
            LocalFileRefused: others than were listed, or of a kind that is not sealed.
        """
        seen = 0
        for file, _ in _listing(self.root):
            seen += 1
            yield file
        if seen != self.count:
            raise LocalFileRefused(f"{self.root} had {self.count} files when it was listed, and {seen} now.")

    def __iter__(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        for file in self.each():
            yield file.name, file.pieces()


def local_files(root: Path) -> LocalFiles:
    """List a folder or a single file for sealing.

    A symbolic link is followed when it leads to a file inside the folder; links elsewhere or to folders, pipes,
    sockets and devices are refused, so that nothing is sealed that the owner did not put there.

    Args:
        root: a folder, whose files are named relative to it; or a file, which bears its own name in the volume.

    Raises:
        LocalFileRefused: missing, unreadable, of a special kind, a link out of the folder, or an empty folder.
        PathRefused: a name that a volume cannot hold.
    """
    order = PathOrder()
    count = total = 0
    for file, size in _listing(root):
        order.follow(check_path(file.name))
        count, total = count + 1, total + size
    if not count:
        raise LocalFileRefused(f"{root} holds no file.")
    return LocalFiles(root, count, total)


def _listing(root: Path) -> Iterator[tuple[LocalFile, int]]:
    with _told(root):
        status = root.stat()
        if stat.S_ISREG(status.st_mode):
            yield LocalFile(root.name, root), status.st_size
        elif stat.S_ISDIR(status.st_mode):
            base = root.resolve(strict=True)
            yield from _walk(base, base, "")
        else:
            raise LocalFileRefused(f"{root} is neither a file nor a folder.")


def write_folder(
    reader: VolumeReader, folder: Path, *, overwrite: bool, progress: Progress | None = None
) -> list[Path]:
    """Write an open volume's files below a folder, readable by their owner alone.

    Each file is written beside its place, under a name that begins with a dot, and renamed once it is whole and
    verified.

    Args:
        reader: the volume.
        folder: where to; made when it is missing.
        overwrite: whether files that are there may be replaced.
        progress: told the number of bytes written so far.

    Returns:
        The files written, in the volume's order.

    Raises:
        LocalFileRefused: a file is there and `overwrite` is false (then nothing is written), a link or file stands
            where a folder is needed, or the disk refuses.
        SealRefused, Unavailable: the volume did not pass; files written before it stay.
    """
    names = reader.paths()
    with _told(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        base = folder.resolve(strict=True)
        targets = [_target(base, name, overwrite=overwrite) for name in names]
        done = 0
        for name, target in zip(names, targets, strict=True):
            _make_folders(base, target.parent)
            draft = target.parent / f".draft-{secrets.token_hex(8)}"
            try:
                done = _write_file(reader, name, draft, done, progress)
                if overwrite:
                    draft.replace(target)
                else:
                    os.link(draft, target)
            finally:
                draft.unlink(missing_ok=True)
    return targets


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _sparse(descriptor: int, at: int, end: int) -> Iterator[bytes]:
    """The bytes of a file with holes, whose zeros need not be read; the descriptor stands at their end afterwards."""
    while at < end:
        try:
            data = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = end
        while at < data:
            yield _ZEROS[: data - at]
            at += min(len(_ZEROS), data - at)
        if at >= end:
            break
        hole = os.lseek(descriptor, at, os.SEEK_HOLE)
        os.lseek(descriptor, at, os.SEEK_SET)
        while at < hole and (piece := os.read(descriptor, min(_PIECE_BYTES, hole - at))):
            yield piece
            at += len(piece)
    os.lseek(descriptor, at, os.SEEK_SET)


def _place(entry: os.DirEntry[str]) -> bytes:
    # Where what it holds stands among the paths of its folder: a folder's files begin with its name and a slash.
    name = entry.name.encode("utf-8", "surrogateescape")
    return name + b"/" if entry.is_dir(follow_symlinks=False) else name


def _walk(base: Path, folder: Path, prefix: str) -> Iterator[tuple[LocalFile, int]]:
    """Files in ascending order of their paths' bytes; holds the names of one folder of each depth."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=_place)
    for entry in entries:
        name, path = prefix + entry.name, Path(entry.path)
        if len(prefix) > MAX_PATH_BYTES:
            raise PathRefused(f"{name[:80]!r}… is nested too deep.")
        if entry.is_symlink():
            target = _inside(base, path)
            yield LocalFile(name, target), target.stat().st_size
        elif entry.is_dir():
            yield from _walk(base, path, name + "/")
        elif entry.is_file():
            yield LocalFile(name, path), entry.stat().st_size
        else:
            raise LocalFileRefused(f"{path} is a pipe, socket or device.")


def _inside(base: Path, link: Path) -> Path:
    try:
        target = link.resolve(strict=True)
    except RuntimeError:  # what Python 3.11 makes of ELOOP
        raise LocalFileRefused(f"{link} is a link that leads to itself.") from None
    if not target.is_relative_to(base) or not target.is_file():
        raise LocalFileRefused(f"{link} is a link that does not lead to a file of the same folder.")
    return target


def _target(base: Path, name: str, *, overwrite: bool) -> Path:
    # The reader gives only paths that S-17 allows, so none leads out by itself; links on this disk could.
    target = base.joinpath(*name.split("/"))
    for parent in takewhile(lambda folder: folder != base, target.parents):
        if parent.is_symlink() or (parent.exists() and not parent.is_dir()):
            raise LocalFileRefused(f"{parent} stands where a folder is needed.")
    if target.is_symlink() or target.is_dir():
        raise LocalFileRefused(f"{target} stands where a file is to be written.")
    if target.exists() and not overwrite:
        raise LocalFileRefused(f"{target} is there already.")
    return target


def _make_folders(base: Path, folder: Path) -> None:
    if folder == base:
        return
    _make_folders(base, folder.parent)
    if folder.is_symlink():
        raise LocalFileRefused(f"{folder} stands where a folder is needed.")
    folder.mkdir(mode=0o700, exist_ok=True)


def _write_file(reader: VolumeReader, name: str, draft: Path, done: int, progress: Progress | None) -> int:
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file, reader.open_file(name) as source:
        while piece := source.read(_PIECE_BYTES):
            file.write(piece)
            done += len(piece)
            if progress is not None:
                progress(done)
        file.flush()
        os.fsync(descriptor)
    return done


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn the system's errors into ours."""
    try:
        yield
    except OSError as error:
        raise LocalFileRefused(f"{error.filename or path}: {os.strerror(error.errno or 0)}.") from error
