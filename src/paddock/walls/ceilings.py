"""What a job may use at most."""

from __future__ import annotations

import resource
from dataclasses import dataclass, fields

_MAPPED_BYTES = 16 << 30
"""Addresses that a process may have beyond its memory: what libraries reserve without ever using it is no memory."""
_OPEN_FILES = 1024
_LARGEST = 1 << 62


@dataclass(frozen=True)
class Ceilings:
    """The ceilings of one job. None has a default: each comes from the contract.

    Args:
        memory_bytes: of all its processes together, with what it writes to memory file systems.
        processes: processes and threads at one time.
        file_bytes: of any one file that it writes.
        scratch_bytes: of all files below each of `/tmp`, `/outputs` and `/dev/shm`.
        cpu_seconds: of processor time of any one process.
    """

    memory_bytes: int
    processes: int
    file_bytes: int
    scratch_bytes: int
    cpu_seconds: int

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if type(value) is not int or not 0 < value < _LARGEST:
                raise ValueError(f"{each.name} is a number above 0")


def limits(ceilings: Ceilings) -> dict[int, int]:
    """The resource limits, soft and hard alike, that hold for every process of the job (W-7)."""
    return {
        resource.RLIMIT_AS: ceilings.memory_bytes + _MAPPED_BYTES,
        # Private memory that can be written: closer to what a process uses than the addresses it has.
        resource.RLIMIT_DATA: ceilings.memory_bytes,
        resource.RLIMIT_NPROC: ceilings.processes,
        resource.RLIMIT_FSIZE: ceilings.file_bytes,
        resource.RLIMIT_CPU: ceilings.cpu_seconds,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NICE: 0,
        resource.RLIMIT_RTPRIO: 0,
        resource.RLIMIT_SIGPENDING: 1024,
    }
