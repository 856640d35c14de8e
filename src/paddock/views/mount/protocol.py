"""The kernel's FUSE protocol: the structures and numbers that a mount of ours exchanges with /dev/fuse.

All integers are in the machine's own byte order. Names here are those of the kernel's header in lower case or without
their prefix.

Source: linux/fuse.h, protocol 7.31 and later; Documentation/filesystems/fuse.rst.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

ROOT_ID = 1
MAJOR = 7
MINOR = 31
"""What is spoken. A later kernel speaks it too; an earlier one (before Linux 5.4) is refused."""
PAGE_BYTES = 4096

IN_HEADER = struct.Struct("=IIQQIIIHH")  # len, opcode, unique, nodeid, uid, gid, pid, extensions, padding
OUT_HEADER = struct.Struct("=IiQ")  # len, error, unique
INIT_IN = struct.Struct("=IIII")  # major, minor, max_readahead, flags
INIT_OUT = struct.Struct("=IIIIHHIIHHI28x")
ATTR = struct.Struct("=QQQQQQIIIIIIIIII")
ENTRY_HEAD = struct.Struct("=QQQQII")  # nodeid, generation, entry_valid, attr_valid, and both in ns
ATTR_HEAD = struct.Struct("=QII")
OPEN_OUT = struct.Struct("=QII")
MKNOD_IN = struct.Struct("=IIII")
MKDIR_IN = struct.Struct("=II")
RELEASE_IN = struct.Struct("=QIIQ")
RENAME2_IN = struct.Struct("=QII")
RENAME_IN = struct.Struct("=Q")
SETATTR_IN = struct.Struct("=IIQQQQQQIIIIIIII")
READ_IN = struct.Struct("=QQIIQII")
WRITE_IN = READ_IN
WRITE_OUT = struct.Struct("=II")
FSYNC_IN = struct.Struct("=QII")
STATFS_OUT = struct.Struct("=QQQQQIIII24x")  # blocks, free, available, files, free, bsize, namelen, frsize, padding
DIRENT = struct.Struct("=QQII")  # ino, off, namelen, type
FORGET_IN = struct.Struct("=Q")
BATCH_FORGET_IN = struct.Struct("=II")
FORGET_ONE = struct.Struct("=QQ")
NOTIFY_STORE = struct.Struct("=IiQQQII")  # out header with code as error and unique 0; nodeid, offset, size, padding

NOTIFY_CODE_STORE = 4
SETATTR_SIZE = 1 << 3
SETATTR_UID = 1 << 1
SETATTR_GID = 1 << 2
RENAME_NOREPLACE = 1


class Op(enum.IntEnum):
    """Requests."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    READ = 15
    WRITE = 16
    STATFS = 17
    FSYNC = 20
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    DESTROY = 38
    BATCH_FORGET = 42
    READDIRPLUS = 44
    RENAME2 = 45


class Init(enum.IntFlag):
    """Abilities that kernel and server agree on."""

    ASYNC_READ = 1 << 0
    BIG_WRITES = 1 << 5
    DO_READDIRPLUS = 1 << 13
    NO_OPEN_SUPPORT = 1 << 17
    PARALLEL_DIROPS = 1 << 18
    MAX_PAGES = 1 << 22
    NO_OPENDIR_SUPPORT = 1 << 24


@dataclass(frozen=True)
class Attributes:
    """What `stat` shows.

    Args:
        ino: inode number.
        size: bytes.
        mode: type and permissions.
        links: number of names.
        mtime: seconds since 1970, for all three times.
        uid: owner.
        gid: group.
    """

    ino: int
    size: int
    mode: int
    links: int
    mtime: int
    uid: int
    gid: int

    def pack(self) -> bytes:
        """As `struct fuse_attr`."""
        blocks = -(-self.size // 512)
        return ATTR.pack(
            self.ino, self.size, blocks, self.mtime, self.mtime, self.mtime, 0, 0, 0,
            self.mode, self.links, self.uid, self.gid, 0, PAGE_BYTES, 0,
        )  # fmt: skip


def entry_out(node: int, attributes: Attributes, valid_seconds: int) -> bytes:
    """`struct fuse_entry_out`: a name leads to this node. Node 0 says that there is none, for as long as is said."""
    return ENTRY_HEAD.pack(node, 0, valid_seconds, valid_seconds, 0, 0) + attributes.pack()


def attr_out(attributes: Attributes, valid_seconds: int) -> bytes:
    """`struct fuse_attr_out`."""
    return ATTR_HEAD.pack(valid_seconds, 0, 0) + attributes.pack()


def dirent(ino: int, offset: int, name: bytes, kind: int) -> bytes:
    """`struct fuse_dirent`, padded; `offset` is the cookie of what follows, `kind` the type bits of the mode."""
    record = DIRENT.pack(ino, offset, len(name), kind >> 12) + name
    return record + bytes(-len(record) % 8)
