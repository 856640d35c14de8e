"""What executors have in common that start one program for each run and speak to it by its standard streams.

An executor says what the program is (`command`); starting it, reading its events, stopping it and telling why it ended are the
same for all of them.
"""

from __future__ import annotations

import abc
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from paddock.errors import ExecutorFailed
from paddock.executors.asked import asked_limits
from paddock.executors.executor import ExecutionState, Launch, OnEvent
from paddock.executors.pool import WarmPool
from paddock.executors.supervision import Execution, Limits
from paddock.store.memory import remove_left

_THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_REMEMBERED = 1000


def _nothing() -> None:
    """Nothing is to be cleared away."""


@dataclass(frozen=True)
class Command:
    """What to start for one run.

    Args:
        arguments: program and arguments; no shell reads them.
        environment: all that it gets of one.
        attester: where, seen from inside, the environment's attester answers.
        clear: called once when it has ended, before its final event.
        folder: where it runs.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    attester: str
    clear: Callable[[], None] = _nothing
    folder: Path = Path("/")


class CommandExecutor(abc.ABC):
    """Starts one program for each run. A subclass says which, and whether this machine can.

    Args:
        log_folder: where each run's stderr is kept for the operator; None drops it.
        limits: see `Limits`.
        warm: how many enclaves wait for a launch (`WarmPool`); only of programs that wait for one.
    """

    isolated: ClassVar[bool] = False
    """Whether what it starts sees none of the host's files: it reaches ciphertext through the hub then, not in a folder."""

    def __init__(self, *, log_folder: Path | None = None, limits: Limits | None = None, warm: int = 0) -> None:
        self._log_folder = log_folder
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._executions: dict[str, Execution] = {}
        self._beginning: set[str] = set()
        self._pool = WarmPool(warm, self._limits)
        remove_left()  # of enclaves that died with the service that had started them

    @abc.abstractmethod
    def prepare(self) -> None:
        """See `Executor.prepare`."""

    @abc.abstractmethod
    def measure(self) -> str:
        """See `Executor.measure`."""

    @abc.abstractmethod
    def command(self, launch: Launch) -> Command:
        """What to start for this run.

        Raises:
            ExecutorFailed: it cannot be made ready.
            ContractTooLarge: what it would run in cannot hold what the contract allows.
        """

    def start(self, launch: Launch, on_event: OnEvent) -> str:
        """See `Executor.start`."""
        log = None if self._log_folder is None else self._log_folder / f"{launch.run}.log"
        with self._lock:
            found = self._executions.get(launch.run)
            if launch.run in self._beginning or (found is not None and not found.ended.is_set()):
                raise ExecutorFailed("That run is already under way.")
            self._beginning.add(launch.run)
        try:
            self._begin(launch, on_event, log)
        finally:
            with self._lock:
                self._beginning.discard(launch.run)
        return launch.run

    def _begin(self, launch: Launch, on_event: OnEvent, log: Path | None) -> None:
        command = self.command(launch)
        started = tuple(command.arguments), dict(command.environment), command.folder
        line = launch.line(command.attester)
        allowed = asked_limits(launch)
        # Of a contract that cannot be read the enclave says so, and is done.
        seconds = self._limits.beside_seconds + (0 if allowed is None else allowed.run_seconds)

        def clear() -> None:
            command.clear()
            self._pool.fill(*started)

        execution = self._pool.take(*started)
        waited = execution is not None and execution.launch(line, on_event, log, clear, seconds)
        if execution is None or not waited:
            execution = Execution(line, on_event, self._limits, log, clear, command.folder, seconds)
        with self._lock:
            self._executions[launch.run] = execution
            self._forget_old()
        if not waited:
            execution.start(command.arguments, dict(command.environment))

    def get_warm(self, store: str) -> None:  # noqa: B027 - most start what cannot wait, and have nothing to do
        """Have enclaves waiting before the first run, where this executor keeps any. Called once, as the service starts.

        Args:
            store: address of the blobs that runs will be told, or of what stands before them.
        """

    def fill(self, command: Command) -> None:
        """Start what is missing of enclaves that wait with this command."""
        self._pool.fill(tuple(command.arguments), dict(command.environment), command.folder)

    def waiting(self) -> list[int]:
        """The processes that wait for a launch."""
        return self._pool.waiting()

    def close(self) -> None:
        """End the enclaves that wait; runs go on."""
        self._pool.close()

    def stop(self, execution: str) -> None:
        """See `Executor.stop`."""
        with self._lock:
            found = self._executions.get(execution)
        if found is not None:
            found.stop()

    def status(self, execution: str) -> ExecutionState:
        """See `Executor.status`."""
        with self._lock:
            found = self._executions.get(execution)
        if found is None:
            return ExecutionState.UNKNOWN
        return ExecutionState.ENDED if found.ended.is_set() else ExecutionState.RUNNING

    def _forget_old(self) -> None:
        ended = [run for run, each in self._executions.items() if each.ended.is_set()]
        for run in ended[: max(0, len(self._executions) - _REMEMBERED)]:
            del self._executions[run]


def environment(threads: int | None) -> dict[str, str]:
    """All that an enclave's process gets of an environment: an allow-list, nothing inherited but thread counts."""
    chosen = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "HOME": "/nonexistent",  # what a library would cache in a home folder stays unwritten
    }
    for name in _THREAD_SETTINGS:
        value = str(threads) if threads is not None else os.environ.get(name, "")
        if value.isdigit():
            chosen[name] = value
    return chosen
