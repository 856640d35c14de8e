"""A mount as a process of its own: hardened, ended by a signal, leaving no mountpoint behind."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import threading
from collections.abc import Callable
from types import FrameType

from paddock.views.mount.server import Mount

_PR_SET_DUMPABLE = 4
_MCL_CURRENT_AND_FUTURE = 3
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def harden() -> bool:
    """Forbid core dumps and tracing by the same user, and keep memory from being swapped where that is allowed.

    Returns:
        Whether memory is locked; it is not where RLIMIT_MEMLOCK is low (docs/limitations.md).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    # With a limit, locking future memory would make a later allocation fail in the middle of the work.
    return unlimited and libc.mlockall(_MCL_CURRENT_AND_FUTURE) == 0


def serve_until_signal(start: Callable[[], Mount], *, ready: Callable[[Mount], None], end: threading.Event) -> None:
    """Mount, and unmount at Ctrl-C, SIGTERM, SIGHUP, at `end`, or when somebody else unmounts. For the main thread.

    Args:
        start: mounts.
        ready: called once it stands.
        end: set by another thread to end the mount.

    Raises:
        Refused, Unavailable, Misconfigured: as `start`.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        end.set()

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        with start() as mount:
            ready(mount)
            while not end.wait(0.2):
                if mount.wait(0):
                    break
            # What is left unmounts; files that are still open answer ENOTCONN once this process is gone.
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
