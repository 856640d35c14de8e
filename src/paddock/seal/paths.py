"""Which paths a volume may hold, and in which order."""

from __future__ import annotations

import re

from paddock.errors import PathRefused

MAX_PATH_BYTES = 1024
_FORBIDDEN = re.compile(rb"\0|(?:\A|/)\.{0,2}(?:/|\Z)")
"""A NUL; a part that is empty, `.` or `..`."""


def check_path(path: str) -> bytes:
    """The UTF-8 bytes of a path that a volume may hold.

    Raises:
        PathRefused: empty, longer than 1024 bytes, absolute, with an empty, `.` or `..` part, a NUL, or not UTF-8.

    Source: docs/spec/sealed-volume.md §6 (S-17).
    """
    # S-17
    try:
        raw = path.encode("utf-8")
    except UnicodeEncodeError:
        raise PathRefused("A file's name is not valid Unicode.") from None
    if not 0 < len(raw) <= MAX_PATH_BYTES:
        raise PathRefused(f"A path has {len(raw)} bytes; from 1 to {MAX_PATH_BYTES} are allowed.")
    if _FORBIDDEN.search(raw):
        raise PathRefused(f"The path {path!r} is absolute, or has an empty, '.' or '..' part, or a NUL.")
    return raw


def is_path(raw: bytes) -> bool:
    """Whether `check_path` gives these bytes for some path."""
    if not 0 < len(raw) <= MAX_PATH_BYTES or _FORBIDDEN.search(raw):
        return False
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class PathOrder:
    """Follows paths that must ascend by their bytes, none twice, none a directory of a later one."""

    def __init__(self) -> None:
        # Each is a prefix, as a string, of the next one. In ascending order everything between a file and a path
        # below it begins with that file's path, so nothing that could clash has been dropped.
        self._prefixes: list[bytes] = []

    def follow(self, raw: bytes) -> None:
        """Take the next path.

        Raises:
            PathRefused: it does not come after the one before, or lies below a file.

        Source: docs/spec/sealed-volume.md §6 (S-18).
        """
        # S-18
        prefixes = self._prefixes
        if prefixes and raw <= prefixes[-1]:
            raise PathRefused("Paths must ascend by their bytes, each once.")
        while prefixes and not raw.startswith(prefixes[-1]):
            prefixes.pop()
        for prefix in prefixes:
            if raw.startswith(b"/", len(prefix)):
                raise PathRefused("A path is both a file and a directory.")
        prefixes.append(raw)
