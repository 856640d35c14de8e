"""The last steps before a job, inside: what only the job's own process can give up. Then the module runs in its place.

Run as `python -I -B inside.py PLAN`, PLAN being JSON of `start`. It imports the standard library alone: the less runs
before the last wall stands, the better. Whatever cannot be done ends the process before the module is touched.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import runpy
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes longer to import than all of this takes to run
    from typing import Any

WALL_MISSING = 125
"""Exit status when a wall could not be raised; the module did not run."""

_CHANNEL = 3
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1

_EXECUTE = 1 << 0
_READ = 1 << 2 | 1 << 3  # READ_FILE, READ_DIR
_WRITE_FILE = 1 << 1
_READ_DIR = 1 << 3
# WRITE_FILE, REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG, MAKE_SYM, REFER, TRUNCATE: no sockets, pipes or devices
_CHANGE = _WRITE_FILE | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 13 | 1 << 14
_OF_FILES = _EXECUTE | _WRITE_FILE | 1 << 2 | 1 << 14
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_FILE_RIGHTS_NOW = 16
_TCP = 3  # BIND_TCP, CONNECT_TCP
_SCOPES = 3  # ABSTRACT_UNIX_SOCKET, SIGNAL


def main(argument: str) -> None:
    """Raise the inner walls, then run the module."""
    try:
        plan: dict[str, Any] = json.loads(argument)
        raise_walls(plan)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        sys.stderr.write(f"a wall is missing: {error}\n")
        sys.exit(WALL_MISSING)
    sys.argv = [plan["module"], *plan["arguments"]]
    runpy.run_module(plan["module"], run_name="__main__", alter_sys=True)


def raise_walls(plan: dict[str, Any]) -> None:
    """Close what is open, restrict files, network and signals, set the ceilings."""
    libc = ctypes.CDLL(None, use_errno=True)
    if plan["close"]:
        os.closerange(_CHANNEL + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])  # W-4
    if plan["dumps"]:
        # W-8: neither a core file nor another process of the same user gets at this memory.
        _call(libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
    if plan["landlock"] is not None:
        restrict(libc, plan["landlock"])  # W-6
    for number, value in plan["limits"]:
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)  # noqa: PLW2901 - never raised
        resource.setrlimit(number, (value, value))  # W-7


def restrict(libc: ctypes.CDLL, rules: dict[str, list[str]]) -> None:
    """Landlock: files by path, no TCP, no signals and abstract sockets across; as far as the kernel knows each.

    Args:
        libc: makes the calls.
        rules: `list`, `execute`, `read` and `write` to paths. What no path allows is forbidden.

    Source: landlock(7).
    """
    abi = _call(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION)))
    handled = (1 << _FILE_RIGHTS.get(abi, _FILE_RIGHTS_NOW)) - 1
    attributes = struct.pack("=QQQ", handled, _TCP if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    ruleset = _call(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)))
    kinds = {"list": _READ_DIR, "execute": _EXECUTE | _READ, "read": _READ, "write": _READ | _CHANGE}
    for kind, rights in kinds.items():
        for path in rules[kind]:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = rights & handled & (-1 if os.path.isdir(path) else _OF_FILES)
            _call(
                libc.syscall(
                    _ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", allowed, descriptor), ctypes.c_uint32(0)
                )
            )
            os.close(descriptor)
    _call(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _call(libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)))
    os.close(ruleset)


def _call(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


if __name__ == "__main__":
    main(sys.argv[1])
