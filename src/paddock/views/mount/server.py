"""The threads that take the kernel's requests and answer them."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from paddock.errors import MountUnavailable, NoSuchFile, PaddockError, StoreFull
from paddock.views.mount import device
from paddock.views.mount.protocol import (
    IN_HEADER,
    INIT_IN,
    INIT_OUT,
    MAJOR,
    MINOR,
    NOTIFY_CODE_STORE,
    NOTIFY_STORE,
    OUT_HEADER,
    PAGE_BYTES,
    Init,
    Op,
)

_LOG = logging.getLogger("paddock.mount")
_KEPT_ERRORS = 100
_LAZY_SECONDS = 1
MAX_TRANSFER_BYTES = 1 << 20
"""The most that one request reads or writes: 256 pages, the kernel's own bound."""
_GONE = {errno.ENODEV, errno.EBADF}


class Lane:
    """What one worker has: its descriptor and its buffers.

    Args:
        descriptor: of /dev/fuse.
        write_bytes: the most that a request carries.
    """

    __slots__ = ("answer", "data", "descriptor", "request", "unique")

    def __init__(self, descriptor: int, write_bytes: int) -> None:
        self.descriptor = descriptor
        self.request = memoryview(bytearray(max(8192, write_bytes + PAGE_BYTES)))
        self.answer = memoryview(bytearray(OUT_HEADER.size + MAX_TRANSFER_BYTES))
        self.data = self.answer[OUT_HEADER.size :]
        """Where a handler puts what it answers with, to be sent by `send`."""
        self.unique = 0

    def send(self, length: int) -> None:
        """Answer the request at hand with the first bytes of `data`."""
        OUT_HEADER.pack_into(self.answer, 0, OUT_HEADER.size + length, 0, self.unique)
        # An error: the asking program was interrupted and its request is gone, or the mount is.
        with contextlib.suppress(OSError):
            os.write(self.descriptor, self.answer[: OUT_HEADER.size + length])

    def push(self, node: int, offset: int, data: memoryview) -> bool:
        """Put verified bytes of a file into the kernel's page cache before they are asked for.

        Args:
            node: a node that the kernel knows.
            offset: where they stand, a multiple of the page size.
            data: whole pages, or up to the end of the file.

        Returns:
            False where the kernel did not take them; it will ask then.
        """
        size = len(data)
        head = NOTIFY_STORE.pack(NOTIFY_STORE.size + size, NOTIFY_CODE_STORE, 0, node, offset, size, 0)
        try:
            os.writev(self.descriptor, [head, data])
        except OSError:
            return False
        return True


Answer: TypeAlias = bytes | int | None
"""Bytes to send; a negative errno; or None where nothing is to be sent (any more)."""
Handler: TypeAlias = Callable[[int, memoryview, Lane], Answer]
"""Takes the node, the request's body, and the lane."""


@dataclass(frozen=True)
class MountError:
    """What a program that reads files saw as EIO.

    Args:
        code: of the error tree; empty for a fault of the program itself.
        text: what it says to the owner of the mount.
    """

    code: str
    text: str


@dataclass
class Statistics:
    """What a mount did so far.

    Args:
        requests: answered requests of the kernel.
        read_bytes: bytes given because they were asked for.
        pushed_bytes: bytes put into the page cache ahead of being asked for.
        errors: requests answered with EIO.
    """

    requests: int = 0
    read_bytes: int = 0
    pushed_bytes: int = 0
    errors: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, *, requests: int = 0, read: int = 0, pushed: int = 0, errors: int = 0) -> None:
        """Count more; from any thread."""
        with self._lock:
            self.requests += requests
            self.read_bytes += read
            self.pushed_bytes += pushed
            self.errors += errors


@dataclass(frozen=True)
class ServerOptions:
    """How the kernel is spoken to.

    Args:
        kernel_options: as fusermount3 takes them.
        abilities: what is asked of the kernel, as far as it offers it.
        workers: threads.
        write_bytes: the most that one write carries.
        readahead_bytes: how far the kernel may read ahead, where that can be set.
    """

    kernel_options: tuple[str, ...]
    abilities: Init
    workers: int
    write_bytes: int
    readahead_bytes: int


