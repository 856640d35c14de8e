"""The executor `sandbox` against the suite, and what is its own: the frame."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from paddock.errors import ExecutorFailed, ExecutorOptionInvalid, WallsUnavailable
from paddock.executors import Executor, Launch, make_executor, sandbox
from paddock.executors.sandbox import SandboxExecutor
from paddock.testing.executor_suite import Behaviour, ExecutorSuite, Recorder
from tests.contract.test_process_executor import PROGRAM, SMALL
from tests.fixtures.ordinary import run_as_ordinary_user

_LOOK = """
import json, os, socket, sys
launch = json.loads(sys.stdin.readline())
def writes(folder):
    try:
        open(folder + "/written", "w").close()
        os.unlink(folder + "/written")
        return True
    except OSError:
        return False
status = dict(r.split(":", 1) for r in open("/proc/self/status") if ":" in r)
said = {
    "store": writes(launch["store"].removeprefix("folder:")),
    "elsewhere": {f: writes(f) for f in ("/", "/etc", "/usr", "/var", os.path.expanduser("~root"), sys.prefix, sys.argv[1])},
    "own": {f: [writes(f), os.listdir(f)] for f in ("/dev/shm", "/var/tmp")},
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "bounding": int(status["CapBnd"], 16),
    "core": __import__("resource").getrlimit(4),
    "parent": os.getppid(),
}
with socket.socket(socket.AF_UNIX) as attester:
    said["attester"] = attester.connect_ex(sys.argv[2])
print(json.dumps({"event": "phase", "phase": "x", "detail": said}), flush=True)
print(json.dumps({"event": "receipt", "envelope": {}}), flush=True)
"""


class TestSandboxExecutor(ExecutorSuite):
    @pytest.fixture(autouse=True)
    def _tried_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # The walls are tried in a test of their own, not before each of these.
        monkeypatch.setattr(sandbox, "check_walls", lambda: None)

    def executor(self, behaviour: Behaviour) -> Executor:
        command = (sys.executable, "-I", "-c", PROGRAM, behaviour.value)
        return SandboxExecutor(attester="unix:/nowhere", program=command, limits=SMALL)


def test_the_frame_leaves_the_store_and_nothing_else_to_write(tmp_path: Path) -> None:
    import socket

    store, beside = tmp_path / "store", tmp_path / "beside"
    store.mkdir()
    beside.mkdir()
    with socket.socket(socket.AF_UNIX) as attester:
        attester.bind(str(beside / "attester"))
        attester.listen()
        command = (sys.executable, "-I", "-c", _LOOK, str(beside), str(beside / "attester"))
        executor = SandboxExecutor(attester=f"unix:{beside / 'attester'}", program=command)
        recorder = Recorder()
        executor.start(Launch("0" * 32, {}, f"folder:{store}", {}), recorder)
        recorder.final()
    seen = recorder.events[0]["detail"]
    assert seen["store"] is True
    assert set(seen["elsewhere"].values()) == {False}
    assert set(map(str, seen["own"].values())) == {str([True, []])}
    assert seen["no_new_privileges"] == "1"
    assert not seen["bounding"] & (1 << 16 | 1 << 17 | 1 << 19 | 1 << 25)  # modules, raw I/O, tracing, clock
    assert seen["core"] == [0, 0]
    assert seen["attester"] == 0


def test_it_refuses_a_machine_without_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise WallsUnavailable("bubblewrap is not installed.")

    monkeypatch.setattr(sandbox, "check_walls", missing)
    with pytest.raises(WallsUnavailable):
        SandboxExecutor(attester="none").prepare()


def test_it_refuses_a_machine_without_the_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "check_walls", lambda: None)
    broken = {"covered": ["/nowhere"], "kept": [], "writable": []}
    monkeypatch.setattr(SandboxExecutor, "_plan", lambda *_: broken)
    with pytest.raises(ExecutorFailed, match="the frame cannot be built"):
        SandboxExecutor(attester="none").prepare()


def test_its_settings_are_read_strictly(tmp_path: Path) -> None:
    made = make_executor("sandbox", attester="none", settings={"log-folder": str(tmp_path)})
    assert isinstance(made, SandboxExecutor)
    for wrong in ({"log-folder": "relative"}, {"log-folder": str(tmp_path / "none")}, {"walls": "off"}):
        with pytest.raises(ExecutorOptionInvalid):
            make_executor("sandbox", attester="none", settings=wrong)


def test_an_ordinary_user_can_use_it() -> None:
    program = """
import sys
sys.path.insert(0, "src")
from paddock.executors.sandbox import SandboxExecutor
SandboxExecutor(attester="none").prepare()
from paddock.walls import check_walls
print(check_walls())
"""
    done = run_as_ordinary_user(program)
    assert done.returncode == 0, done.stderr
    assert "supervisor" in done.stdout or "control group" in done.stdout
