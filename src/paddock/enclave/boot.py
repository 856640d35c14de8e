"""The first moments of the process: nothing it will learn may reach a disk, a core file, a log or another process."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import socket
import stat
import sys
import threading
from typing import BinaryIO

_PR_SET_DUMPABLE = 4
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_MCL_CURRENT_AND_FUTURE = 3
_LAUNCH_SECONDS, _UNANSWERED_MILLISECONDS = 60, 60_000


def harden() -> bool:
    """Forbid core dumps and tracing by the same user, keep memory from being swapped where that is allowed, and fix
    what numeric libraries would take from the host's settings.

    Returns:
        Whether memory is locked; it is not where RLIMIT_MEMLOCK is low (docs/limitations.md).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    for name in _THREAD_SETTINGS:
        # The host does not choose how sums are split: the same contract gives the same bits wherever it runs.
        os.environ[name] = "1"
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    # With a limit, locking future memory would make a later allocation fail in the middle of a run.
    return unlimited and libc.mlockall(_MCL_CURRENT_AND_FUTURE) == 0


def take_channel() -> tuple[BinaryIO, BinaryIO]:
    """Take standard input and output for the launch and the events, and leave nothing there for anybody else.

    Whatever a library prints afterwards goes nowhere: at no level do a job's words reach the host that way.
    """
    source = os.fdopen(os.dup(0), "rb", closefd=True)
    sink = os.fdopen(os.dup(1), "wb", buffering=0, closefd=True)
    silence = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silence, descriptor)
    os.close(silence)
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - lives as long as we do
    return source, sink


class Channel:
    """What holds this process to whoever it was started for, where the channel is a socket; elsewhere nothing."""

    def __init__(self, timed: bool) -> None:
        self._timed = timed

    def launched(self) -> None:
        """The launch was read: it need not be waited for any more."""
        if self._timed:
            signal.alarm(0)


def keep_to_channel(source: BinaryIO) -> Channel:
    """Have this process end with its channel, where that is a socket: of systemd, which does not look after it (`paddock.executors.machine.units`).

    The end of either direction is the end of the run. A connection on which no launch comes is not kept.

    Args:
        source: where the launch comes from.
    """
    descriptor = source.fileno()
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return Channel(timed=False)
    with socket.socket(fileno=os.dup(descriptor)) as ours:
        if ours.family in (socket.AF_INET, socket.AF_INET6):
            # What was sent and is not taken in this time was sent to nobody.
            ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNANSWERED_MILLISECONDS)
    threading.Thread(target=_end_with, args=(descriptor,), name="channel", daemon=True).start()
    signal.alarm(_LAUNCH_SECONDS)  # nobody takes the signal: it ends the process
    return Channel(timed=True)


def _end_with(descriptor: int) -> None:
    watched = select.poll()
    watched.register(descriptor, select.POLLRDHUP)  # an error and the end of both directions are told in any case
    watched.poll()
    os.kill(os.getpid(), signal.SIGKILL)
