"""Starting, ending and watching jobs, beyond what the rules say."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from paddock.errors import WallsUnavailable
from paddock.walls import Binding, Ceilings, Defence, start, start_walled
from paddock.walls.defences import without
from paddock.walls.watch import memory_of
from tests.fixtures.ordinary import run_as_ordinary_user
from tests.fixtures.walled import SECONDS, SMALL, run_inside, started

_ROOT = Path(__file__).resolve().parents[3]


def test_the_exit_status_is_the_modules() -> None:
    assert run_inside("import os; os._exit(7)").status == 7
    assert run_inside("import os; os.kill(os.getpid(), 15)").status == 128 + 15


def test_the_channel_works_both_ways() -> None:
    with started("import os; os.write(3, os.read(3, 100)[::-1])") as (walled, ours):
        ours.sendall(b"abc")
        assert ours.recv(100) == b"cba"
        assert walled.wait(SECONDS) == 0
        assert walled.wait(0) == 0
        walled.kill()  # nothing happens


def test_waiting_has_an_end() -> None:
    with started("import time; time.sleep(60)") as (walled, _), pytest.raises(TimeoutError):
        walled.wait(0.05)


def test_a_channel_of_any_number_arrives_as_3() -> None:
    """Also where this process has many descriptors open, and where 3 is free."""
    kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(40)]
    try:
        assert run_inside("tell('here')").only == "here"
    finally:
        for descriptor in kept:
            os.close(descriptor)


def test_it_leaves_no_descriptor_and_no_control_group() -> None:
    run_inside("pass")
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers alone
    run_inside("pass")
    with pytest.raises(WallsUnavailable), started("pass", bindings=[Binding(Path("/nowhere"), PurePosixPath("/x"))]):
        pass
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - as above
    left = [path for path in Path("/sys/fs/cgroup").glob(f"**/paddock-{os.getpid()}-*") if path.is_dir()]
    assert left == []


def test_an_inner_wall_that_is_missing_ends_it_before_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_landlock", lambda *_: {"list": [], "execute": ["/nowhere"], "read": [], "write": []})
    told = run_inside("tell('ran')")
    assert (told.status, told.lines) == (125, [])
    assert "a wall is missing" in told.log


def test_a_machine_without_bubblewrap_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "WHERE_PROGRAMS_ARE", "/nowhere")
    with pytest.raises(WallsUnavailable, match="bubblewrap"), started("pass"):
        pass


@pytest.mark.parametrize("name", ["memory_bytes", "processes", "file_bytes", "scratch_bytes", "cpu_seconds"])
@pytest.mark.parametrize("value", [0, -1, 1 << 62, True, 1.5])
def test_a_ceiling_is_a_number_above_nothing(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        replace(SMALL, **{name: value})


def test_a_binding_has_absolute_paths() -> None:
    for source, target in (("a", "/a"), ("/a", "a"), ("/a", "/a/../b")):
        with pytest.raises(ValueError, match="absolute"):
            Binding(Path(source), PurePosixPath(target))


def test_nobody_but_the_walls_and_their_attacks_chooses_defences() -> None:
    for path in (_ROOT / "src").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.parent.name == "walls" or "defences" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                assert "defences" not in {keyword.arg for keyword in node.keywords}, path


def test_the_kernel_ends_a_job_whose_processes_together_use_too_much() -> None:
    code = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        kept = bytearray(100 << 20)
        time.sleep(60)
        os._exit(0)
for _ in range(8):
    os.wait()
"""
    ceilings = replace(SMALL, memory_bytes=300 << 20)
    with started(code, ceilings=ceilings) as (walled, _):
        if walled._group is None:
            pytest.skip("this machine lets the tests make no control group")
        until = time.monotonic() + SECONDS
        while not walled._group.memory_ran_out() and time.monotonic() < until:
            time.sleep(0.02)
        walled.kill()
        walled.wait(SECONDS)
        assert walled.memory_ran_out()


_SHARED = """
import mmap, os, time
kept = mmap.mmap(-1, {size} << 20)
for n in range(0, {size} << 20, 4096):
    kept[n] = 1
open("file", "wb").write(bytes({size} << 20))
private = bytearray({size} << 20)
tell(1)
time.sleep({sleep})
"""


def test_memory_is_counted_private_shared_and_written_together() -> None:
    code = _SHARED.format(size=10, sleep=60)
    with started(code, defences=without(Defence.CGROUP, Defence.WATCH)) as (walled, ours):
        assert ours.recv(10)
        assert 20 << 20 < memory_of(walled.pid, ("/tmp",)) < 60 << 20
    assert memory_of(walled.pid, ("/tmp",)) == 0


def test_without_a_control_group_the_supervisor_ends_it() -> None:
    ceilings = Ceilings(memory_bytes=64 << 20, processes=32, file_bytes=1 << 30, scratch_bytes=1 << 30, cpu_seconds=60)
    code = 'import os, time\nfor n in range(20): open(f"{n}", "wb").write(bytes(8 << 20))\ntell(1)\ntime.sleep(60)'
    with started(code, ceilings=ceilings, defences=without(Defence.CGROUP)) as (walled, _):
        assert walled.wait(SECONDS) == 128 + 9
        assert walled.memory_ran_out()


def test_an_ordinary_users_supervisor_sees_and_ends_it() -> None:
    program = """
import sys
sys.path[:0] = [".", "src"]
from dataclasses import replace
from tests.fixtures.walled import SMALL, started
from paddock.walls.watch import memory_of
with started("import time; kept = bytearray(20 << 20); tell(1); time.sleep(60)") as (walled, ours):
    ours.recv(10)
    print(walled._group is None, memory_of(walled.pid, ("/tmp",)) > 20 << 20)
with started('import time; f = open("f", "wb"); [f.write(bytes(1 << 20)) for _ in range(60)]; f.flush(); time.sleep(60)',
             ceilings=replace(SMALL, memory_bytes=48 << 20, file_bytes=1 << 30, scratch_bytes=1 << 30)) as (walled, ours):
    walled.wait(60)
    print(walled.memory_ran_out())
"""
    done = run_as_ordinary_user(program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "True", "True"]


def test_without_a_way_to_see_its_memory_nothing_starts() -> None:
    """As root without the right to trace, as in the frame of the executor `sandbox`, where no control group can be made."""
    program = """
import ctypes, os, sys
if len(sys.argv) == 1:
    ctypes.CDLL(None).prctl(24, 19, 0, 0, 0)  # CAP_SYS_PTRACE out of the bounding set, and so out of what comes next
    os.execv(sys.executable, [sys.executable, "-c", sys.orig_argv[2], "again"])
sys.path[:0] = [".", "src"]
from paddock.errors import WallsUnavailable
from paddock.walls import Defence
from paddock.walls.defences import without
from tests.fixtures.walled import started
try:
    with started("tell(1)", defences=without(Defence.CGROUP)) as (_, ours):
        print("started")
except WallsUnavailable as error:
    print(error.detail)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    # An ordinary user may look at what it started.
    assert ("neither limited nor looked at" in done.stdout) == (os.geteuid() == 0), done.stdout


def test_a_socket_of_the_caller_stays_the_callers() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        walled = start_walled("platform", [], channel=theirs, bindings=[], ceilings=SMALL)
        assert walled.wait(SECONDS) == 0
        theirs.sendall(b"x")
        assert ours.recv(1) == b"x"
