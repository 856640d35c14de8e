"""Workers: the processes that steps' jobs run in, one for each step, inside walls where the level says so.

| network of the level | built-in job | script |
| --- | --- | --- |
| open (L1) | this process | a worker without walls |
| gateway (L2 to L4) | a worker in walls | a worker in walls |
| none (L5) | this process | refused |

Where walls cannot be built, nothing runs. Source: docs/spec/gateway.md §1.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Protocol

from paddock.contract.levels import LEVELS, Level, Network, is_built_in
from paddock.contract.terms import LimitTerms, StepTerms
from paddock.enclave.plain import start_plain
from paddock.errors import GatewayBreached, InternalFault, JobEnded, LevelRefused, PaddockError
from paddock.gateway.frames import Link
from paddock.gateway.messages import Bounds
from paddock.gateway.receiving import Made
from paddock.gateway.supervisor import Supervisor, Work
from paddock.walls import Binding, Ceilings, start_walled

LOG = "log"
"""The output with what a script prints; of a job that failed it is told to those who receive it."""
MODULE = "paddock.worker"
ENGINE = ("--engine",)
_ENGINE_BYTES = 1 << 30
"""What the interpreter and PaddlePaddle take before a job begins; the contract's number is for data and tensors."""
_LEAST_SCRATCH_BYTES = 1 << 20
_END_SECONDS = 5.0
_GONE_SECONDS = 30.0
"""What the kernel may need to take away a job that was ended: it gives back all of its memory first."""


class Process(Protocol):
    """A started worker."""

    def kill(self) -> None:
        """End it and all that it started."""

    def wait(self, timeout: float) -> int:
        """Its exit code. Raises TimeoutError."""
        ...


@dataclass
class Worker:
    """A worker and this end of its socket."""

    process: Process
    channel: socket.socket
    code: int | None = field(default=None, init=False)

    def wait(self) -> int | None:
        """Its exit code, once it closed its end of the socket; None where it stays."""
        if self.code is None:
            with contextlib.suppress(TimeoutError):
                self.code = self.process.wait(_END_SECONDS)
        return self.code

    def end(self) -> None:
        """End it, if it has not ended, and all that it started.

        Raises:
            InternalFault: something of it is still there.
        """
        self.channel.close()
        if self.code is None:
            self.process.kill()
            try:
                self.code = self.process.wait(_GONE_SECONDS)
            except TimeoutError as error:
                raise InternalFault("A job did not end.") from error


def in_process(level: Level, *, built_in: bool) -> bool:
    """Whether a step's job runs in this process.

    Raises:
        LevelRefused: it may run nowhere (L-2).
    """
    network = LEVELS[level].network
    if network is Network.NONE and not built_in:  # L-2
        raise LevelRefused(f"No party's code runs at {level}.")
    return network is Network.NONE or (network is Network.OPEN and built_in)


def built_in_ceilings(memory_bytes: int, processes: int, run_seconds: int) -> Ceilings:
    """What a built-in job may use, which writes no files."""
    return Ceilings(
        memory_bytes=memory_bytes + _ENGINE_BYTES,
        processes=processes,
        file_bytes=_LEAST_SCRATCH_BYTES,
        scratch_bytes=_LEAST_SCRATCH_BYTES,
        cpu_seconds=run_seconds * (os.cpu_count() or 1),
    )


def ceilings(limits: LimitTerms) -> Ceilings:
    """What a script may use, out of what all signed."""
    # Its outputs stand in the scratch space before they are handed out.
    scratch = max(limits.scratch_bytes, limits.output_bytes, _LEAST_SCRATCH_BYTES)
    return Ceilings(
        memory_bytes=limits.memory_bytes + _ENGINE_BYTES,
        processes=limits.processes,
        file_bytes=scratch,
        scratch_bytes=scratch,
        cpu_seconds=limits.run_seconds * (os.cpu_count() or 1),
    )


