"""The ceiling of memory where no control group can be made: the supervisor looks at the job's memory and ends it.

It looks a few times a second, so a job can be above its ceiling for a moment; how far, the resource limits of each
process and the sizes of its memory file systems bound.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_INODE_BYTES = 1024
"""What the kernel needs for a file of a memory file system beside its content, about."""
_PROCESSES = Path("/proc")


def memory_of(pid: int, folders: tuple[str, ...]) -> int:
    """Bytes of memory that all processes below this one use, with what they wrote to memory file systems (W-7).

    Pages that several share are counted once.

    Args:
        pid: of bubblewrap.
        folders: where the job's memory file systems are, as it sees them.
    """
    private = shared = written = 0
    inside = list(_below(pid))
    for each in inside:
        own, others = _memory(each)
        private += own
        shared += others
    if inside:
        # Seen through its first process, which is there as long as any: another may end while it is looked at.
        written = sum(_written(inside[0], folder) for folder in folders)
    # What is mapped of a file is counted among its file system's.
    return private + max(shared, written)


def may_look(pid: int) -> bool:
    """Whether this process is let look at what `memory_of` counts: else everything would count as nothing."""
    try:
        for first in _below(pid):
            (_PROCESSES / str(first) / "smaps_rollup").read_bytes()
            os.statvfs(_PROCESSES / str(first) / "root")
            break
    except PermissionError:
        return False
    except OSError:
        pass  # it ended
    return True


def _below(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):  # it ended while it was looked at
        for task in (_PROCESSES / str(pid) / "task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                yield int(child)
                yield from _below(int(child))


def _memory(pid: int) -> tuple[int, int]:
    private = shared = 0
    with contextlib.suppress(OSError, ValueError):
        for row in (_PROCESSES / str(pid) / "smaps_rollup").read_text(encoding="ascii").splitlines():
            name, _, rest = row.partition(":")
            if name == "Pss_Anon":
                private = int(rest.split()[0]) << 10
            elif name == "Pss_Shmem":
                shared = int(rest.split()[0]) << 10
    return private, shared


def _written(pid: int, folder: str) -> int:
    try:
        facts = os.statvfs(f"{_PROCESSES}/{pid}/root{folder}")
    except OSError:
        return 0
    return (facts.f_blocks - facts.f_bfree) * facts.f_frsize + (facts.f_files - facts.f_ffree) * _INODE_BYTES
