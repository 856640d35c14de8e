"""The warm pool: fresh enclaves that have loaded what every run needs, and wait for a launch.

Nothing of a run exists when one is started, and each serves one run and no other: a process is as fresh as one that is
started when the run is asked for. What is saved is the time in which the interpreter, PaddlePaddle and a worker's walls
come up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from paddock.errors import ExecutorFailed
from paddock.evidence.measurement import runtime_files
from paddock.executors.supervision import Execution, Limits

Start = Callable[[], Execution]
Stamp = tuple[tuple[int, int, int], ...]


class WarmPool:
    """Keeps so many enclaves waiting.

    Args:
        size: how many; 0: none.
        limits: of what is read of each.
        files: what an enclave is made of; one that was started before any of them changed is thrown away.
    """

    def __init__(self, size: int, limits: Limits, files: Callable[[], list[Path]] = runtime_files) -> None:
        self._size = size
        self._limits = limits
        self._list = files
        self._files: list[Path] | None = None
        self._lock = threading.Lock()
        self._waiting: list[tuple[tuple[object, ...], Stamp, Execution]] = []
        self._starting = 0

    def fill(self, arguments: tuple[str, ...], environment: dict[str, str], folder: Path) -> None:
        """Start what is missing of enclaves of this command, on a thread of its own; others are thrown away."""
        if self._size:
            threading.Thread(
                target=self._fill, args=(arguments, environment, folder), name="warm-pool", daemon=True
            ).start()

    def take(self, arguments: tuple[str, ...], environment: dict[str, str], folder: Path) -> Execution | None:
        """One that waits and was started by this command from these very files; nobody else gets it."""
        wanted = _key(arguments, environment, folder)
        while True:
            with self._lock:
                place = next((at for at, row in enumerate(self._waiting) if row[0] == wanted), None)
                if place is None:
                    return None
                _, stamp, execution = self._waiting.pop(place)
            if stamp == self._stamp() and not execution.ended.is_set():
                return execution
            execution.discard()

    def waiting(self) -> list[int]:
        """The processes that wait."""
        with self._lock:
            return [each.pid for _, _, each in self._waiting if each.pid is not None and not each.ended.is_set()]

    def close(self) -> None:
        """End all that wait."""
        with self._lock:
            self._size, waiting = 0, self._waiting
            self._waiting = []
        for _, _, execution in waiting:
            execution.discard()

    def _fill(self, arguments: tuple[str, ...], environment: dict[str, str], folder: Path) -> None:
        wanted = _key(arguments, environment, folder)
        with self._lock:
            others = [row for row in self._waiting if row[0] != wanted or row[2].ended.is_set()]
            self._waiting = [row for row in self._waiting if row not in others]
        for _, _, execution in others:
            execution.discard()
        with self._lock:
            if self._enough():
                return  # the files are not looked at for nothing
        stamp = self._stamp()
        while True:
            with self._lock:
                if self._enough():
                    return
                self._starting += 1
            execution = Execution(None, _nobody, self._limits, None, _nothing, folder)
            started = False
            try:
                execution.start(arguments, environment)
                started = True
            except ExecutorFailed:  # the run that needs it will start one itself, and tell why that fails
                return
            finally:
                with self._lock:  # nobody takes one before it runs
                    self._starting -= 1
                    kept = started and not self._enough()
                    if kept:
                        self._waiting.append((wanted, stamp, execution))
                if not kept:
                    execution.discard()

    def _enough(self) -> bool:
        return len(self._waiting) + self._starting >= self._size

    def _stamp(self) -> Stamp:
        if self._files is None:
            # CPython 3.11 can fail to parse on one thread while another one parses (SystemError), and installed
            # packages have to be read: a second try is on its own.
            try:
                self._files = self._list()
            except SystemError:
                self._files = self._list()
        facts = []
        for path in self._files:
            try:
                found = path.stat()
            except OSError:
                facts.append((0, 0, 0))
            else:
                facts.append((found.st_ino, found.st_size, found.st_mtime_ns))
        return tuple(facts)


def _key(arguments: tuple[str, ...], environment: dict[str, str], folder: Path) -> tuple[object, ...]:
    return arguments, tuple(sorted(environment.items())), folder


def _nobody(_event: object) -> None:
    """Before its launch nobody listens."""


def _nothing() -> None:
    """Nothing is to be cleared away."""
