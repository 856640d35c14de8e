"""The warm pool: who waits serves one run, is as fresh as any, and is thrown away when the runtime changed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from paddock.errors import ExecutorFailed, ExecutorOptionInvalid
from paddock.executors import Launch
from paddock.executors.command import Command
from paddock.executors.pool import WarmPool
from paddock.executors.process import ProcessExecutor
from paddock.executors.sandbox import SandboxExecutor
from paddock.executors.supervision import Execution, Limits
from paddock.testing.executor_suite import Recorder, launch

_PROGRAM = (
    sys.executable,
    "-I",
    "-c",
    (
        "import json, os, sys\n"
        "line = sys.stdin.readline()\n"
        'print(json.dumps({"event": "phase", "phase": "booted", "detail": {"pid": os.getpid(), "run": json.loads(line)["run"]}}))\n'
        'print(json.dumps({"event": "receipt"}), flush=True)\n'
    ),
)
STORE = launch().store
RUNS = ["0" * 31 + str(number) for number in range(4)]


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def executor() -> Iterator[ProcessExecutor]:
    made = ProcessExecutor(attester="none", settings={"warm": "1"}, program=_PROGRAM)
    yield made
    made.close()


def run(executor: ProcessExecutor, number: int) -> tuple[int, str]:
    """The process that served a run, and the run that it was told of."""
    recorder = Recorder()
    executor.start(launch(RUNS[number]), recorder)
    assert recorder.final()["event"] == "receipt"
    detail = recorder.events[0]["detail"]
    return detail["pid"], detail["run"]


def test_each_run_has_a_process_of_its_own_that_waited_for_it(executor: ProcessExecutor) -> None:
    executor.get_warm(STORE)
    seen: set[int] = set()
    for number in range(3):
        until(executor.waiting)
        (waiting,) = executor.waiting()
        pid, told = run(executor, number)
        assert (pid, told) == (waiting, RUNS[number])
        assert pid not in seen
        seen.add(pid)


def test_in_a_sandbox_each_waits_in_the_frame_of_its_store(tmp_path: Path) -> None:
    executor = SandboxExecutor(attester="none", settings={"warm": "1"}, program=_PROGRAM)
    try:
        executor.get_warm(f"folder:{tmp_path}")
        for store, waited in ((f"folder:{tmp_path}", True), ("http://127.0.0.1:1", False)):
            until(executor.waiting)
            (waiting,) = executor.waiting()
            recorder = Recorder()
            executor.start(replace(launch(RUNS[int(waited)]), store=store), recorder)
            assert recorder.final()["event"] == "receipt"
            assert (recorder.events[0]["detail"]["pid"] == waiting) is waited
    finally:
        executor.close()


def test_without_the_setting_nobody_waits() -> None:
    executor = ProcessExecutor(attester="none", program=_PROGRAM)
    executor.get_warm(STORE)
    run(executor, 0)
    time.sleep(0.3)
    assert executor.waiting() == []


def test_one_that_died_waiting_is_not_used(executor: ProcessExecutor) -> None:
    import os
    import signal

    executor.get_warm(STORE)
    until(executor.waiting)
    (waiting,) = executor.waiting()
    os.kill(waiting, signal.SIGKILL)
    until(lambda: not executor.waiting())
    pid, _ = run(executor, 0)
    assert pid != waiting


def test_those_that_wait_end_with_their_service(executor: ProcessExecutor) -> None:
    executor.get_warm(STORE)
    until(executor.waiting)
    (waiting,) = executor.waiting()
    executor.close()
    until(lambda: not Path(f"/proc/{waiting}").exists())
    assert executor.waiting() == []


def _pool(files: list[Path]) -> WarmPool:
    return WarmPool(1, Limits(), lambda: files)


def test_one_that_was_started_before_the_runtime_changed_is_thrown_away(tmp_path: Path) -> None:
    module, folder = tmp_path / "module.py", tmp_path / "package"
    module.write_text("old")
    folder.mkdir()
    changes: list[Callable[[], object]] = [
        lambda: module.write_text("newer"),
        lambda: (folder / "added.py").write_text(""),
        module.unlink,
    ]
    for change in changes:
        pool = _pool([module, folder])
        try:
            pool.fill(_PROGRAM, {}, Path("/"))
            until(pool.waiting)
            (waiting,) = pool.waiting()
            change()
            assert pool.take(_PROGRAM, {}, Path("/")) is None
            until(lambda waiting=waiting: not Path(f"/proc/{waiting}").exists())  # type: ignore[misc]
        finally:
            pool.close()


def test_only_the_very_command_finds_one_waiting(tmp_path: Path) -> None:
    pool = _pool([])
    try:
        pool.fill(_PROGRAM, {"A": "1"}, Path("/"))
        until(pool.waiting)
        for other in (
            (_PROGRAM, {"A": "2"}, Path("/")),
            ((*_PROGRAM, "x"), {"A": "1"}, Path("/")),
            (_PROGRAM, {"A": "1"}, tmp_path),
        ):
            assert pool.take(*other) is None
        found = pool.take(_PROGRAM, {"A": "1"}, Path("/"))
        assert found is not None
        assert pool.take(_PROGRAM, {"A": "1"}, Path("/")) is None, "it is given to one"
        found.discard()
    finally:
        pool.close()


def test_a_process_takes_one_launch(executor: ProcessExecutor) -> None:
    recorder = Recorder()
    execution = Execution(None, recorder, Limits(), None, lambda: None)
    execution.start(_PROGRAM, {})
    line = launch(RUNS[0]).line("none")
    assert execution.launch(line, recorder, None, lambda: None)
    with pytest.raises(RuntimeError):
        execution.launch(line, recorder, None, lambda: None)
    recorder.final()


@pytest.mark.parametrize("value", ["-1", "17", "many", "1.0", "", "\u0661"])
def test_a_number_that_is_none_is_refused(value: str) -> None:
    for kind in (ProcessExecutor, SandboxExecutor):
        with pytest.raises(ExecutorOptionInvalid):
            kind(attester="none", settings={"warm": value})
    with pytest.raises(ExecutorOptionInvalid):
        ProcessExecutor(attester="none", settings={"warmth": "1"})


def test_one_that_is_thrown_away_before_it_runs_ends_as_soon_as_it_does() -> None:
    execution = Execution(None, Recorder(), Limits(), None, lambda: None)
    execution.discard()
    execution.start(_PROGRAM, {})
    until(execution.ended.is_set)


def test_a_run_that_is_being_started_is_not_started_again(executor: ProcessExecutor) -> None:
    again: list[type[BaseException]] = []
    genuine = executor.command

    def meanwhile(told: Launch) -> Command:
        with pytest.raises(ExecutorFailed) as caught:
            executor.start(told, Recorder())
        again.append(caught.type)
        return genuine(told)

    executor.command = meanwhile  # type: ignore[method-assign, assignment]
    run(executor, 0)
    assert again == [ExecutorFailed]