class Mount:
    """A mounted file system, served by threads of this process. A context manager that unmounts.

    A program that maps a file of the mount into its memory (mmap) and holds Python's global lock at a page fault must not be
    this process itself: it would wait for threads that wait for that lock.

    Args:
        mountpoint: an empty folder.
        handlers: what is done for each request; others are answered with ENOSYS.
        options: see `ServerOptions`.
        statistics: where the handlers count, too; None for new ones.
        on_end: called once when the kernel has let go.

    Raises:
        MountUnavailable, MountpointInvalid: see `device.attach`.
    """

    def __init__(
        self,
        mountpoint: Path,
        handlers: Mapping[int, Handler],
        options: ServerOptions,
        *,
        statistics: Statistics | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self.mountpoint = mountpoint
        self.statistics = statistics or Statistics()
        self.errors: deque[MountError] = deque(maxlen=_KEPT_ERRORS)
        """The last reasons for EIO, newest last."""
        self._handlers = handlers
        self._options = options
        self._on_end = on_end
        self._mounted = True
        self._ended = threading.Event()
        self._lock = threading.Lock()
        descriptor = device.attach(mountpoint, options.kernel_options)
        descriptors = [descriptor]
        try:
            first = Lane(descriptor, options.write_bytes)
            self._begin(first)
            descriptors.extend(device.clone(descriptor) for _ in range(options.workers - 1))
        except BaseException:
            for each in descriptors:
                os.close(each)
            with contextlib.suppress(PaddockError):
                device.detach(mountpoint, lazy=True)
            raise
        lanes = [first, *(Lane(each, options.write_bytes) for each in descriptors[1:])]
        self._threads = [
            threading.Thread(target=self._work, args=(lane,), name="paddock-mount", daemon=True) for lane in lanes
        ]
        for thread in self._threads:
            thread.start()
        threading.Thread(target=self._end, name="paddock-mount-end", daemon=True).start()
        device.enlarge_readahead(mountpoint, options.readahead_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unmount(lazy=True)

    def unmount(self, *, lazy: bool = False) -> None:
        """Unmount, and wait for the threads to end. Does nothing the second time.

        Args:
            lazy: take the name away even where programs still have files open; what they ask for afterwards is served
                until they close them or this process ends.

        Raises:
            MountUnavailable: it is in use, or fusermount3 refuses; the mount goes on.
        """
        with self._lock:
            if self._mounted and not self._ended.is_set():
                device.detach(self.mountpoint, lazy=lazy)
            self._mounted = False
        self._ended.wait(_LAZY_SECONDS if lazy else None)

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until the mount is gone, also when somebody else unmounts it.

        Returns:
            Whether it is.
        """
        return self._ended.wait(timeout_seconds)

    def note(self, error: BaseException) -> None:
        """Keep the reason of an EIO: for `errors`, and for the log of the mount's owner."""
        if isinstance(error, NoSuchFile):
            kept = MountError(error.code, error.summary())  # its detail is a name
        elif isinstance(error, PaddockError):
            kept = MountError(error.code, str(error))
        else:
            kept = MountError("", f"A fault inside the mount: {type(error).__name__}.")
        with self._lock:
            self.errors.append(kept)
        self.statistics.add(errors=1)
        _LOG.error("%s %s", kept.code, kept.text)

    def _begin(self, lane: Lane) -> None:
        """Agree with the kernel on version and abilities (FUSE_INIT)."""
        count = os.readv(lane.descriptor, [lane.request])
        _, opcode, lane.unique, _, _, _, _, _, _ = IN_HEADER.unpack_from(lane.request)
        if opcode != Op.INIT or count < IN_HEADER.size + INIT_IN.size:
            raise MountUnavailable("The kernel did not begin with FUSE_INIT.")
        major, minor, readahead, offered = INIT_IN.unpack_from(lane.request, IN_HEADER.size)
        needed = Init.MAX_PAGES | (self._options.abilities & (Init.NO_OPEN_SUPPORT | Init.NO_OPENDIR_SUPPORT))
        if major != MAJOR or minor < MINOR or offered & needed != needed:
            os.write(lane.descriptor, OUT_HEADER.pack(OUT_HEADER.size, -errno.EPROTO, lane.unique))
            raise MountUnavailable(f"The kernel speaks FUSE {major}.{minor}; {MAJOR}.{MINOR} (Linux 5.4) is needed.")
        agreed = int(self._options.abilities) & offered
        INIT_OUT.pack_into(
            lane.data, 0, MAJOR, MINOR, max(readahead, self._options.readahead_bytes), agreed, 64, 48,
            self._options.write_bytes, 1, MAX_TRANSFER_BYTES // PAGE_BYTES, 0, 0,
        )  # fmt: skip
        lane.send(INIT_OUT.size)

    def _work(self, lane: Lane) -> None:
        descriptor, request, handlers, statistics = lane.descriptor, lane.request, self._handlers, self.statistics
        into = [request]
        while True:
            try:
                count = os.readv(descriptor, into)
            except OSError as error:
                if error.errno in _GONE:
                    return
                continue  # ENOENT: the request was taken back; EINTR, EAGAIN: again
            _, opcode, unique, node, _, _, _, _, _ = IN_HEADER.unpack_from(request)
            lane.unique = unique
            statistics.add(requests=1)
            answer = self._answer(handlers.get(opcode), node, request[IN_HEADER.size : count], lane)
            if answer is None:
                continue
            try:
                if isinstance(answer, int):
                    os.write(descriptor, OUT_HEADER.pack(OUT_HEADER.size, answer, unique))
                else:
                    os.writev(descriptor, [OUT_HEADER.pack(OUT_HEADER.size + len(answer), 0, unique), answer])
            except OSError as error:
                if error.errno in _GONE:
                    return
                # ENOENT: the asking program was interrupted and its request is gone.

    def _answer(self, handler: Handler | None, node: int, body: memoryview, lane: Lane) -> Answer:
        if handler is None:
            return -errno.ENOSYS
        try:
            return handler(node, body, lane)
        except StoreFull as error:
            self.note(error)
            return -errno.ENOSPC
        except (PaddockError, OSError) as error:
            self.note(error)
        except Exception as error:  # noqa: BLE001 - one bad request must not end a worker; the process sees EIO
            self.note(error)
        return -errno.EIO

    def _end(self) -> None:
        for thread in self._threads:
            thread.join()
        try:
            if self._on_end is not None:
                self._on_end()
        except PaddockError as error:
            self.note(error)
        finally:
            self._ended.set()
