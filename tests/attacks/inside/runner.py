"""Tries attacks inside the walls, each in a process of its own, and tells on descriptor 3 what became of each.

An attack is a function that takes what its allies outside told it and returns, in words, what it got. What stops it is an
error of the operating system or a signal; `Nothing` says that what it looked for was not there.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

SECONDS = 10.0
MODULES = ("network", "processes", "files", "kernel", "ceilings")


class Nothing(Exception):
    """What was looked for is not there."""


Setting = dict[str, Any]
Script = Callable[[Setting], str]


def main(names: list[str], setting: Setting) -> None:
    """Try each in turn."""
    found: dict[str, Script] = {}
    for name in MODULES:
        found.update(vars(importlib.import_module(name)))
    for name in names:
        os.write(3, json.dumps([name, *_tried(found[name], name, setting)]).encode("utf-8") + b"\n")


def _tried(script: Script, name: str, setting: Setting) -> tuple[bool, str, str]:
    """Whether it succeeded, the error's name, and what was seen."""
    source, sink = os.pipe()
    os.mkdir(name)  # noqa: PTH102 - no more imports than needed
    child = os.fork()
    if child == 0:
        os.chdir(name)
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        _become(script, setting, sink)
    os.close(sink)
    status, told = _until_told(child, source)
    os.close(source)
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)
    shutil.rmtree(name, ignore_errors=True)
    if told:
        succeeded, code, seen = json.loads(told)
        return bool(succeeded), str(code), str(seen)
    if status is None:
        return False, "ETIMEDOUT", ""
    return False, signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "EIO", ""


def _until_told(child: int, source: int) -> tuple[int | None, bytes]:
    """How the child ended, None if it had to be ended, and what it told."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        readable, _, _ = select.select([source], [], [], 0.01)
        told = os.read(source, 1 << 16) if readable else b""
        ended, status = os.waitpid(child, 0 if told else os.WNOHANG)
        if ended:
            return status, told or (os.read(source, 1 << 16) if select.select([source], [], [], 0)[0] else b"")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None, b""


def _become(script: Script, setting: Setting, sink: int) -> None:
    try:
        told = (True, "", script(setting))
    except Nothing as nothing:
        told = (False, "NOTHING", str(nothing))
    except MemoryError:
        told = (False, "ENOMEM", "")
    except OSError as error:
        told = (False, errno.errorcode.get(error.errno or 0, str(error)), str(error))
    except Exception as error:  # noqa: BLE001 - told to the test, which then fails
        told = (False, type(error).__name__, str(error))
    os.write(sink, json.dumps(told).encode("utf-8"))
    os._exit(0)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), json.loads(sys.argv[2]))
