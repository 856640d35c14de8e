"""The ceiling of memory where no control group can be made: the supervisor looks at the job's memory and ends it.

It looks a few times a second, so a job can be above its ceiling for a moment; how far, the resource limits of each
process and the sizes of its memory file systems bound.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

_INODE_BYTES = 1024
"""What the kernel needs for a file of a memory file system beside its content, about."""
_PROCESSES = Path("/proc")
_AGAIN_SECONDS = 0.05
_EXITING = 0x4
"""PF_EXITING among a thread's flags: it has given its memory up, or is about to."""


class Unseen(Exception):
    """The memory of a process that lives cannot be seen."""


def memory_of(pid: int, folders: tuple[str, ...]) -> int:
    """Bytes of memory that all processes below this one use, with what they wrote to memory file systems (W-7).

    A page that several share is counted once; one of a memory file that is mapped, as mapped and as written.

    Args:
        pid: of bubblewrap.
        folders: where the job's memory file systems are, as it sees them.

    Raises:
        Unseen: something that lives cannot be looked at.
    """
    inside = _below(pid)
    used = sum(_memory(each) for each in inside)
    if inside:
        # Seen through its first process, which is there as long as any: another may end while it is looked at.
        used += sum(_written(inside[0], folder) for folder in folders)
    return used


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


def _below(pid: int) -> list[int]:
    """All processes below this one, its first child first. A job chooses how deep they lie: a list, no recursion."""
    found = [pid]
    known = {pid}
    for each in found:
        for thread in _threads(each):
            with contextlib.suppress(OSError):  # it ended while it was looked at
                children = [int(word) for word in (thread / "children").read_text(encoding="ascii").split()]
                found += [child for child in children if child not in known]
                known.update(children)
    return found[1:]


def _threads(pid: int) -> list[Path]:
    """Its threads' folders; none when it is gone."""
    try:
        return list((_PROCESSES / str(pid) / "task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return []


def _memory(pid: int) -> int:
    # The process's own file shows nothing once its first thread ended, though others use the memory on: any thread's does.
    for wait in (_AGAIN_SECONDS, 0):
        alive = False
        for thread in _threads(pid):
            with contextlib.suppress(OSError):
                return _counted((thread / "smaps_rollup").read_text(encoding="ascii"))
            alive = alive or _lives(thread)
        if not alive:
            return 0
        time.sleep(wait)
    raise Unseen(f"process {pid}")


def _counted(rollup: str) -> int:
    rows = dict(row.partition(":")[::2] for row in rollup.splitlines()[1:])
    return sum(int(rows[name].split()[0]) << 10 for name in ("Pss_Anon", "Pss_Shmem", "SwapPss"))


def _lives(thread: Path) -> bool:
    try:
        # After the name, which may hold anything: state, parent, group, session, terminal, its group, flags (proc_pid_stat(5)).
        words = (thread / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return words[0] not in "ZX" and not int(words[6]) & _EXITING


def _written(pid: int, folder: str) -> int:
    for wait in (_AGAIN_SECONDS, 0):
        with contextlib.suppress(OSError):
            facts = os.statvfs(f"{_PROCESSES}/{pid}/root{folder}")
            return (facts.f_blocks - facts.f_bfree) * facts.f_frsize + (facts.f_files - facts.f_ffree) * _INODE_BYTES
        if not any(_lives(thread) for thread in _threads(pid)):
            return 0
        time.sleep(wait)
    raise Unseen(f"{folder} of process {pid}")
