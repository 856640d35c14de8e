"""The executor `process` against the suite, and what is its own."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from paddock.errors import ExecutorFailed, PluginUnknown, RunCancelled, RunOverdue
from paddock.executors import ExecutionState, Executor, Launch, load_plugin
from paddock.executors.command import environment
from paddock.executors.process import ProcessExecutor
from paddock.executors.supervision import Limits
from paddock.testing.contracts import Participant, proposal
from paddock.testing.executor_suite import RUN, Behaviour, ExecutorSuite, Recorder, launch

PROGRAM = r"""
import json, os, resource, signal, sys, time
def say(event, **more):
    sys.stdout.write(json.dumps({"event": event, **more}) + "\n"); sys.stdout.flush()
how = sys.argv[1]
told = None if how == "deaf" else json.loads(sys.stdin.readline())
if how == "echo": say("phase", phase="booted", detail=told); say("receipt", envelope={})
elif how == "fail": say("failed", error={"code": "E-JOB-01"}); sys.exit(3)
elif how == "silent": sys.exit(7)
elif how == "killed": os.kill(os.getpid(), signal.SIGKILL)
elif how == "gibberish": print("hello", flush=True); time.sleep(60)
elif how == "long-line":
    while True: sys.stdout.write("x" * 65536)
elif how == "flood":
    while True: say("progress", sealed=[])
elif how == "talks-on":
    say("receipt", envelope={"n": 1}); say("phase", phase="late"); say("receipt", envelope={"n": 2}); time.sleep(60)
elif how == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN); say("phase", phase="x"); time.sleep(60)
elif how == "deaf": say("phase", phase="x"); time.sleep(60)
elif how == "look":
    files = sorted(os.listdir("/proc/self/fd"))
    status = dict(l.split(":", 1) for l in open("/proc/self/status") if ":" in l)
    say("phase", phase="x", detail={"env": dict(os.environ), "argv": sys.argv, "cwd": os.getcwd(),
        "core": resource.getrlimit(resource.RLIMIT_CORE), "session": os.getsid(0) == os.getpid(),
        "files": files, "isolated": sys.flags.isolated, "umask": status["Umask"].strip()})
    say("receipt", envelope={})
elif how == "grandchild":
    if os.fork() == 0:
        if sys.argv[2] == "own-session": os.setsid()
        time.sleep(60); os._exit(0)
    sys.exit(7)
