"""`python -I -m paddock.worker [--engine]`: one task from the gateway at descriptor 3, its outputs, the end.

`--engine` loads PaddlePaddle before the greeting, so that a task finds it ready.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import socket
import sys
from collections.abc import Mapping

from paddock.errors import JobEnded, JobRefused, MemoryExceeded, PaddockError, ProgramRefused
from paddock.gateway.client import Client, GatewayCheckpoints, GatewayFiles
from paddock.gateway.frames import Link
from paddock.gateway.messages import Task
from paddock.jobs.api import Content, JobContext, NoCheckpoints
from paddock.jobs.registry import job_kind

CHANNEL = 3
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# glibc, malloc.h: M_MMAP_THRESHOLD (at its most), M_TRIM_THRESHOLD, M_TOP_PAD.
_MEMORY_SETTINGS = ((-3, 32 << 20), (-1, 1 << 30), (-2, 64 << 20))


def main(arguments: list[str]) -> int:
    """Run one job; the exit code tells whether it did its work."""
    for name in _THREAD_SETTINGS:
        # As in the enclave's own process: equal contracts give equal bits.
        os.environ[name] = "1"
    _keep_memory()
    client = Client(Link(socket.socket(fileno=CHANNEL)))
    if arguments == ["--engine"]:
        importlib.import_module("paddock.jobs.engine")
    task = client.task()
    _lower(task)
    try:
        _perform(client, task)
    except PaddockError as error:
        return _fail(client, error)
    except MemoryError:
        return _fail(client, MemoryExceeded("It asked for more than it may have."))
    except Exception as error:  # noqa: BLE001 - the last line: a fault may carry data in its words, so only its kind is told
        return _fail(client, JobEnded(f"It ended by a fault: {type(error).__name__}."))
    client.end()
    return 0


def _keep_memory() -> None:
    """Keep what is freed for the next step: given back, each of its pages is made and cleared again, a tenth of a step's time."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # another C library than glibc has no such settings
        for option, size in _MEMORY_SETTINGS:
            mallopt(option, size)


def _lower(task: Task) -> None:
    """Have no more than was signed: nothing of a party was here when this process was started."""
    if task.bounds is None:
        return
    for number, wanted in (
        (resource.RLIMIT_DATA, task.bounds.data_bytes),
        (resource.RLIMIT_NPROC, task.bounds.processes),
        (resource.RLIMIT_CPU, task.bounds.cpu_seconds),
    ):
        hard = resource.getrlimit(number)[1]
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(number, (most, most))


def _perform(client: Client, task: Task) -> None:
    def hand_out(name: str, files: Mapping[str, Content]) -> None:
        if name in task.outputs:
            client.output(name, files)

    state = None if task.state is None else GatewayFiles(client, task.state)
    context = JobContext(
        parameters=task.parameters,
        inputs={
            role: [GatewayFiles(client, each.number, each.path) for each in volumes]
            for role, volumes in task.roles.items()
        },
        progress=client.progress,
        check=_nothing,
        memory_limit_bytes=task.memory_bytes,
        checkpoints=GatewayCheckpoints(client, state) if task.checkpoints else NoCheckpoints(),
        outputs=task.outputs,
        hand_out=hand_out,
    )
    for name, files in job_kind(task.kind).run(context).items():
        hand_out(name, files)


def _fail(client: Client, error: PaddockError) -> int:
    # A job speaks for itself alone; what else it meets is a fault of its process.
    if not isinstance(error, JobRefused | ProgramRefused):
        error = JobEnded(f"It ended by a fault: {error.code}.")
    client.failed(error)
    return error.exit_code


def _nothing() -> None:
    """The supervisor ends this process where the run must end."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
