"""The local engine over an executor that does what the test says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from paddock.engines import Placement
from paddock.engines.local import LocalEngine
from paddock.errors import EngineBusy, ExecutorFailed
from paddock.executors import ExecutionState, Launch, OnEvent

WAIT_SECONDS = 10


class StandIn:
    """Starts nothing; the test says when an execution ends."""

    def __init__(self) -> None:
        self.running: dict[str, OnEvent] = {}
        self.order: list[str] = []
        self.changed = threading.Condition()
        self.fault: Exception | None = None

    def prepare(self) -> None:
        if self.fault is not None:
            raise self.fault

    def measure(self) -> str:
        return ""

    def start(self, launch: Launch, on_event: OnEvent) -> str:
        with self.changed:
            self.running[launch.run] = on_event
            self.order.append(launch.run)
            self.changed.notify_all()
        return launch.run

    def stop(self, execution: str) -> None:
        with self.changed:
            on_event = self.running.pop(execution, None)
        if on_event is not None:
            on_event({"event": "failed", "error": {"code": "E-RUN-25"}})

    def status(self, execution: str) -> ExecutionState:
        return ExecutionState.RUNNING if execution in self.running else ExecutionState.ENDED

    def until_running(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.order) >= count, WAIT_SECONDS)

    def succeed(self, run: str) -> None:
        self.running.pop(run)({"event": "receipt", "envelope": {}})


class Seen:
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.errors: dict[str, Any] = {}
        self.changed = threading.Condition()

    def __call__(self, run: str, event: dict[str, Any]) -> None:
        with self.changed:
            self.events.append((run, event["event"]))
            if "error" in event:
                self.errors[run] = event["error"]["code"]
            self.changed.notify_all()

    def until(self, run: str, name: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: (run, name) in self.events, WAIT_SECONDS)


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def executor() -> StandIn:
    return StandIn()


@pytest.fixture
def engine(executor: StandIn, seen: Seen) -> Iterator[LocalEngine]:
    made = LocalEngine(executor, on_event=seen, parallel=2, max_queued=3)
    yield made
    made.shutdown()


def _launch(run: str) -> Launch:
    return Launch(run, {}, "", {})


def test_runs_start_in_order_and_no_more_than_allowed_at_once(
    engine: LocalEngine, executor: StandIn, seen: Seen
) -> None:
    for run in "abc":
        engine.submit(_launch(run))
    executor.until_running(2)
    assert set(executor.order) == {"a", "b"}
    assert (engine.status("a"), engine.status("c")) == (Placement.RUNNING, Placement.QUEUED)
    executor.succeed("a")
    executor.until_running(3)
    seen.until("c", "started")
    assert engine.status("a") is Placement.UNKNOWN
    assert [name for run, name in seen.events if run == "a"] == ["started", "receipt"]


def test_a_full_queue_is_said_and_nothing_is_lost(engine: LocalEngine, executor: StandIn) -> None:
    for run in "ab":
        engine.submit(_launch(run))
    executor.until_running(2)
    for run in "cde":
        engine.submit(_launch(run))
    with pytest.raises(EngineBusy):
        engine.submit(_launch("f"))
    with pytest.raises((EngineBusy, RuntimeError)):
        engine.submit(_launch("c"))


def test_a_queued_run_is_cancelled_without_being_started(engine: LocalEngine, executor: StandIn, seen: Seen) -> None:
    for run in "abc":
        engine.submit(_launch(run))
    executor.until_running(2)
    engine.cancel("c")
    engine.cancel("c")
    engine.cancel("unknown")
    assert [name for run, name in seen.events if run == "c"] == ["failed"]
    assert seen.errors["c"] == "E-RUN-25"
    executor.succeed("a")
    executor.succeed("b")
    engine.submit(_launch("d"))
    executor.until_running(3)
    assert "c" not in executor.order


def test_a_running_run_is_stopped(engine: LocalEngine, executor: StandIn, seen: Seen) -> None:
    engine.submit(_launch("a"))
    executor.until_running(1)
    seen.until("a", "started")
    engine.cancel("a")
    seen.until("a", "failed")


@pytest.mark.parametrize("fault", [ExecutorFailed("x"), ValueError("x")])
def test_an_executor_that_fails_ends_the_run_and_not_the_engine(
    engine: LocalEngine, executor: StandIn, seen: Seen, fault: Exception
) -> None:
    executor.fault = fault
    engine.submit(_launch("a"))
    seen.until("a", "failed")
    assert seen.errors["a"] == "E-RUN-27"
    executor.fault = None
    engine.submit(_launch("b"))
    executor.until_running(1)


def test_shutdown_gives_every_run_its_end(executor: StandIn, seen: Seen) -> None:
    engine = LocalEngine(executor, on_event=seen, parallel=1)
    for run in "abc":
        engine.submit(_launch(run))
    executor.until_running(1)
    engine.shutdown()
    assert {run for run, name in seen.events if name == "failed"} == {"a", "b", "c"}
    with pytest.raises(EngineBusy):
        engine.submit(_launch("d"))


def test_shutdown_waits_until_the_last_event_was_taken() -> None:
    taken = threading.Event()

    def slow(_run: str, event: dict[str, Any]) -> None:
        if event["event"] == "failed":
            assert not taken.wait(0.2)
            taken.set()

    class Late(StandIn):
        def stop(self, execution: str) -> None:
            threading.Thread(target=super().stop, args=(execution,)).start()

    late = Late()
    engine = LocalEngine(late, on_event=slow)
    engine.submit(_launch("a"))
    late.until_running(1)
    engine.shutdown()
    assert taken.is_set()


def test_events_after_the_end_are_dropped(engine: LocalEngine, executor: StandIn, seen: Seen) -> None:
    engine.submit(_launch("a"))
    executor.until_running(1)
    on_event = executor.running["a"]
    executor.succeed("a")
    on_event({"event": "progress"})
    on_event({"event": "receipt"})
    assert [name for _, name in seen.events].count("receipt") == 1
    assert "progress" not in [name for _, name in seen.events]