elif how == "pid": say("phase", phase="x", detail={"pid": os.getpid()}); time.sleep(60)
elif how == "stderr": sys.stderr.write("y" * 5000); sys.stderr.flush(); say("receipt", envelope={})
"""
SMALL = Limits(line_bytes=100_000, events=200, grace_seconds=0.3, log_bytes=1000)


def _executor(*arguments: str, log_folder: Path | None = None, threads: int | None = None) -> ProcessExecutor:
    command = (sys.executable, "-I", "-c", PROGRAM, *arguments)
    return ProcessExecutor(
        attester="unix:/nowhere", program=command, limits=SMALL, log_folder=log_folder, threads=threads
    )


class TestProcessExecutor(ExecutorSuite):
    def executor(self, behaviour: Behaviour) -> Executor:
        return _executor(behaviour.value)

    def test_the_process_gets_nothing_of_ours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("LD_PRELOAD", "")
        monkeypatch.setenv("PYTHONPATH", "/somewhere")
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        recorder = Recorder()
        _executor("look").start(launch(), recorder)
        recorder.final()
        seen = recorder.events[0]["detail"]
        assert set(seen["env"]) == {"PATH", "LANG", "LC_ALL", "TZ", "HOME", "OMP_NUM_THREADS"}
        assert seen["env"]["OMP_NUM_THREADS"] == "3"
        assert seen["core"] == [0, 0]
        assert (seen["session"], seen["isolated"], seen["cwd"], seen["umask"]) == (True, 1, "/", "0077")
        assert len(seen["files"]) == 4  # three streams, and the one that lists them
        assert RUN not in str(seen["argv"])

    def test_threads_are_set_when_asked(self) -> None:
        chosen = environment(2)
        assert {chosen[n] for n in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {"2"}

    @pytest.mark.parametrize("session", ["same-session", "own-session"])
    def test_a_child_of_the_enclave_cannot_keep_the_run_open(self, session: str) -> None:
        recorder = Recorder()
        _executor("grandchild", session).start(launch(), recorder)
        assert recorder.final()["error"]["code"] == "E-RUN-23"

    def test_it_dies_with_the_process_that_started_it(self, tmp_path: Path) -> None:
        parent = tmp_path / "parent.py"
        parent.write_text(
            "import sys, time\n"
            "from paddock.executors.process import ProcessExecutor\n"
            "from paddock.testing.executor_suite import launch\n"
            f"command = (sys.executable, '-I', '-c', {PROGRAM!r}, 'pid')\n"
            "executor = ProcessExecutor(attester='none', program=command)\n"
            "executor.start(launch(), lambda e: print(e['detail']['pid'], flush=True))\n"
            "time.sleep(60)\n",
            encoding="utf-8",
        )
        with subprocess.Popen([sys.executable, str(parent)], stdout=subprocess.PIPE) as started:
            assert started.stdout is not None
            child = int(started.stdout.readline())
            os.kill(child, 0)
            started.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 20
        while _alive(child) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _alive(child)

    def test_its_log_is_private_and_bounded(self, tmp_path: Path) -> None:
        recorder = Recorder()
        _executor("stderr", log_folder=tmp_path).start(launch(), recorder)
        recorder.final()
        log = tmp_path / f"{RUN}.log"
        assert log.read_bytes() == b"y" * 1000
        assert stat.S_IMODE(log.stat().st_mode) == 0o600

    def test_a_program_that_is_not_there_is_said(self) -> None:
        executor = ProcessExecutor(attester="none", program=("/no/such/python",))
        with pytest.raises(ExecutorFailed):
            executor.prepare()
        recorder = Recorder()
        executor.start(launch(), recorder)
        assert recorder.final()["error"]["code"] == "E-RUN-23"

    def test_the_measurement_is_that_of_the_command(self) -> None:
        command = (sys.executable, "-I", "-c", 'print(\'{"digest": "sha256:ab"}\')')
        assert ProcessExecutor(attester="none", measure_command=command).measure() == "sha256:ab"
        broken = (sys.executable, "-I", "-c", "print('nothing')")
        with pytest.raises(ExecutorFailed):
            ProcessExecutor(attester="none", measure_command=broken).measure()


@pytest.mark.parametrize("behaviour", [Behaviour.STUBBORN, Behaviour.DEAF])
def test_a_run_that_falls_silent_is_ended_when_its_time_is_long_over(behaviour: Behaviour) -> None:
    """What it sent last and that its process lives prolong nothing."""
    command = (sys.executable, "-I", "-c", PROGRAM, behaviour.value)
    executor = ProcessExecutor(
        attester="unix:/nowhere", program=command, limits=replace(SMALL, beside_seconds=0.5, grace_seconds=0.1)
    )
    recorder = Recorder()
    execution = executor.start(launch(), recorder)
    assert recorder.final()["error"]["code"] == RunOverdue.code
    assert executor.status(execution) is ExecutionState.ENDED


def test_a_run_that_was_stopped_is_not_called_overdue() -> None:
    executor = ProcessExecutor(
        attester="none",
        program=(sys.executable, "-I", "-c", PROGRAM, "stubborn"),
        limits=replace(SMALL, beside_seconds=60),
    )
    recorder = Recorder()
    execution = executor.start(launch(), recorder)
    executor._executions[execution]._stopped.set()
    executor._executions[execution]._end_overdue()
    executor.stop(execution)
    assert recorder.final()["error"]["code"] == RunCancelled.code


@pytest.mark.parametrize("warm", ["0", "1"])
def test_a_run_has_the_time_that_its_contract_allows_and_that_of_its_start(warm: str) -> None:
    told = launch()
    contract = proposal([Participant.generate("north")]).to_dict()  # of 3600 s
    executor = ProcessExecutor(
        attester="none",
        settings={"warm": warm},
        program=(sys.executable, "-I", "-c", PROGRAM, "echo"),
        limits=replace(SMALL, beside_seconds=60),
    )
    try:
        for given, seconds in ((told, 60), (replace(told, contract=contract), 3660)):
            recorder = Recorder()
            executor.start(given, recorder)
            assert recorder.final()["event"] == "receipt"
            assert executor._executions[RUN].seconds == seconds
    finally:
        executor.close()


def test_plug_ins_are_found_by_name() -> None:
    assert load_plugin("paddock.executors", "process") is ProcessExecutor
    with pytest.raises(PluginUnknown, match="process"):
        load_plugin("paddock.executors", "nonsense")


def test_a_listener_that_fails_does_not_end_the_run() -> None:
    class Failing(Recorder):
        def __call__(self, event: dict[str, object]) -> None:
            super().__call__(event)
            raise ValueError

    recorder = Failing()
    _executor("echo").start(Launch("0" * 32, {}, "", {}), recorder)
    assert recorder.final()["event"] == "receipt"


def _alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
