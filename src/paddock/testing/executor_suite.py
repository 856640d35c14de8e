"""The tests that every executor inherits.

An executor's package subclasses `ExecutorSuite` in its own tests and says how to start enclaves that behave in the
ways that the suite names; what the suite then asks for is the promise of `paddock.executors.Executor`.
"""

from __future__ import annotations

import abc
import enum
import threading
from collections.abc import Callable
from typing import Any

import pytest

from paddock.errors import CATALOGUE, ExecutorFailed, RunCancelled, RunKilled, RunSpokeBadly
from paddock.executors import ExecutionState, Executor, Launch

WAIT_SECONDS = 30
RUN = "0123456789abcdef0123456789abcdef"


class Behaviour(enum.StrEnum):
    """What the started program does. Each reads its launch line first, unless it says otherwise."""

    ECHO = "echo"
    """Sends a phase whose detail is the launch, then a receipt."""
    FAIL = "fail"
    """Sends a failed event with code E-JOB-01, then exits with a status that is not 0."""
    SILENT = "silent"
    """Exits with status 7 without an event."""
    KILLED = "killed"
    """Ends itself by SIGKILL."""
    GIBBERISH = "gibberish"
    """Sends a line that is no event and stays."""
    LONG_LINE = "long-line"
    """Sends a line without an end, for ever."""
    FLOOD = "flood"
    """Sends progress events for ever."""
    TALKS_ON = "talks-on"
    """Sends a receipt, then further events and another receipt, and stays."""
    STUBBORN = "stubborn"
    """Sends a phase, ignores SIGTERM and stays."""
    DEAF = "deaf"
    """Never reads its launch, sends a phase and stays."""


class Recorder:
    """Takes events and lets a test wait for them."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.changed = threading.Condition()

    def __call__(self, event: dict[str, Any]) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def until(self, condition: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """The events, once the condition holds."""
        with self.changed:
            if not self.changed.wait_for(lambda: condition(self.events), WAIT_SECONDS):
                pytest.fail(f"waited in vain; events so far: {[e['event'] for e in self.events]}")
            return list(self.events)

    def final(self) -> dict[str, Any]:
        """The final event, which must be the last and only one."""
        events = self.until(lambda seen: any(e["event"] in ("receipt", "failed") for e in seen))
        finals = [e for e in events if e["event"] in ("receipt", "failed")]
        if len(finals) != 1 or events[-1] is not finals[0]:
            pytest.fail("the final event must be one, and the last")
        return finals[0]


def launch(run: str = RUN) -> Launch:
    """A launch with made-up content of the usual size."""
    contract = {"payload": "A" * 20_000, "payloadType": "x", "signatures": []}
    return Launch(run, contract, "folder:/nowhere", {"A" * 64: "http://127.0.0.1:1"})


class ExecutorSuite(abc.ABC):
    """Inherit, implement `executor`, and name the class `Test…`."""

    @abc.abstractmethod
    def executor(self, behaviour: Behaviour) -> Executor:
        """An executor whose enclaves behave so, with small limits (lines of 100 kB, 200 events, grace of 0.3 s)."""

    def _run(self, behaviour: Behaviour) -> tuple[Executor, Recorder, str]:
        executor, recorder = self.executor(behaviour), Recorder()
        executor.prepare()
        return executor, recorder, executor.start(launch(), recorder)

    def _ended(self, executor: Executor, execution: str) -> None:
        assert executor.status(execution) is ExecutionState.ENDED
        executor.stop(execution)  # nothing happens

    def test_the_launch_arrives_whole_and_the_receipt_comes_last(self) -> None:
        executor, recorder, execution = self._run(Behaviour.ECHO)
        assert recorder.final()["event"] == "receipt"
        told = recorder.events[0]["detail"]
        assert {key: told[key] for key in ("run", "contract", "store", "keepers")} == {
            "run": launch().run,
            "contract": launch().contract,
            "store": launch().store,
            "keepers": launch().keepers,
        }
        assert isinstance(told["attester"], str)
        self._ended(executor, execution)

    def test_a_failure_that_the_enclave_reports_is_passed_on(self) -> None:
        executor, recorder, execution = self._run(Behaviour.FAIL)
        assert recorder.final()["error"]["code"] == "E-JOB-01"
        self._ended(executor, execution)

    @pytest.mark.parametrize("behaviour", [Behaviour.SILENT, Behaviour.KILLED])
    def test_an_end_without_a_word_is_a_failure_with_a_code(self, behaviour: Behaviour) -> None:
        executor, recorder, execution = self._run(behaviour)
        error = recorder.final()["error"]
        assert error["code"].startswith("E-RUN-")
        assert error["code"] in CATALOGUE
        if behaviour is Behaviour.KILLED:
            assert error["code"] == RunKilled.code
            assert "SIGKILL" in error["detail"]
        self._ended(executor, execution)

    @pytest.mark.parametrize("behaviour", [Behaviour.GIBBERISH, Behaviour.LONG_LINE, Behaviour.FLOOD])
    def test_what_is_no_event_or_too_much_ends_it(self, behaviour: Behaviour) -> None:
        executor, recorder, execution = self._run(behaviour)
        assert recorder.final()["error"]["code"] == RunSpokeBadly.code
        self._ended(executor, execution)

    def test_nothing_comes_after_the_final_event(self) -> None:
        executor, recorder, execution = self._run(Behaviour.TALKS_ON)
        assert recorder.final() == {"event": "receipt", "envelope": {"n": 1}}
        self._ended(executor, execution)

    @pytest.mark.parametrize("behaviour", [Behaviour.STUBBORN, Behaviour.DEAF])
    def test_what_does_not_want_to_stop_is_stopped(self, behaviour: Behaviour) -> None:
        executor, recorder, execution = self._run(behaviour)
        recorder.until(bool)
        assert executor.status(execution) is ExecutionState.RUNNING
        executor.stop(execution)
        assert recorder.final()["error"]["code"] == RunCancelled.code
        self._ended(executor, execution)

    def test_a_run_that_is_under_way_is_not_started_again(self) -> None:
        executor, recorder, execution = self._run(Behaviour.STUBBORN)
        with pytest.raises(ExecutorFailed):
            executor.start(launch(), recorder)
        executor.stop(execution)
        recorder.final()

    def test_an_execution_that_never_was_is_unknown(self) -> None:
        executor = self.executor(Behaviour.ECHO)
        assert executor.status("never") is ExecutionState.UNKNOWN
        executor.stop("never")
