"""Whether what was built holds what a contract allows: one question for every environment whose size is fixed beforehand.

A contract's limits are what its job may use to the full. In an environment that is smaller it would end in the middle for want
of memory or threads, after keepers released keys and counted a run. So such a run is not started.
"""

from __future__ import annotations

from dataclasses import dataclass

from paddock.errors import ContractTooLarge
from paddock.executors.asked import asked_limits
from paddock.executors.executor import Launch

OWN_THREADS = 16
"""Beside a job's: the interpreter's, those of keepers, leases and readers, and what the environment starts itself."""
ON_DISK = 1 << 44
"""Room for scratch files where they lie on a disk that the host gives: the most that a contract can allow."""


@dataclass(frozen=True)
class Room:
    """What an environment holds of a contract's limits.

    Args:
        memory_bytes: of data and tensors, and of scratch files where those have no room of their own.
        scratch_bytes: of scratch files; None: they take of the memory.
        processes: processes and threads of a job; None: memory alone bounds them.
        process_bytes: what each of them takes of the memory; 0 where that was set aside.
    """

    memory_bytes: int
    scratch_bytes: int | None
    processes: int | None
    process_bytes: int = 0


def check_room(launch: Launch, room: Room, remedy: str) -> None:
    """Return if an environment holds what the contract of a launch allows, or the contract cannot be read.

    Args:
        launch: whose contract; one that cannot be read is for the enclave to refuse, which says why.
        room: of the environment.
        remedy: how an operator gets a larger one, as a sentence.

    Raises:
        ContractTooLarge: it allows more; which limit, how much, and how much there is.
    """
    limits = asked_limits(launch)
    if limits is None:
        return
    memory, of = limits.memory_bytes, "limits.memory_bytes"
    if room.scratch_bytes is None:
        memory, of = memory + limits.scratch_bytes, f"{of} and limits.scratch_bytes together"
    elif limits.scratch_bytes > room.scratch_bytes:
        raise _too_large("limits.scratch_bytes", limits.scratch_bytes, room.scratch_bytes, remedy)
    if room.processes is not None and limits.processes > room.processes:
        raise _too_large("limits.processes", limits.processes, room.processes, remedy)
    held = room.memory_bytes - limits.processes * room.process_bytes
    if memory > held:
        raise _too_large(of, memory, held, remedy)


def _too_large(limit: str, asked: int, held: int, remedy: str) -> ContractTooLarge:
    return ContractTooLarge(f"{limit}: {asked} signed, room for {max(held, 0)}. {remedy}")
