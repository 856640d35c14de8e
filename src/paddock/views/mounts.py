"""What the kernel says is mounted where. Asked of the kernel's own list, never of the mounts themselves.

Source: proc_pid_mountinfo(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_OCTAL = re.compile(r"\\([0-7]{3})")
MOUNTINFO = Path("/proc/self/mountinfo")


@dataclass(frozen=True)
class Mounted:
    """One mount.

    Args:
        place: its mountpoint.
        device: its number, as `major:minor`.
        kind: the type of file system.
        options: of the file system, not of this mount of it.
    """

    place: Path
    device: str
    kind: str
    options: frozenset[str]


def mounts(source: Path = MOUNTINFO) -> Iterator[Mounted]:
    """All mounts that this process sees, in the order in which they were made: the last one at a place covers the others."""
    for line in source.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        kind, _, options = after.split(maxsplit=2)
        yield Mounted(Path(_unescaped(fields[4])), fields[2], kind, frozenset(options.split()[-1].split(",")))


def _unescaped(place: str) -> str:
    # Blanks, tabs, line ends and backslashes are written as octal numbers.
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), place)
