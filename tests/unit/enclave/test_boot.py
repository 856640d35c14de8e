"""The channel to whoever sent the launch, where it is a socket: the process ends with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from paddock.enclave.boot import keep_to_channel

_PROGRAM = """
import sys, time
from paddock.enclave.boot import keep_to_channel
guard = keep_to_channel(sys.stdin.buffer)
if sys.argv[1] == "launched":
    sys.stdin.buffer.readline()
    guard.launched()
sys.stdout.write("ready\\n"); sys.stdout.flush()
time.sleep(60)
"""


def _start(how: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-I", "-c", _PROGRAM, how]
        process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno())
    ours.settimeout(30)
    ours.sendall(b"launch\nmore than a launch")
    assert ours.recv(100) == b"ready\n"
    return process, ours


@pytest.mark.parametrize("how", ["launched", "waiting"])
@pytest.mark.parametrize("end", [socket.socket.close, lambda ours: ours.shutdown(socket.SHUT_WR)])
def test_the_process_ends_when_either_direction_ends(how: str, end: Callable[[socket.socket], None]) -> None:
    """Also where something that nobody read lies before the end."""
    process, ours = _start(how)
    with ours:
        assert process.poll() is None
        end(ours)
        assert process.wait(30) == -signal.SIGKILL


def test_a_connection_without_a_launch_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("paddock.enclave.boot.signal.alarm", asked.append)
    # What ends an enclave would end these tests: the thread outlives every patch of what it calls.
    monkeypatch.setattr("paddock.enclave.boot._end_with", lambda _descriptor: None)
    ours, theirs = socket.socketpair()
    with ours, theirs, theirs.makefile("rb") as source:
        guard = keep_to_channel(source)
        assert asked == [60]
        guard.launched()
        assert asked == [60, 0]


def test_a_pipe_is_left_to_whoever_holds_the_other_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("paddock.enclave.boot.signal.alarm", asked.append)
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading, "rb") as source:
        keep_to_channel(source).launched()
    assert asked == []
