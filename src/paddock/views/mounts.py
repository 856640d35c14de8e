"""What the kernel says is mounted where. Asked of the kernel's own list, never of the mounts themselves.

Source: proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")
"""Blanks, tabs, line ends and backslashes are written as octal numbers."""
_FIELDS_BEFORE, _FIELDS_AFTER = 6, 3
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
    # Bytes, cut at line feeds and blanks alone: a mountpoint's name may hold whatever else cuts lines of text.
    for line in source.read_bytes().split(b"\n"):
        before, _, after = line.partition(b" - ")
        fields, told = before.split(b" "), after.split(b" ")
        if len(fields) < _FIELDS_BEFORE or len(told) < _FIELDS_AFTER:
            continue
        place = Path(os.fsdecode(_OCTAL.sub(lambda found: bytes([int(found[1], 8)]), fields[4])))
        options = frozenset(os.fsdecode(told[-1]).split(","))
        yield Mounted(place, fields[2].decode("ascii"), os.fsdecode(told[0]), options)
