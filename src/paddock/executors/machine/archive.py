"""The initial file system: an archive of the form that the kernel unpacks (cpio "newc"), the same bytes for the same content.

Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Entry:
    """What is under one name: a file's content, or where a link points.

    Args:
        content: of the file; the target of a link.
        link: whether it is a symbolic link.
        executable: whether the file is a program.
    """

    content: bytes
    link: bool = False
    executable: bool = False


def initial_file_system(entries: Mapping[str, Entry], folders: tuple[str, ...] = ()) -> bytes:
    """An archive of these entries; everything belongs to root and was changed in 1970.

    Args:
        entries: by relative path; the folders above them are added.
        folders: empty ones.
    """
    names = {*folders, *entries}
    names |= {str(above) for name in names for above in PurePosixPath(name).parents if str(above) != "."}
    parts = []
    for number, name in enumerate(sorted(names), 1):
        entry = entries.get(name)
        if entry is None:
            parts.append(_record(name, stat.S_IFDIR | 0o755, b"", number))
        elif entry.link:
            parts.append(_record(name, stat.S_IFLNK | 0o777, entry.content, number))
        else:
            parts.append(_record(name, stat.S_IFREG | (0o755 if entry.executable else 0o644), entry.content, number))
    return b"".join([*parts, _record("TRAILER!!!", 0, b"", 0)])


def file_around(name: str, size: int) -> tuple[bytes, bytes]:
    """What stands before and behind the content of an archive of one file, for a content too large to be held.

    Args:
        name: in the topmost folder.
        size: of the content, in bytes.

    Raises:
        ValueError: the format has no such sizes.
    """
    if size >= 1 << 32:
        raise ValueError("a file of an initial file system has less than 4 GiB")
    head = _head(name, stat.S_IFREG | 0o644, size, 1)
    return head, bytes(-size % 4) + _record("TRAILER!!!", 0, b"", 0)


def _record(name: str, mode: int, content: bytes, number: int) -> bytes:
    return _head(name, mode, len(content), number) + content + bytes(-len(content) % 4)


def _head(name: str, mode: int, size: int, number: int) -> bytes:
    encoded = name.encode("utf-8") + b"\0"
    # inode, mode, owner, group, links, time, size, device and its own device (major, minor each), length of the name, no checksum
    fields = (number, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % value for value in fields) + encoded
    return header + bytes(-len(header) % 4)
