"""Looking at a job's memory where a job hides it, and ending it where it cannot be seen."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from paddock.walls import Defence, start, watch
from paddock.walls.defences import without
from paddock.walls.watch import Unseen, memory_of
from tests.fixtures.walled import SECONDS, started

_UNWATCHED = without(Defence.CGROUP, Defence.WATCH)
_WATCHED = without(Defence.CGROUP)


def test_memory_is_seen_when_the_first_thread_has_ended() -> None:
    code = """
import ctypes, os, threading, time
kept = bytearray(20 << 20)
def later():
    leader = f"/proc/{os.getpid()}/task/{os.getpid()}/stat"
    while open(leader).read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    tell(1)
    time.sleep(60)
threading.Thread(target=later).start()
ctypes.CDLL(None).syscall(ctypes.c_long(60), ctypes.c_long(0))  # exit: this thread alone
"""
    with started(code, defences=_UNWATCHED) as (walled, ours):
        assert ours.recv(10)
        assert memory_of(walled.pid, ()) > 20 << 20


def _process(root: Path, pid: int, children: str = "", rollup: str | None = None, stat: str = "S 1 1 1 0 -1 0") -> None:
    thread = root / str(pid) / "task" / str(pid)
    thread.mkdir(parents=True)
    (thread / "children").write_text(children)
    (thread / "stat").write_text(f"{pid} (a) b) {stat} 0 0")
    if rollup is not None:
        (thread / "smaps_rollup").write_text(f"0-1 ---p [rollup]\n{rollup}")


_ROLLUP = "Pss_Anon: 1 kB\nPss_Shmem: 2 kB\nSwapPss: 4 kB\n"


def test_private_shared_and_swapped_memory_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_PROCESSES", tmp_path)
    _process(tmp_path, 1, "2 3")
    _process(tmp_path, 2, rollup=_ROLLUP)
    _process(tmp_path, 3, rollup=_ROLLUP)
    (tmp_path / "2" / "root").symlink_to("/")
    assert memory_of(1, ()) == 14 << 10
    facts = os.statvfs("/dev/shm")
    written = (facts.f_blocks - facts.f_bfree) * facts.f_frsize
    assert memory_of(1, ("/dev/shm",)) >= (14 << 10) + written // 2


def test_a_living_process_that_cannot_be_looked_at_is_no_process_without_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_PROCESSES", tmp_path)
    _process(tmp_path, 1, "2 3 4")
    _process(tmp_path, 2, stat="Z 1 1 1 0 -1 0")
    _process(tmp_path, 3, stat="R 1 1 1 0 -1 4")
    assert memory_of(1, ()) == 0  # ended, ending, and gone
    _process(tmp_path, 4)
    with pytest.raises(Unseen, match="4"):
        memory_of(1, ())


def test_a_chain_of_children_may_be_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_PROCESSES", tmp_path)
    for pid in range(1, 1100):
        _process(tmp_path, pid, str(pid + 1), _ROLLUP)
    _process(tmp_path, 1100, "1", _ROLLUP)  # a number that was given again: no circle without end
    assert memory_of(1, ()) == 1099 * (7 << 10)


def test_a_job_that_cannot_be_looked_at_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> int:
        raise RecursionError

    monkeypatch.setattr(start, "memory_of", fails)
    with started("import time; time.sleep(600)", defences=_WATCHED) as (walled, _):
        assert walled.wait(SECONDS) == 128 + 9
        assert walled.memory_ran_out()


def test_a_job_that_nobody_watches_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise RuntimeError("can't start new thread")

    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers alone
    monkeypatch.setattr(threading.Thread, "start", fails)
    with pytest.raises(RuntimeError, match="thread"), started("pass", defences=_WATCHED):
        pass
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - as above


def test_ending_copes_with_a_process_that_may_not_be_signalled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    with started("import time; tell(1); time.sleep(600)", defences=_UNWATCHED) as (walled, ours):
        assert ours.recv(10)
        monkeypatch.setattr(signal, "pidfd_send_signal", refused)
        walled.kill()
        assert walled.wait(SECONDS) == 128 + 9
