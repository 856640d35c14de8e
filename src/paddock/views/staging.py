"""Volumes staged into memory as plain files: for scripts where nothing can be mounted, and for small volumes.

A folder on a tmpfs, or single files without a name (memfd). Neither reaches a disk, unless the machine swaps: where swap
is on, and the file system does not say `noswap`, staging is refused until the caller says that it may be so.

Source: tmpfs(5), memfd_create(2), proc(5) on /proc/swaps and /proc/self/mountinfo; docs/threat-model.md.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from paddock.errors import NoRoomInMemory, StagingRefused
from paddock.seal.reader import VolumeFile, VolumeReader
from paddock.store.memory import own_folder, remove_left
from paddock.views.mounts import MOUNTINFO, mounts

Progress = Callable[[int], None]
_MEMORY = {"tmpfs", "ramfs"}
_PAGE = mmap.PAGESIZE
_MAPPED_BYTES = 1 << 20
"""Files from this size on are opened straight into their pages."""
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


@dataclass(frozen=True)
class Memory:
    """What the kernel says of memory that files are staged into; other paths for tests.

    Args:
        mounts: its list of mounts.
        swaps: its list of swap areas.
    """

    mounts: Path = MOUNTINFO
    swaps: Path = Path("/proc/swaps")

    def check(self, folder: Path, *, may_swap: bool) -> None:
        """Return if files in a folder stay in memory.

        Raises:
            StagingRefused: its file system is on a disk, or could be swapped to one.
        """
        kind, options = self._mounted(folder.resolve(strict=True))
        if kind not in _MEMORY:
            raise StagingRefused(f"{folder} is on {kind}, which keeps what is written.")
        if kind == "tmpfs" and "noswap" not in options and not may_swap:
            self.check_swap()

    def check_swap(self) -> None:
        """Return if the machine does not swap.

        Raises:
            StagingRefused: it does.
        """
        if len(self.swaps.read_text(encoding="ascii", errors="replace").splitlines()) > 1:
            raise StagingRefused("This machine swaps: what is in memory can reach a disk.")

    def _mounted(self, folder: Path) -> tuple[str, frozenset[str]]:
        found, best = ("unknown", frozenset[str]()), -1
        for each in mounts(self.mounts):
            # The last of those at the same place covers the others.
            if folder.is_relative_to(each.place) and len(each.place.parts) >= best:
                found, best = (each.kind, each.options), len(each.place.parts)
        return found


class StagedFolder:
    """A volume's files in a fresh folder in memory, readable by this user alone; removed when the block ends.

    Args:
        reader: the volume.
        parent: a folder on a tmpfs, e.g. `/dev/shm`.
        threads: files that are opened at the same time.
        may_swap: stage even where the machine swaps.
        progress: told the bytes staged so far.
        memory: what the kernel says.

    Raises:
        StagingRefused: the folder is not in memory, or could be swapped.
        NoRoomInMemory: the volume does not fit.
        SealRefused, Unavailable: the volume did not pass; nothing stays.
    """

    def __init__(
        self,
        reader: VolumeReader,
        parent: Path,
        *,
        threads: int = 2,
        may_swap: bool = False,
        progress: Progress | None = None,
        memory: Memory | None = None,
    ) -> None:
        self._reader = reader
        self._threads = threads
        self._progress = progress
        (memory or Memory()).check(parent, may_swap=may_swap)
        remove_left(parent)
        free = os.statvfs(parent)
        needed = sum(-(-file.size // _PAGE) * _PAGE for file in reader.iter_files())
        if needed > free.f_bavail * free.f_frsize:
            raise NoRoomInMemory(f"{needed} bytes are needed, {free.f_bavail * free.f_frsize} are free in {parent}.")
        self._stack = contextlib.ExitStack()
        self.path = self._stack.enter_context(own_folder(parent))
        try:
            self._fill()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove all files; their pages go back to the kernel, which clears them before anybody gets them."""
        self._stack.close()

    def _fill(self) -> None:
        done = 0

        def small(file: VolumeFile) -> int:
            content = bytearray(file.size)
            file.read_into(0, memoryview(content))
            with self._created(file) as descriptor:
                view = memoryview(content)
                while view:
                    view = view[os.write(descriptor, view) :]
            return file.size

        def tell(count: int) -> None:
            nonlocal done
            done += count
            if self._progress is not None:
                self._progress(done)

        with ThreadPoolExecutor(self._threads, thread_name_prefix="paddock-stage") as pool, _room(self.path):
            waiting = []
            for file in self._reader.iter_files():
                (self.path / file.path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                if file.size >= _MAPPED_BYTES:
                    with self._created(file) as descriptor:
                        _fill(descriptor, file)
                    tell(file.size)
                    continue
                waiting.append(pool.submit(small, file))
                if len(waiting) > 8 * self._threads:
                    tell(waiting.pop(0).result())
            for each in waiting:
                tell(each.result())

    @contextlib.contextmanager
    def _created(self, file: VolumeFile) -> Iterator[int]:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path / file.path, flags, 0o400)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


class StagedFile:
    """One file of a volume in memory without a name, that nobody can change any more: for programs that take a path.

    Args:
        file: which.
        may_swap: stage even where the machine swaps.
        memory: what the kernel says.

    Raises:
        StagingRefused: the machine swaps.
        SealRefused, Unavailable: the volume did not pass; nothing stays.
    """

    def __init__(self, file: VolumeFile, *, may_swap: bool = False, memory: Memory | None = None) -> None:
        if not may_swap:
            (memory or Memory()).check_swap()
        self.descriptor = os.memfd_create("paddock", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with _room(Path(self.name)):
                _fill(self.descriptor, file)
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """A path for this process; for a child that inherits the descriptor, too."""
        return f"/proc/self/fd/{self.descriptor}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give it back; whoever has it open can still read it."""
        os.close(self.descriptor)


def _fill(descriptor: int, file: VolumeFile) -> None:
    """Open a file straight into the pages of another one."""
    if not file.size:
        return
    os.posix_fallocate(descriptor, 0, file.size)
    pages = mmap.mmap(descriptor, file.size)
    try:
        file.read_into(0, memoryview(pages))
    finally:
        with contextlib.suppress(BufferError):  # the traceback of a refusal still holds pieces of it
            pages.close()


@contextlib.contextmanager
def _room(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.ENOMEM, errno.EDQUOT}:
            raise NoRoomInMemory(f"In {path}.") from None
        raise
