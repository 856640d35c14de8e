"""Folders of the owner's own machine: what is sealed from them, and opened volumes written to them.

The only place where plaintext meets a disk, at its owner's wish.
"""

from __future__ import annotations

import contextlib
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
_PIECE_BYTES = 4 << 20


@dataclass(frozen=True)
class LocalFiles:
    """The files below a folder, or one file, as `write_volume` takes them.

    Args:
        files: path in the volume and place on this machine, in ascending order of the paths' bytes.
        total_bytes: their sizes together, when they were listed; for a progress bar.
    """

    files: tuple[tuple[str, Path], ...]
    total_bytes: int

    def __iter__(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        for name, path in self.files:
            yield name, _pieces(name, path)


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
    with _told(root):
        kind = root.stat().st_mode
        if stat.S_ISREG(kind):
            found = [(root.name, root)]
        elif stat.S_ISDIR(kind):
            found = list(_walk(root.resolve(strict=True), ""))
        else:
            raise LocalFileRefused(f"{root} is neither a file nor a folder.")
        if not found:
            raise LocalFileRefused(f"{root} holds no file.")
        # The order of Unicode code points is that of UTF-8 bytes.
        found.sort(key=_utf8)
        order = PathOrder()
        for name, _ in found:
            order.follow(check_path(name))
        return LocalFiles(tuple(found), sum(path.stat().st_size for _, path in found))


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


def _utf8(found: tuple[str, Path]) -> bytes:
    return found[0].encode("utf-8", "surrogateescape")


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            path = Path(entry.path)
            if len(prefix) > MAX_PATH_BYTES:
                raise PathRefused(f"{name[:80]!r}… is nested too deep.")
            if entry.is_symlink():
                yield name, _inside(path, prefix)
            elif entry.is_dir():
                yield from _walk(path, name + "/")
            elif entry.is_file():
                yield name, path
            else:
                raise LocalFileRefused(f"{path} is a pipe, socket or device.")


def _inside(link: Path, prefix: str) -> Path:
    base = link.parents[prefix.count("/")]
    try:
        target = link.resolve(strict=True)
    except RuntimeError:  # what Python 3.11 makes of ELOOP
        raise LocalFileRefused(f"{link} is a link that leads to itself.") from None
    if not target.is_relative_to(base) or not target.is_file():
        raise LocalFileRefused(f"{link} is a link that does not lead to a file of the same folder.")
    return target


def _pieces(name: str, path: Path) -> Iterator[bytes]:
    with _told(path):
        # O_NOFOLLOW and the check: a link or pipe put there since the listing is not followed or waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise LocalFileRefused(f"{name} is no regular file any more.")
            while piece := file.read(_PIECE_BYTES):
                yield piece


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
