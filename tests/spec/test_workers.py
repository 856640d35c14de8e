"""Where jobs run (L-11) and for how long (L-13): real workers, in walls and without."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import pytest

from paddock.contract.levels import Level
from paddock.contract.terms import LimitTerms
from paddock.enclave import workers as workers_module
from paddock.enclave.deadline import Deadline
from paddock.enclave.files import MadeFiles, staged
from paddock.enclave.workers import Ready, Workers, ceilings, in_process, start_worker
from paddock.errors import (
    GatewayBreached,
    JobEnded,
    LevelRefused,
    OutputRefused,
    PackagesMissing,
    RunTooLong,
    ScriptFailed,
    StepInputRefused,
    WallsUnavailable,
)
from paddock.gateway.receiving import Budget
from paddock.gateway.supervisor import Volume, Work
from paddock.jobs.api import NoCheckpoints
from paddock.jobs.registry import job_kind
from paddock.walls import Binding
from tests.fixtures.gateway import Keeping
from tests.vectors.volumes_by_hand import context, network, table, train_parameters

LIMITS = LimitTerms(
    memory_bytes=1 << 30,
    lease_seconds=30,
    attempts=1,
    checkpoint_seconds=60,
    run_seconds=100,
    processes=64,
    scratch_bytes=16 << 20,
    output_bytes=16 << 20,
)
CODE, RECORDS = PurePosixPath("/inputs/code"), PurePosixPath("/inputs/records")


def _training(parameters: Mapping[str, Any], checkpoints: Any, rows: int = 40) -> Work:
    return Work(
        kind="train",
        parameters=parameters,
        inputs={"program": [Volume(network())], "data": [Volume(table(rows, 1))]},
        outputs={"weights": 1 << 20, "curve": 1 << 20},
        budgets=dict.fromkeys(("weights", "curve"), Budget(2 << 20)),
        memory_bytes=1 << 30,
        checkpoints=checkpoints,
        progress=lambda _: None,
    )


def _done(level: Level, work: Work, ready: Ready | None = None) -> dict[str, dict[str, bytes]]:
    workers = Workers(level, LIMITS, ready)
    try:
        return workers.run(work, [], built_in=True, check=lambda: None, words=lambda _: None)
    finally:
        workers.close()


def test_l11_which_jobs_run_in_this_process() -> None:
    here = {(level, built_in) for level in Level for built_in in (True, False) if _here(level, built_in=built_in)}
    assert here == {(Level.L1, True), (Level.L5, True)}
    with pytest.raises(LevelRefused):
        in_process(Level.L5, built_in=False)


def _here(level: Level, *, built_in: bool) -> bool:
    return (level, built_in) != (Level.L5, False) and in_process(level, built_in=built_in)


@pytest.mark.parametrize("level", [Level.L2, Level.L3, Level.L4])
def test_l11_where_walls_cannot_be_built_nothing_runs(level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    def unbuildable(*_: Any, **__: Any) -> Any:
        raise WallsUnavailable("no user namespaces")

    def unwalled(*_: Any, **__: Any) -> Any:
        pytest.fail("it was started without walls")

    monkeypatch.setattr(workers_module, "start_walled", unbuildable)
    monkeypatch.setattr(workers_module, "start_plain", unwalled)
    for built_in in (True, False):
        with pytest.raises(WallsUnavailable):
            Workers(level, LIMITS).run(
                _training(train_parameters(), NoCheckpoints()),
                [],
                built_in=built_in,
                check=lambda: None,
                words=lambda _: None,
            )


def test_l11_each_step_has_a_worker_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    def noted(*_: Any, **__: Any) -> Any:
        started.append(object())
        raise WallsUnavailable

    monkeypatch.setattr(workers_module, "start_walled", noted)
    workers = Workers(Level.L2, LIMITS)
    for _ in range(2):
        with pytest.raises(WallsUnavailable):
            workers.run(_training({}, NoCheckpoints()), [], built_in=True, check=lambda: None, words=lambda _: None)
    assert len(started) == 2


def test_l13_an_attempt_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("paddock.enclave.deadline.time.monotonic", lambda: now)
    deadline = Deadline(60)
    now = 1060.0
    deadline.check()
    now = 1060.1
    with pytest.raises(RunTooLong, match="60 seconds"):
        deadline.check()


def test_a_training_in_walls_keeps_its_state_and_goes_on_from_it_with_the_same_bits() -> None:
    parameters = train_parameters(epochs=25)
    keeping = Keeping()
    whole = _done(Level.L2, _training(parameters, keeping, rows=200))
    assert keeping.saved, "no state was kept"
    resumed = _done(Level.L2, _training(parameters, Keeping(MadeFiles(keeping.saved[-1])), rows=200))
    assert resumed == whole
    assert whole == job_kind("train").run(context(parameters, program=[network()], data=[table(200, 1)]))


def test_a_worker_that_waited_serves_one_step_within_its_ceilings() -> None:
    most = ceilings(LIMITS)
    worker = start_worker(Level.L2, most, engine=True)
    workers = Workers(Level.L2, LIMITS, Ready(worker, most))
    made = workers.run(
        _training(train_parameters(), NoCheckpoints()), [], built_in=True, check=lambda: None, words=lambda _: None
    )
    assert set(made) == {"weights", "curve"}
    assert worker.code is not None
    other = start_worker(Level.L2, most, engine=False)
    Workers(Level.L2, LIMITS.model_copy(update={"memory_bytes": 2 << 30}), Ready(other, most)).close()
    assert other.code is not None, "one that may use less than was signed is not used"


# --- scripts ---


def run_script(
    source: str, *, level: Level = Level.L2, log: list[str] | None = None, wanted: int = 1 << 20, **parameters: Any
) -> dict[str, dict[str, bytes]]:
    """Run a script over one record, with outputs `model` and `log`."""
    code, records = MadeFiles({"main.py": source.encode()}), MadeFiles({"a.csv": b"1,2\n"})
    work = Work(
        kind="script",
        parameters={"entry": "main.py", "outputs": ["model"], **parameters},
        inputs={"script": [Volume(code, CODE)], "data": [Volume(records, RECORDS)]},
        outputs={"model": wanted, "log": 1000},
        budgets=dict.fromkeys(("model", "log"), Budget(wanted + 1000)),
        memory_bytes=1 << 30,
        checkpoints=NoCheckpoints(),
        progress=lambda _: None,
    )
    with staged(code) as first, staged(records) as second:
        return Workers(level, LIMITS).run(
            work,
            [Binding(first, CODE), Binding(second, RECORDS)],
            built_in=False,
            check=lambda: None,
            words=lambda files: None if log is None else log.append(files["log.txt"].decode()),
        )


def test_a_scripts_words_are_bounded_and_its_end_is_kept() -> None:
    made = run_script("for n in range(5000): print('line', n)\nprint('the end \\x1b[2J')")
    content = made["log"]["log.txt"]
    assert len(content) <= 1000
    assert content.startswith(b"line 0\n")
    assert content.endswith(b"the end ?[2J\n")
    assert b"bytes were left out" in content


@pytest.mark.parametrize(
    ("source", "error", "saying"),
    [
        ("raise SystemExit(3)", ScriptFailed, "status was 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", ScriptFailed, "SIGKILL"),
        ("import os; os.symlink('/etc/passwd', '/outputs/model/x')", OutputRefused, "link"),
        ("import os; os.mkfifo('/outputs/model/x')", (OutputRefused, ScriptFailed), ""),
        ("open('/outputs/other', 'w')", OutputRefused, "no declared output"),
        ("open('/inputs/records/a.csv', 'w')", ScriptFailed, "status was 1"),
        ("import os; [os.close(n) for n in range(3, 10)]; os.write(3, b'x')", ScriptFailed, "status was 1"),
    ],
)
def test_what_a_script_does_wrong_fails_its_step(source: str, error: Any, saying: str) -> None:
    log: list[str] = []
    with pytest.raises(error, match=saying or "script|output"):
        run_script(f"print('before')\n{source}", log=log)
    assert log[0].startswith("before")


def test_a_script_is_told_what_is_missing_before_it_starts() -> None:
    for changes, error in (
        ({"entry": "other.py"}, StepInputRefused),
        ({"packages": ["numpy>=99"]}, PackagesMissing),
        ({"packages": ["no-such-package"]}, PackagesMissing),
    ):
        with pytest.raises(error):
            run_script("print('started')", **changes)


def test_what_a_script_left_running_does_not_outlive_it() -> None:
    source = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)"
    assert run_script(source)["model"] == {}


def test_a_worker_that_a_script_takes_over_is_still_behind_its_gateway() -> None:
    """A script may do what it likes with its worker: everything is in one set of walls. It gets no further."""
    hostile = (
        "import glob, os, signal\n"
        "for entry in glob.glob('/proc/[0-9]*'):\n"
        "    if b'paddock.worker' in open(entry + '/cmdline', 'rb').read() and int(entry[6:]) != os.getpid():\n"
        "        os.kill(int(entry[6:]), signal.SIGKILL)\n"
    )
    with pytest.raises((JobEnded, GatewayBreached, ScriptFailed)):
        run_script(hostile)


def test_at_l1_a_script_finds_the_same_paths() -> None:
    made = run_script("open('/outputs/model/x', 'w').write(open('/inputs/records/a.csv').read())", level=Level.L1)
    assert made["model"] == {"x": b"1,2\n"}
