"""A sealed volume as a read-only file system of the kernel.

A volume never changes, so names, attributes and pages are the kernel's for good once it has them, and it need not tell when a
file is opened or closed. What costs then is the first read of every page; neighbours of what was asked for are pushed
into the page cache along with it.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import MountOptionsInvalid, NoSuchFile, PaddockError
from paddock.seal.options import OpenOptions
from paddock.seal.reader import VolumeFile, VolumeReader
from paddock.views.mount.ahead import Surroundings
from paddock.views.mount.protocol import (
    BATCH_FORGET_IN,
    FORGET_IN,
    FORGET_ONE,
    PAGE_BYTES,
    READ_IN,
    STATFS_OUT,
    Attributes,
    Init,
    Op,
    attr_out,
    dirent,
    entry_out,
)
from paddock.views.mount.server import MAX_TRANSFER_BYTES, Answer, Handler, Lane, Mount, ServerOptions, Statistics
from paddock.views.mount.tree import Files, Listings, Nodes, inode

_FOREVER_SECONDS = 1 << 30
_ROOT_INODE = 1
_DIRECTORY = stat.S_IFDIR | 0o500
_FILE = stat.S_IFREG | 0o400
_KEPT_FILES = 4096
_MAX_WORKERS = 32
_TURNS = 64
_SHORT_BYTES = 64 << 10
_LONG_BYTES = 256 << 10
"""Reads of this length are neighbours that the kernel reads ahead: in turns, so that two workers do not open the segment that
they share twice."""
READING = OpenOptions(threads=1, cached_segments=64, cached_tiles=256, cached_blocks=512)
"""How to open a volume that is to be mounted: the mount has threads of its own."""


@dataclass(frozen=True)
class MountOptions:
    """How a volume is mounted.

    Memory in use is about `workers * 1 MiB`, what the reader caches, and some 300 bytes for each name that the kernel
    holds. Plaintext is also in the kernel's page cache: docs/threat-model.md.

    Args:
        workers: threads that answer the kernel, at least 2.
        readahead_bytes: how far the kernel reads ahead in a file; more than 128 KiB only for root.
        push_bytes: the block around a read at a random place that is given to the kernel unasked, a multiple of 4 KiB up
            to 16 MiB; 0 for none.
        executable: whether programs may be run from the mount.

    Raises:
        MountOptionsInvalid: out of range.
    """

    workers: int = 3
    readahead_bytes: int = 4 << 20
    push_bytes: int = 4 << 20
    executable: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.workers <= _MAX_WORKERS:
            raise MountOptionsInvalid(f"{self.workers} workers were asked for.")
        if not PAGE_BYTES <= self.readahead_bytes <= 64 << 20:
            raise MountOptionsInvalid(f"A readahead of {self.readahead_bytes} bytes was asked for.")
        if not 0 <= self.push_bytes <= 16 << 20 or self.push_bytes % PAGE_BYTES:
            raise MountOptionsInvalid(f"{self.push_bytes} bytes to push were asked for.")


def mount_volume(reader: VolumeReader, mountpoint: Path, *, options: MountOptions | None = None) -> Mount:
    """Mount an open volume, for this user alone. Every byte that a program sees has been verified.

    What the store gives wrong or not at all is EIO for the program that reads, and its reason in `Mount.errors`.

    Args:
        reader: the volume, best opened with `READING`.
        mountpoint: an empty folder, by its absolute path.
        options: None for the defaults.

    Raises:
        MountUnavailable: this machine cannot mount: /dev/fuse, fusermount3 or Linux 5.4 is missing.
        MountpointInvalid: the folder cannot be mounted upon.
    """
    options = options or MountOptions()
    statistics = Statistics()
    view = _VolumeView(reader, options, statistics)
    return Mount(
        mountpoint,
        view.handlers(),
        ServerOptions(
            kernel_options=(
                "ro", "nosuid", "nodev", *(() if options.executable else ("noexec",)),
                "default_permissions", "fsname=paddock", "subtype=paddock",
            ),
            abilities=(
                Init.ASYNC_READ | Init.PARALLEL_DIROPS | Init.MAX_PAGES | Init.DO_READDIRPLUS
                | Init.NO_OPEN_SUPPORT | Init.NO_OPENDIR_SUPPORT
            ),
            workers=options.workers,
            write_bytes=PAGE_BYTES,
            readahead_bytes=options.readahead_bytes,
        ),
        statistics=statistics,
    )  # fmt: skip


class _VolumeView:
    """The answers to the kernel's requests."""

    def __init__(self, reader: VolumeReader, options: MountOptions, statistics: Statistics) -> None:
        self._reader = reader
        self._nodes = Nodes()
        self._files = Files(reader, _KEPT_FILES)
        self._listings = Listings(reader)
        self._uid, self._gid = os.getuid(), os.getgid()
        self._surroundings = Surroundings(options.push_bytes)
        self._pushing = threading.Semaphore(options.workers - 1)
        self._statistics = statistics
        self._turns = [threading.Lock() for _ in range(_TURNS)]

    def handlers(self) -> dict[int, Handler]:
        """By request."""
        return {
            Op.LOOKUP: self._lookup,
            Op.FORGET: self._forget,
            Op.BATCH_FORGET: self._batch_forget,
            Op.GETATTR: self._getattr,
            Op.READ: self._read,
            Op.READDIR: self._readdir,
            Op.READDIRPLUS: self._readdirplus,
            Op.STATFS: self._statfs,
            Op.DESTROY: lambda _node, _body, _lane: b"",
        }

    def _attributes(self, path: str, file: VolumeFile | None) -> Attributes:
        number = inode(path) if path else _ROOT_INODE
        if file is None:
            return Attributes(number, 0, _DIRECTORY, 1, 0, self._uid, self._gid)
        return Attributes(number, file.size, _FILE, 1, 0, self._uid, self._gid)

    def _lookup(self, node: int, body: memoryview, _lane: Lane) -> Answer:
        above = self._nodes.path(node)
        if above is None:
            return -errno.ESTALE
        try:
            name = bytes(body[:-1]).decode("utf-8")
            path = f"{above}/{name}" if above else name
            file = self._files.look_up(path)
        except (NoSuchFile, UnicodeDecodeError):
            # Node 0: there is no such name, and there never will be.
            return entry_out(0, Attributes(0, 0, 0, 0, 0, 0, 0), _FOREVER_SECONDS)
        return entry_out(self._nodes.hold(path), self._attributes(path, file), _FOREVER_SECONDS)

    def _forget(self, node: int, body: memoryview, _lane: Lane) -> Answer:
        self._nodes.forget(node, FORGET_IN.unpack_from(body)[0])
        return None

    def _batch_forget(self, _node: int, body: memoryview, _lane: Lane) -> Answer:
        count, _ = BATCH_FORGET_IN.unpack_from(body)
        for number in range(count):
            node, times = FORGET_ONE.unpack_from(body, BATCH_FORGET_IN.size + number * FORGET_ONE.size)
            self._nodes.forget(node, times)
        return None

    def _getattr(self, node: int, _body: memoryview, _lane: Lane) -> Answer:
        path = self._nodes.path(node)
        if path is None:
            return -errno.ESTALE
        file = self._files.look_up(path) if path else None
        return attr_out(self._attributes(path, file), _FOREVER_SECONDS)

    def _statfs(self, _node: int, _body: memoryview, _lane: Lane) -> Answer:
        blocks = -(-self._reader.content_bytes // PAGE_BYTES)
        return STATFS_OUT.pack(blocks, 0, 0, len(self._reader), 0, PAGE_BYTES, 255, PAGE_BYTES, 0)

    # --- directories ---

    def _readdir(self, node: int, body: memoryview, lane: Lane) -> Answer:
        return self._list(node, body, lane, plus=False)

    def _readdirplus(self, node: int, body: memoryview, lane: Lane) -> Answer:
        return self._list(node, body, lane, plus=True)

    def _list(self, node: int, body: memoryview, lane: Lane, *, plus: bool) -> Answer:
        """One part of a listing. Position 0 is `.`, 1 is `..`, then come the names."""
        directory = self._nodes.path(node)
        if directory is None:
            return -errno.ESTALE
        _, position, room, *_ = READ_IN.unpack_from(body)
        out, used = lane.data, 0
        none = entry_out(0, Attributes(0, 0, 0, 0, 0, 0, 0), 0) if plus else b""
        while position < 2:
            record = none + dirent(inode(directory) if directory else _ROOT_INODE, position + 1,
                                   b"." * (position + 1), _DIRECTORY)  # fmt: skip
            if used + len(record) > room:
                break
            out[used : used + len(record)] = record
            used += len(record)
            position += 1
        names = self._listings.take(directory, position - 2)
        for child in names:
            encoded = child.name.encode("utf-8")
            kind = _FILE if child.file is not None else _DIRECTORY
            record = dirent(inode(child.path), position + 1, encoded, kind)
            length = len(record) + len(none)
            if used + length > room:
                # This one comes first next time.
                self._listings.keep(directory, position - 2, itertools.chain((child,), names))
                break
            if plus:
                # Each entry counts as a lookup, so it is held only once it is sure to be sent.
                held = self._nodes.hold(child.path)
                record = entry_out(held, self._attributes(child.path, child.file), _FOREVER_SECONDS) + record
            out[used : used + length] = record
            used += length
            position += 1
        lane.send(used)
        return None

    # --- contents ---

    def _read(self, node: int, body: memoryview, lane: Lane) -> Answer:
        path = self._nodes.path(node)
        if path is None:
            return -errno.ESTALE
        _, offset, size, *_ = READ_IN.unpack_from(body)
        file = self._files.get(path)
        turn = self._turns[node % _TURNS] if _SHORT_BYTES <= size <= _LONG_BYTES else contextlib.nullcontext()
        with turn:
            count = file.read_into(offset, lane.data[: min(size, MAX_TRANSFER_BYTES)])
        self._statistics.add(read=count)
        # The answer before any push: the kernel holds the pages that it waits for, and would not take them otherwise.
        lane.send(count)
        self._push_around(node, file, offset, count, lane)
        return None

    def _push_around(self, node: int, file: VolumeFile, offset: int, count: int, lane: Lane) -> None:
        # A push can wait for a page that another request waits for; so one worker at least stays free to answer that.
        if not self._pushing.acquire(blocking=False):
            return
        try:
            block = self._surroundings.block(node, file.size, offset, count)
            if block is not None:
                start, length = block
                for at in range(start, start + length, MAX_TRANSFER_BYTES):
                    got = file.read_into(at, lane.data[: min(MAX_TRANSFER_BYTES, start + length - at)])
                    if not lane.push(node, at, lane.data[:got]):
                        break
                    self._statistics.add(pushed=got)
        except PaddockError:
            pass  # nobody asked for these bytes; whoever does is told
        finally:
            self._pushing.release()
