"""A control group for one job, where this process may make one: memory and processes of all its processes together.

Version 1: below this process's own groups of `memory` and `pids`. Version 2: beside this process's own group, where
the group above hands out both controllers (systemd: Delegate=yes, DelegateSubgroup=service).
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from paddock.walls.ceilings import Ceilings

_OWN_PROCESSES = 4
"""Of the walls themselves: launcher, bubblewrap twice, and the interpreter before the job."""
_REMOVE_SECONDS = 5.0


@dataclass
class ControlGroup:
    """The folders of one job's group: one for each controller of version 1, a single one of version 2."""

    folders: tuple[Path, ...]

    def joined_by(self) -> list[str]:
        """The files that a process writes `0` to, to join."""
        return [str(folder / "cgroup.procs") for folder in self.folders]

    def memory_ran_out(self) -> bool:
        """Whether the kernel ended a process of the job for its ceiling of memory."""
        for folder in self.folders:
            for name in ("memory.oom_control", "memory.events"):
                with contextlib.suppress(OSError, ValueError):
                    for row in (folder / name).read_text(encoding="ascii").splitlines():
                        if row.startswith("oom_kill ") and int(row.split()[1]) > 0:
                            return True
        return False

    def remove(self) -> None:
        """Take the group away; its processes have ended, and the kernel may need a moment to see it."""
        for folder in self.folders:
            until = time.monotonic() + _REMOVE_SECONDS
            while folder.exists() and time.monotonic() < until:
                try:
                    folder.rmdir()
                except OSError:
                    time.sleep(0.002)


def make_group(ceilings: Ceilings, root: Path = Path("/sys/fs/cgroup"), own: str | None = None) -> ControlGroup | None:
    """A group with these ceilings, or None where this process may make none (W-7).

    Args:
        ceilings: memory and processes are taken.
        root: where control groups are mounted; tests give a tree of their own.
        own: what /proc/self/cgroup says; tests give their own.
    """
    if own is None:
        try:
            own = Path("/proc/self/cgroup").read_text(encoding="utf-8")
        except OSError:
            return None
    name = f"paddock-{os.getpid()}-{os.urandom(4).hex()}"
    rows = [row.split(":", 2) for row in own.splitlines() if row.count(":") >= 2]
    processes = ceilings.processes + _OWN_PROCESSES
    wanted: dict[Path, dict[str, int]] = {}
    bounded = False
    for _, controllers, path in rows:
        names = controllers.split(",")  # several may share one tree
        settings: dict[str, int] = {}
        if "memory" in names:
            bounded = True
            settings |= {"memory.limit_in_bytes": ceilings.memory_bytes, "memory.swappiness": 0}
        if "pids" in names:
            settings |= {"pids.max": processes}
        if settings:
            wanted[root / controllers / path.lstrip("/") / name] = settings
    if not bounded:
        # Without the memory of the whole job it is no group: the supervisor has to look at that itself.
        wanted.clear()
        above = _delegated(root, rows)
        if above is None:
            return None
        wanted[above / name] = {
            "memory.max": ceilings.memory_bytes,
            "memory.swap.max": 0,
            "memory.oom.group": 1,
            "pids.max": processes,
        }
    return _made(wanted)


def _delegated(root: Path, rows: list[list[str]]) -> Path | None:
    for number, controllers, path in rows:
        if number == "0" and not controllers:
            above = (root / path.lstrip("/")).parent
            with contextlib.suppress(OSError):
                given = (above / "cgroup.subtree_control").read_text(encoding="ascii").split()
                if {"memory", "pids"} <= set(given):
                    return above
    return None


_OPTIONAL = frozenset({"memory.swappiness", "memory.swap.max", "memory.oom.group"})
"""Not in every kernel; the ceilings hold without them, those of swap where there is nothing to swap to."""
_OF_SWAP = frozenset({"memory.swappiness", "memory.swap.max"})
_SWAPS = Path("/proc/swaps")


def _swaps() -> bool:
    """Whether this machine swaps, as far as it can be known."""
    try:
        return len(_SWAPS.read_text(encoding="utf-8", errors="replace").splitlines()) > 1
    except FileNotFoundError:
        return False  # a kernel without
    except OSError:
        return True


def _remove_left(above: Path) -> None:
    """Groups of supervisors that were killed: nobody is in them, and nobody else will take them away."""
    for folder in above.glob("paddock-*-*"):
        if not Path(f"/proc/{folder.name.split('-')[1]}").exists():
            with contextlib.suppress(OSError):
                folder.rmdir()


def _made(wanted: dict[Path, dict[str, int]]) -> ControlGroup | None:
    made: list[Path] = []
    try:
        for folder, settings in wanted.items():
            _remove_left(folder.parent)
            folder.mkdir()
            made.append(folder)
            for setting, value in settings.items():
                try:
                    (folder / setting).write_text(str(value), encoding="ascii")
                except OSError:
                    if setting not in _OPTIONAL or (setting in _OF_SWAP and _swaps()):
                        raise
    except OSError:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        return None
    return ControlGroup(tuple(made))
