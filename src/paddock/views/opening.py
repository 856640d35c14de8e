"""Which view a job gets of an input, and that view, open.

| view | what it is | good for |
| --- | --- | --- |
| `direct` | the volume's reader, in the job's own process | built-in jobs |
| `staged` | plain files in memory (tmpfs), opened and verified whole before the job begins | scripts; LibOS enclaves |
| `mounted` | a file system of the kernel (FUSE) that opens what is read | scripts on volumes larger than memory |

Source: docs/spec/contract.md §2 (`view`).
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from paddock.errors import PaddockError, ViewUnavailable
from paddock.seal.reader import VolumeReader
from paddock.views.files import VolumeFiles
from paddock.views.mount import mount_volume
from paddock.views.staging import Memory, StagedFolder

AUTO = "auto"
_PR_GET_NO_NEW_PRIVS = 39
_STAGED_SHARE = 4
"""What is staged unasked takes at most one part in so many of the memory that the run may use."""


class View(enum.StrEnum):
    """How a job sees an input."""

    DIRECT = "direct"
    STAGED = "staged"
    MOUNTED = "mounted"


@dataclass(frozen=True)
class Means:
    """What there is to open views with.

    Args:
        by_path: whether the job takes paths, and not the reader.
        room_bytes: what the run may still hold in memory.
        staging: a folder in memory that nothing swaps, or None.
        can_mount: whether the kernel's FUSE is at hand; it is not inside a LibOS.
    """

    by_path: bool
    room_bytes: int
    staging: Path | None
    can_mount: bool


def find_means(*, by_path: bool, room_bytes: int, for_another_user: bool) -> Means:
    """What this machine has.

    Args:
        by_path: see `Means`.
        room_bytes: see `Means`.
        for_another_user: whether whoever reads is not the user of this process, to whom alone a mount belongs.
    """
    staging = Path("/dev/shm")  # noqa: S108 - memory, checked to be: nothing is found there by a guessable name
    try:
        Memory().check(staging, may_swap=False)
        usable: Path | None = staging
    except (PaddockError, OSError):
        usable = None
    can_mount = Path("/dev/fuse").exists() and shutil.which("fusermount3") is not None
    can_mount = can_mount and not for_another_user and _may_mount()
    return Means(by_path, room_bytes, usable, can_mount)


def _may_mount() -> bool:
    # fusermount3 is root's by its set-user-id bit, which is without effect where no new privileges are given (prctl(2)).
    return os.geteuid() == 0 or ctypes.CDLL(None).prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0


def choose_view(wanted: str, content_bytes: int, means: Means) -> View:
    """The view of an input.

    A job that takes the reader has it. One that takes paths has files in memory if they are small beside what the run may
    use; else a mount; else, where nothing can be mounted, files in memory if they fit at all.

    Args:
        wanted: `auto`, or the view that the contract names.
        content_bytes: of the volume.
        means: what there is.

    Raises:
        ViewUnavailable: what the contract names cannot be had here, or nothing can.
    """
    fits = means.staging is not None and content_bytes <= means.room_bytes
    if wanted == View.DIRECT and means.by_path:
        raise ViewUnavailable("This kind of job takes paths, and a direct view has none.")
    if wanted == View.STAGED and not fits:
        why = "no folder here is in memory for sure" if means.staging is None else "it does not fit into memory"
        raise ViewUnavailable(f"A staged view of {content_bytes} bytes was asked for, and {why}.")
    if wanted == View.MOUNTED and not means.by_path:
        # Whoever serves a mount and is killed while it waits for itself is never gone.
        raise ViewUnavailable("This kind of job reads the volume itself, in the process that would serve the mount.")
    if wanted == View.MOUNTED and not means.can_mount:
        raise ViewUnavailable("A mounted view was asked for, and nothing can be mounted for the job here.")
    if wanted != AUTO:
        return View(wanted)
    if not means.by_path:
        return View.DIRECT
    small = content_bytes * _STAGED_SHARE <= means.room_bytes
    if fits and (small or not means.can_mount):
        return View.STAGED
    if means.can_mount:
        return View.MOUNTED
    raise ViewUnavailable(
        "Nothing can be mounted for the job here, and the volume does not fit into the memory that the contract allows."
    )


class FolderFiles:
    """The files of a volume that a view put below a folder: for others; this process reads the volume.

    Whoever serves a mount and is killed while it waits for itself is never gone.
    """

    def __init__(self, reader: VolumeReader, folder: Path) -> None:
        self._reader = reader
        self.folder = folder

    def names(self) -> list[str]:
        """Every file's path, in ascending order of bytes."""
        return self._reader.paths()

    def size(self, name: str) -> int:
        """Length of a file in bytes. Raises NoSuchFile."""
        return self._reader.size(name)

    def open(self, name: str) -> BinaryIO:
        """A file as a read-only, seekable, buffered stream. Raises NoSuchFile."""
        return self._reader.open_file(name)


@contextlib.contextmanager
def open_view(view: View, reader: VolumeReader, means: Means) -> Iterator[VolumeFiles | FolderFiles]:
    """An input's files, while the block lasts.

    Raises:
        StagingRefused, NoRoomInMemory, MountUnavailable: it cannot be had after all.
        SealRefused, Unavailable: the volume did not pass.
    """
    if view is View.DIRECT:
        yield VolumeFiles(reader)
    elif view is View.STAGED and means.staging is not None:
        with StagedFolder(reader, means.staging) as staged:
            yield FolderFiles(reader, staged.path)
    else:
        mountpoint = Path(tempfile.mkdtemp(prefix="paddock-"))
        try:
            with mount_volume(reader, mountpoint):
                yield FolderFiles(reader, mountpoint)
        finally:
            with contextlib.suppress(OSError):
                mountpoint.rmdir()
