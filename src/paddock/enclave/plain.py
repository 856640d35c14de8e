"""A worker without walls, for L1: the host's files and network are open to it, and `/inputs` and `/outputs` are there.

A script finds the same paths at every level. Only a mount namespace can put them there without changing the host, so that
bubblewrap is needed, which here keeps nobody from anything. Source: bwrap(1).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from paddock.errors import ScriptsUnavailable
from paddock.walls import Binding, Ceilings

_OWN = frozenset({"inputs", "outputs", "tmp", "dev", "proc"})
_KILL_SECONDS = 5.0


class PlainProcess:
    """A started process.

    Args:
        pid: its number.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def kill(self) -> None:
        """End it and what it started in its session."""
        if self._code is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        """Its exit code, negative for a signal.

        Raises:
            TimeoutError: it has not ended.
        """
        deadline = time.monotonic() + timeout
        while self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                raise TimeoutError
            else:
                time.sleep(0.005)
        return self._code


def start_plain(
    module: str, arguments: Sequence[str], *, channel: socket.socket, bindings: Sequence[Binding], ceilings: Ceilings
) -> PlainProcess:
    """Start `python -I -m MODULE` with the channel as descriptor 3, and these folders at their places.

    Raises:
        ScriptsUnavailable: bubblewrap is not installed.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise ScriptsUnavailable("bubblewrap (bwrap) is not installed.")
    # A namespace of processes, so that what a script left behind ends with its worker.
    command = [bwrap, "--die-with-parent", "--unshare-pid", *_root(), "--dev-bind", "/dev", "/dev", "--proc", "/proc"]
    command += ["--tmpfs", "/tmp", "--size", str(max(ceilings.scratch_bytes, 1 << 20)), "--tmpfs", "/outputs"]  # noqa: S108
    command += ["--dir", "/inputs"]
    for each in bindings:
        command += ["--ro-bind", str(each.source), str(each.target)]
    command += ["--", sys.executable, "-I", "-m", module, *arguments]
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", "TZ": "UTC", "HOME": "/tmp"}  # noqa: S108
    null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0)
    actions = [
        null,
        (os.POSIX_SPAWN_DUP2, 0, 1),
        (os.POSIX_SPAWN_DUP2, 0, 2),
        (os.POSIX_SPAWN_DUP2, channel.fileno(), 3),
    ]
    return PlainProcess(os.posix_spawn(bwrap, command, environment, file_actions=actions, setsid=True))


def _root() -> list[str]:
    """Everything of the host's root but what is the job's own."""
    rows: list[str] = []
    for entry in sorted(Path("/").iterdir()):
        if entry.name in _OWN:
            continue
        if entry.is_symlink():
            rows += ["--symlink", str(entry.readlink()), str(entry)]
        else:
            rows += ["--dev-bind", str(entry), str(entry)]
    return rows