def start_worker(level: Level, most: Ceilings, *, bindings: Sequence[Binding] = (), engine: bool) -> Worker:
    """Start a worker, in walls unless the level is open.

    Args:
        level: of the contract.
        most: what it may use.
        bindings: what it sees of this machine beside the installation.
        engine: whether PaddlePaddle is loaded before it greets.

    Raises:
        WallsUnavailable, ScriptsUnavailable: it cannot be started as it must be (L-11).
    """
    start = start_plain if LEVELS[level].network is Network.OPEN else start_walled  # L-11
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with its:
            process = start(MODULE, ENGINE if engine else (), channel=its, bindings=bindings, ceilings=most)
    except BaseException:
        ours.close()
        raise
    return Worker(process, ours)


class Workers:
    """The workers of one run, one for each step that does not run in this process.

    Args:
        level: of the contract.
        limits: what all signed.
        ready: a worker that was started before there was a run, and what it may use; nothing was told to it.
    """

    def __init__(self, level: Level, limits: LimitTerms, ready: Ready | None = None) -> None:
        self._level = level
        self._most = ceilings(limits)
        self._built_in = built_in_ceilings(limits.memory_bytes, limits.processes, limits.run_seconds)
        self._ahead: Worker | None = None
        if ready is not None:
            if LEVELS[level].network is Network.GATEWAY and _within(self._built_in, ready.most):
                self._ahead = ready.worker
            else:
                ready.worker.end()

    def start_ahead(self, first: StepTerms) -> None:
        """Start the worker of the first step while the run still proves itself, if it needs none but the installation.

        Raises:
            WallsUnavailable: walls cannot be built: this run cannot be.
        """
        built_in = is_built_in(first.kind)
        if self._ahead is None and built_in and not in_process(self._level, built_in=built_in):
            self._ahead = start_worker(self._level, self._built_in, engine=True)

    def run(
        self,
        work: Work,
        bindings: Sequence[Binding],
        *,
        built_in: bool,
        check: Callable[[], None],
        words: Callable[[Mapping[str, bytes]], None],
    ) -> Made:
        """Have a worker of its own do a step's work, and end it, whatever happens.

        Args:
            work: of the step.
            bindings: what it sees of this machine beside the installation.
            built_in: whether its job is one.
            check: called again and again; raises when the run must end.
            words: takes the log of a job that failed.

        Raises:
            WallsUnavailable, ScriptsUnavailable: it cannot be started as it must be (L-11).
            JobEnded: it ended without a result; how, in the detail.
            PaddockError: see `Supervisor.run`.
        """
        worker = self._ahead if built_in else None
        if worker is None:
            most = self._built_in if built_in else self._most
            worker = start_worker(self._level, most, bindings=bindings, engine=built_in)
        else:
            self._ahead = None  # for this step alone: the next one begins in a fresh process
        if built_in:
            work = replace(work, bounds=_bounds(self._built_in))
        supervisor = Supervisor(Link(worker.channel, check), work)
        try:
            return supervisor.run()
        except GatewayBreached:
            raise  # what such a job printed is worth nothing
        except JobEnded as error:
            raise error if error.detail else JobEnded(_how(worker.wait())) from None
        except PaddockError:
            words(supervisor.made.get(LOG, {}))
            raise
        finally:
            worker.end()

    def close(self) -> None:
        """End what was started ahead and not used."""
        if self._ahead is not None:
            self._ahead.end()


@dataclass(frozen=True)
class Ready:
    """A worker that waits for a run, with the ceilings that it has."""

    worker: Worker
    most: Ceilings


def _bounds(most: Ceilings) -> Bounds:
    """What a worker lowers its own limits to before its job begins: one that waited may have been given more."""
    return Bounds(data_bytes=most.memory_bytes, processes=most.processes, cpu_seconds=most.cpu_seconds)


def _within(asked: Ceilings, most: Ceilings) -> bool:
    return all(getattr(asked, each.name) <= getattr(most, each.name) for each in fields(Ceilings))


def _how(code: int | None) -> str:
    if code is None:
        return "Its process did not end by itself."
    # Walls tell of a signal as a shell does.
    number = -code if code < 0 else code - 128
    if number > 0:
        with contextlib.suppress(ValueError):
            return f"It was ended by {signal.Signals(number).name}."
    return f"Its exit status was {code}."
