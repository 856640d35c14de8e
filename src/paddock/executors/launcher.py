"""First steps of an enclave's process, then the enclave itself takes its place (execv).

Run as `python -I -S launcher.py PARENT_PID PROGRAM ARGUMENT…`. It is a program of its own because what it does must
happen after fork, and between fork and exec no Python is safe in a process that has threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_CANNOT_START = 126


def main(arguments: list[str]) -> int:
    """Become the program; an exit status only when it cannot be started."""
    parent, *command = arguments
    # Dies with the thread that started it (prctl(2)); the check closes the gap before the call.
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        return _CANNOT_START
    if os.getppid() != int(parent):
        return _CANNOT_START
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold plaintext
    with contextlib.suppress(OSError):
        # When memory runs out, the system should end the run, not the service beside it.
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    os.umask(0o077)
    with contextlib.suppress(OSError):
        os.execv(command[0], command)  # noqa: S606 - the command is the executor's own, no shell is wanted
    return _CANNOT_START


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
