"""A draft as a writable file system of the kernel, for outputs and checkpoints.

fsync, fdatasync and fsync of a folder mean it: when they return, everything done so far is in the store and will be found
after this process was killed. So does renaming over a file, which is how programs replace one in one step. Closing a
file alone promises nothing. Permissions and times are taken and not kept.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from paddock.views.drafts import Draft, DraftFile, DraftFolder
from paddock.views.mount.protocol import (
    BATCH_FORGET_IN,
    FORGET_IN,
    FORGET_ONE,
    FSYNC_IN,
    MKDIR_IN,
    MKNOD_IN,
    OPEN_OUT,
    PAGE_BYTES,
    READ_IN,
    RELEASE_IN,
    RENAME2_IN,
    RENAME_IN,
    RENAME_NOREPLACE,
    ROOT_ID,
    SETATTR_GID,
    SETATTR_IN,
    SETATTR_SIZE,
    SETATTR_UID,
    STATFS_OUT,
    WRITE_IN,
    WRITE_OUT,
    Attributes,
    Init,
    Op,
    attr_out,
    dirent,
    entry_out,
)
from paddock.views.mount.server import MAX_TRANSFER_BYTES, Answer, Handler, Lane, Mount, ServerOptions
from paddock.views.mount.volume import MountOptions

_VALID_SECONDS = 3600
_FILE = stat.S_IFREG | 0o600
_FOLDER = stat.S_IFDIR | 0o700
_ROOM_BLOCKS = 1 << 30
"""4 TiB: how much room the store has is not known; it says when it is full."""


def mount_draft(draft: Draft, mountpoint: Path, *, options: MountOptions | None = None) -> Mount:
    """Mount a draft, writable, for this user alone. Unmounting commits.

    While it is mounted the draft is changed through the mount alone; `Draft.commit` and `Draft.head` may be called.

    Args:
        draft: an open draft.
        mountpoint: an empty folder, by its absolute path.
        options: None for the defaults; nothing is pushed here.

    Raises:
        MountUnavailable: this machine cannot mount: /dev/fuse, fusermount3 or Linux 5.4 is missing.
        MountpointInvalid: the folder cannot be mounted upon.
    """
    options = options or MountOptions()
    return Mount(
        mountpoint,
        _DraftView(draft).handlers(),
        ServerOptions(
            kernel_options=(
                "rw", "nosuid", "nodev", *(() if options.executable else ("noexec",)),
                "default_permissions", "fsname=paddock", "subtype=paddock",
            ),
            # Files are read and written by their node: no request for opening and closing them.
            abilities=Init.ASYNC_READ | Init.BIG_WRITES | Init.MAX_PAGES | Init.NO_OPEN_SUPPORT,
            workers=options.workers,
            write_bytes=MAX_TRANSFER_BYTES,
            readahead_bytes=options.readahead_bytes,
        ),
        on_end=draft.close,
    )  # fmt: skip


@dataclass(eq=False)
class _Held:
    node: DraftFile | DraftFolder
    count: int = 0


@dataclass(eq=False)
class _Listing:
    names: list[tuple[str, DraftFile | DraftFolder]] = field(default_factory=list)


class _DraftView:
    """The answers to the kernel's requests."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._held: dict[int, _Held] = {ROOT_ID: _Held(draft.root, 1)}
        self._listings: dict[int, _Listing] = {}
        self._handles = itertools.count(1)
        self._lock = threading.RLock()
        self._uid, self._gid = os.getuid(), os.getgid()

    def handlers(self) -> dict[int, Handler]:
        """By request."""
        plain: dict[int, Handler] = {
            Op.LOOKUP: self._lookup,
            Op.GETATTR: self._getattr,
            Op.SETATTR: self._setattr,
            Op.MKNOD: self._mknod,
            Op.MKDIR: self._mkdir,
            Op.UNLINK: self._unlink,
            Op.RMDIR: self._rmdir,
            Op.RENAME: self._rename,
            Op.RENAME2: self._rename2,
            Op.READ: self._read,
            Op.WRITE: self._write,
            Op.OPENDIR: self._opendir,
            Op.READDIR: self._readdir,
            Op.RELEASEDIR: self._releasedir,
        }
        return {
            **{number: _told(handler) for number, handler in plain.items()},
            Op.FORGET: self._forget,
            Op.BATCH_FORGET: self._batch_forget,
            Op.FSYNC: self._fsync,
            Op.FSYNCDIR: self._fsync,
            Op.STATFS: self._statfs,
            Op.DESTROY: lambda _node, _body, _lane: b"",
        }

    # --- nodes ---

    def _node(self, number: int) -> DraftFile | DraftFolder:
        held = self._held.get(number)
        if held is None:
            raise _failed(errno.ESTALE)
        return held.node

    def _folder(self, number: int) -> DraftFolder:
        node = self._node(number)
        if not isinstance(node, DraftFolder):
            raise _failed(errno.ENOTDIR)
        return node

    def _file(self, number: int) -> DraftFile:
        node = self._node(number)
        if not isinstance(node, DraftFile):
            raise _failed(errno.EISDIR)
        return node

    def _entry(self, node: DraftFile | DraftFolder) -> bytes:
        number = node.number + ROOT_ID
        with self._lock:
            self._held.setdefault(number, _Held(node)).count += 1
        return entry_out(number, self._attributes(node), _VALID_SECONDS)

    def _attributes(self, node: DraftFile | DraftFolder) -> Attributes:
        size, mode = (node.content.size, _FILE) if isinstance(node, DraftFile) else (0, _FOLDER)
        return Attributes(node.number + ROOT_ID, size, mode, 1 if node.linked else 0, node.mtime, self._uid, self._gid)

    def _let_go(self, number: int, count: int) -> None:
        with self._lock:
            held = self._held.get(number)
            if held is None or number == ROOT_ID:
                return
            held.count -= count
            if held.count <= 0:
                del self._held[number]
                self._draft.release(held.node)

    def _dropped(self, node: DraftFile | DraftFolder | None) -> None:
        """A name is gone: so is the node, unless the kernel still holds it."""
        if node is not None and node.number + ROOT_ID not in self._held:
            self._draft.release(node)

    # --- requests: names ---

    def _lookup(self, node: int, body: memoryview, _lane: Lane) -> Answer:
        with self._lock:
            found = self._folder(node).names.get(_name(body))
            if found is None:
                return -errno.ENOENT
            return self._entry(found)

    def _forget(self, node: int, body: memoryview, _lane: Lane) -> Answer:
        self._let_go(node, FORGET_IN.unpack_from(body)[0])
        return None

    def _batch_forget(self, _node: int, body: memoryview, _lane: Lane) -> Answer:
        count, _ = BATCH_FORGET_IN.unpack_from(body)
        for number in range(count):
            self._let_go(*FORGET_ONE.unpack_from(body, BATCH_FORGET_IN.size + number * FORGET_ONE.size))
        return None

    def _getattr(self, node: int, _body: memoryview, _lane: Lane) -> Answer:
        return attr_out(self._attributes(self._node(node)), _VALID_SECONDS)

    def _setattr(self, node: int, body: memoryview, _lane: Lane) -> Answer:
        valid, _, _, size, _, _, _, _, _, _, _, _, _, uid, gid, _ = SETATTR_IN.unpack_from(body)
        if (valid & SETATTR_UID and uid != self._uid) or (valid & SETATTR_GID and gid != self._gid):
            return -errno.EPERM
        if valid & SETATTR_SIZE:
            self._draft.truncate(self._file(node), size)
        return attr_out(self._attributes(self._node(node)), _VALID_SECONDS)

    def _mknod(self, node: int, body: memoryview, _lane: Lane) -> Answer:
        mode, *_ = MKNOD_IN.unpack_from(body)
        if not stat.S_ISREG(mode):
            return -errno.EPERM
        return self._entry(self._draft.make_file(self._folder(node), _name(body[MKNOD_IN.size :])))

    def _mkdir(self, node: int, body: memoryview, _lane: Lane) -> Answer:
        return self._entry(self._draft.make_folder(self._folder(node), _name(body[MKDIR_IN.size :])))

    def _unlink(self, node: int, body: memoryview, _lane: Lane) -> Answer:
        with self._lock:
            self._dropped(self._draft.drop(self._folder(node), _name(body), is_folder=False))
        return b""

    def _rmdir(self, node: int, body: memoryview, _lane: Lane) -> Answer:
        with self._lock:
            self._dropped(self._draft.drop(self._folder(node), _name(body), is_folder=True))
        return b""

    def _rename(self, node: int, body: memoryview, _lane: Lane) -> Answer:
        (to,) = RENAME_IN.unpack_from(body)
        return self._move(node, to, body[RENAME_IN.size :], replace=True)

    def _rename2(self, node: int, body: memoryview, _lane: Lane) -> Answer:
        to, flags, _ = RENAME2_IN.unpack_from(body)
        if flags & ~RENAME_NOREPLACE:
            return -errno.EINVAL
        return self._move(node, to, body[RENAME2_IN.size :], replace=not flags)

    def _move(self, node: int, to: int, names: memoryview, *, replace: bool) -> Answer:
        old, new = bytes(names).split(b"\0")[:2]
        with self._lock:
            before = self._draft.move(
                self._folder(node), _decoded(old), self._folder(to), _decoded(new), replace=replace
            )
            self._dropped(before)
        if isinstance(before, DraftFile):
            # A program that writes beside a file and renames over it means the new one to be there whole after a crash.
            self._draft.commit()
        return b""

    # --- requests: contents ---

    def _read(self, node: int, body: memoryview, lane: Lane) -> Answer:
        _, offset, size, *_ = READ_IN.unpack_from(body)
        lane.send(self._draft.read_into(self._file(node), offset, lane.data[: min(size, MAX_TRANSFER_BYTES)]))
        return None

    def _write(self, node: int, body: memoryview, _lane: Lane) -> Answer:
        _, offset, size, *_ = WRITE_IN.unpack_from(body)
        data = body[WRITE_IN.size : WRITE_IN.size + size]
        if len(data) != size:
            return -errno.EINVAL
        self._draft.write(self._file(node), offset, data)
        return WRITE_OUT.pack(size, 0)

    def _fsync(self, _node: int, body: memoryview, _lane: Lane) -> Answer:
        FSYNC_IN.unpack_from(body)
        # D-7: the kernel has sent what it held of the file before it asked.
        self._draft.commit()
        return b""

    def _statfs(self, _node: int, _body: memoryview, _lane: Lane) -> Answer:
        return STATFS_OUT.pack(_ROOM_BLOCKS, _ROOM_BLOCKS, _ROOM_BLOCKS, 0, 0, PAGE_BYTES, 255, PAGE_BYTES, 0)

    # --- requests: listings, each as it was when it was opened ---

    def _opendir(self, node: int, _body: memoryview, _lane: Lane) -> Answer:
        self._folder(node)
        handle = next(self._handles)
        with self._lock:
            self._listings[handle] = _Listing()
        return OPEN_OUT.pack(handle, 0, 0)

    def _releasedir(self, _node: int, body: memoryview, _lane: Lane) -> Answer:
        with self._lock:
            self._listings.pop(RELEASE_IN.unpack_from(body)[0], None)
        return b""

    def _readdir(self, node: int, body: memoryview, lane: Lane) -> Answer:
        handle, position, room, *_ = READ_IN.unpack_from(body)
        folder = self._folder(node)
        with self._lock:
            listing = self._listings.get(handle)
            if listing is None:
                return -errno.EBADF
            if position == 0:
                listing.names = [(".", folder), ("..", folder), *folder.names.items()]
            used = 0
            for number, (name, child) in enumerate(listing.names[position:], start=position + 1):
                kind = _FILE if isinstance(child, DraftFile) else _FOLDER
                record = dirent(child.number + ROOT_ID, number, name.encode("utf-8"), kind)
                if used + len(record) > room:
                    break
                lane.data[used : used + len(record)] = record
                used += len(record)
        lane.send(used)
        return None


def _name(body: memoryview) -> str:
    return _decoded(bytes(body).partition(b"\0")[0])


def _decoded(name: bytes) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        raise _failed(errno.EILSEQ) from None


def _failed(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _told(handler: Handler) -> Callable[[int, memoryview, Lane], Answer]:
    """What the tree says is an answer, not a fault."""

    def handle(node: int, body: memoryview, lane: Lane) -> Answer:
        try:
            return handler(node, body, lane)
        except OSError as error:
            return -(error.errno or errno.EIO)

    return handle
