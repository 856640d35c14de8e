"""The frame around an enclave's own process, then the enclave itself takes its place (execv).

Run as `python -I -S frame.py PLAN PROGRAM ARGUMENT…`, PLAN being JSON of `sandbox`. In a mount namespace of its own every
file system becomes read-only except what the plan names, and the folders for passing files about become fresh memory.
The process keeps its number, its user and its network: it is the enclave that talks to keepers, hub and store.

It is a program of its own because what it does must happen after fork, where no Python is safe in a process that has
threads. It imports the standard library alone, and of that little: every run waits for it.

Source: mount_setattr(2), open_tree(2), move_mount(2), user_namespaces(7), capabilities(7).
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes longer to import than all of this takes to run
    from typing import Any

_CANNOT_START = 126
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_PRIVATE = 0x40000 | 0x4000  # with MS_REC
_MS_NOSUID_NODEV = 2 | 4
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _FROM_EMPTY_PATH = 1, 4
_READ_ONLY_NOSUID = 1 | 2
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
# CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, KILL, SETGID, SETUID, IPC_LOCK, SYS_ADMIN, SYS_RESOURCE: what root needs
# to build walls, to read its files and to lock its memory. Not among them: networks, devices, clocks, modules, tracing.
_KEPT = frozenset({0, 1, 2, 3, 5, 6, 7, 14, 21, 24})
_CAPABILITIES = 64


def main(arguments: list[str]) -> int:
    """Become the program inside the frame; an exit status only when it cannot be built."""
    plan: dict[str, Any] = json.loads(arguments[0])
    command = arguments[1:]
    parent = os.getppid()
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        _own_mounts(libc)
        _close_files(libc, plan["covered"], plan["kept"], plan["writable"])
        for capability in set(range(_CAPABILITIES)) - _KEPT:
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # an error: this kernel does not have it
        _call(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        # Changed credentials have taken away what the launcher had set.
        _call(libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
        if os.getppid() != parent:
            return _CANNOT_START
        os.chdir("/")
        os.execv(command[0], command)  # noqa: S606 - the command is the executor's own, no shell is wanted
    except OSError as error:
        sys.stderr.write(f"the frame cannot be built: {error.strerror}\n")
    return _CANNOT_START


def _own_mounts(libc: ctypes.CDLL) -> None:
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        _call(libc.unshare(_CLONE_NEWNS))
    else:
        # An ordinary user may change mounts in a user namespace of its own, in which it stays itself.
        _call(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS))
        _write("/proc/self/setgroups", b"deny")
        _write("/proc/self/uid_map", b"%d %d 1\n" % (user, user))
        _write("/proc/self/gid_map", b"%d %d 1\n" % (group, group))
    _call(libc.mount(b"none", b"/", None, _MS_PRIVATE, None))


def _close_files(libc: ctypes.CDLL, covered: list[str], kept: list[str], writable: list[str]) -> None:
    taken = [(path, os.path.isdir(path), _tree(libc, path)) for path in writable]
    attributes = struct.pack("=QQQQ", _READ_ONLY_NOSUID, 0, 0, 0)
    _call(libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, attributes, ctypes.c_size_t(len(attributes))))
    # Read-only by now, these too.
    taken = [*((path, os.path.isdir(path), _tree(libc, path)) for path in kept), *taken]
    for folder in covered:
        _call(libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", _MS_NOSUID_NODEV, b"mode=0700"))
    for path, is_folder, tree in taken:
        if not os.path.exists(path):
            os.makedirs(path if is_folder else os.path.dirname(path), exist_ok=True)
            if not is_folder:
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        _call(libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(path), _FROM_EMPTY_PATH))
        os.close(tree)


def _tree(libc: ctypes.CDLL, path: str) -> int:
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    return _call(libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags))


def _write(path: str, content: bytes) -> None:
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, content)
    finally:
        os.close(file)


def _call(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
