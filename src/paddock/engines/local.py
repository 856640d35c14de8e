"""The engine `local`: runs on this host, a few at once, in the order in which they came."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass, field

from paddock.engines.engine import STARTED, Json, OnRunEvent, Placement
from paddock.errors import EngineBusy, ExecutorFailed, PaddockError, RunCancelled
from paddock.executors.executor import FINAL_EVENTS, Executor, Launch

MAX_QUEUED = 1000
_log = logging.getLogger("paddock.engines")


@dataclass
class _Run:
    launch: Launch
    cancelled: bool = False
    execution: str | None = None
    ending: bool = False
    ended: threading.Event = field(default_factory=threading.Event)


class LocalEngine:
    """Places runs with one executor.

    Args:
        executor: starts them.
        on_event: see `OnRunEvent`; called from several threads, for one run never twice at once.
        parallel: how many run at once.
        max_queued: how many may wait.
    """

    def __init__(
        self, executor: Executor, *, on_event: OnRunEvent, parallel: int = 1, max_queued: int = MAX_QUEUED
    ) -> None:
        self._executor = executor
        self._on_event = on_event
        self._max_queued = max_queued
        self._changed = threading.Condition()
        self._queue: deque[_Run] = deque()
        self._runs: dict[str, _Run] = {}
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"engine-{number}", daemon=True) for number in range(parallel)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, launch: Launch) -> None:
        """See `Engine.submit`."""
        with self._changed:
            if self._closed or len(self._queue) >= self._max_queued:
                raise EngineBusy
            if launch.run in self._runs:
                raise RuntimeError("a run is submitted once")
            run = _Run(launch)
            self._runs[launch.run] = run
            self._queue.append(run)
            self._changed.notify()

    def cancel(self, run: str) -> None:
        """See `Engine.cancel`."""
        with self._changed:
            found = self._runs.get(run)
            if found is None:
                return
            found.cancelled = True
            queued = found in self._queue
            if queued:
                self._queue.remove(found)
            execution = found.execution
        if queued:
            self._end(found, _failed(RunCancelled()))
        elif execution is not None:
            self._executor.stop(execution)

    def status(self, run: str) -> Placement:
        """See `Engine.status`."""
        with self._changed:
            found = self._runs.get(run)
            if found is None:
                return Placement.UNKNOWN
            return Placement.QUEUED if found in self._queue else Placement.RUNNING

    def shutdown(self) -> None:
        """See `Engine.shutdown`."""
        with self._changed:
            self._closed = True
            known = list(self._runs)
            self._changed.notify_all()
        stopping = [threading.Thread(target=self.cancel, args=(run,), daemon=True) for run in known]
        for thread in stopping:
            thread.start()
        for thread in (*stopping, *self._threads):
            thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait()
                if not self._queue:
                    return
                run = self._queue.popleft()
            self._perform(run)

    def _perform(self, run: _Run) -> None:
        self._give(run, {"event": STARTED})
        try:
            self._executor.prepare()
            execution = self._executor.start(run.launch, lambda event: self._on_execution_event(run, event))
        except PaddockError as error:
            self._end(run, _failed(error))
            return
        except Exception as error:  # noqa: BLE001 - a plug-in's fault ends its run, never the engine
            _log.error("an executor failed: %s", type(error).__name__)
            self._end(run, _failed(ExecutorFailed()))
            return
        with self._changed:
            run.execution = execution
            cancelled = run.cancelled
        if cancelled:  # between leaving the queue and having a name to stop it by
            self._executor.stop(execution)
        run.ended.wait()

    def _on_execution_event(self, run: _Run, event: Json) -> None:
        if event["event"] in FINAL_EVENTS:
            self._end(run, event)
        elif not run.ending:
            self._give(run, event)

    def _end(self, run: _Run, final: Json) -> None:
        with self._changed:
            if run.ending:
                return
            run.ending = True
            self._runs.pop(run.launch.run, None)
        self._give(run, final)
        run.ended.set()  # last: whoever waits for the end may then close what the event is written to

    def _give(self, run: _Run, event: Json) -> None:
        try:
            self._on_event(run.launch.run, event)
        except Exception as error:  # noqa: BLE001 - the engine outlives whoever listens
            _log.error("an event of run %s was not taken: %s", run.launch.run, type(error).__name__)


def _failed(error: PaddockError) -> Json:
    return {"event": "failed", "error": error.as_dict()}
