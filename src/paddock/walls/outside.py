"""The first steps towards a job, outside: then bubblewrap takes the process's place (execve).

Run as `python -I -S outside.py PLAN`, PLAN being JSON of `start`. It is a program of its own because what it does must
happen between fork and exec, where no Python is safe in a process that has threads. It imports the standard library
alone, and of that little: every job waits for it.

Started by root it gives root up for good. So that the job can read what root alone may read (the installation may
lie in root's home, inputs in folders of the supervisor), root first puts what will be bound into one folder of a
mount namespace of its own; inputs are shown there as belonging to the job's user (mount_setattr(2), idmapped mounts).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes longer to import than all of this takes to run
    from typing import Any

CANNOT_START = 126
"""Exit status when this program could not do its part."""

_CHANNEL = 3
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_PRIVATE = 0x40000 | 0x4000  # with MS_REC
_MS_NOSUID_NODEV = 2 | 4
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _FROM_EMPTY_PATH = 1, 4
_MOUNT_ATTR_IDMAP = 0x100000
_STAGE = "/tmp"  # noqa: S108 - covered by a fresh file system that only this process and its children see


def main(argument: str) -> int:
    """Become bubblewrap; an exit status only when that cannot be done."""
    plan: dict[str, Any] = json.loads(argument)
    try:
        if plan["dumps"] and resource.getrlimit(resource.RLIMIT_CORE)[1] != 0:
            # W-8: a handler of core dumps that is a program ignores 0, and is not started with 1 (core(5)). Whoever
            # started the supervisor may have said 0, above which nothing goes; a job is not dumpable beside.
            resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
        for processes in plan["cgroups"]:
            _write(processes, b"0")  # W-7: joined before anything of the job exists
        # When memory runs out, the system should end the job, not the supervisor, whose own may be higher still.
        with contextlib.suppress(PermissionError):
            _write("/proc/self/oom_score_adj", b"900")
        libc = ctypes.CDLL(None, use_errno=True)
        mounts = plan["mounts"]
        if plan["user"] is not None:
            mounts = _give_up_root(libc, mounts, plan["user"])
        _call(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        # Dies with the thread that started it; the check closes the gap before the call.
        _call(libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
        if os.getppid() != plan["parent"]:
            return CANNOT_START
        os.dup2(plan["channel"], _CHANNEL)
        os.close(plan["channel"])
        os.umask(0o077)
        bound = [word for flag, source, target, _ in mounts for word in (flag, source, target)]
        command = [*plan["before"], *bound, *plan["after"]]
        os.execv(command[0], command)  # noqa: S606 - the command is `start`'s own, no shell is wanted
    except OSError as error:
        sys.stderr.write(f"a wall is missing: {error.strerror}\n")
    return CANNOT_START


def _give_up_root(libc: ctypes.CDLL, mounts: list[list[Any]], user: int) -> list[list[Any]]:
    """Stage what is bound, then become an ordinary user (W-3)."""
    _call(libc.unshare(_CLONE_NEWNS))
    _call(libc.mount(b"none", b"/", None, _MS_PRIVATE, None))
    shown_as = _user_namespace(libc, user) if any(own for *_, own in mounts) else None
    trees = []
    for flag, source, target, own in mounts:
        tree = _call(
            libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC)
        )
        if own and shown_as is not None:
            # A file system that cannot be shown so is bound as it is: its own permissions decide what the job reads.
            attributes = struct.pack("=QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, shown_as)
            libc.syscall(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, attributes, ctypes.c_size_t(len(attributes)))
        trees.append((flag, tree, os.path.isdir(source), target))
    if shown_as is not None:
        os.close(shown_as)
    _call(libc.mount(b"tmpfs", os.fsencode(_STAGE), b"tmpfs", _MS_NOSUID_NODEV, b"mode=0755,size=1m"))
    staged: list[list[Any]] = []
    for number, (flag, tree, is_folder, target) in enumerate(trees):
        place = f"{_STAGE}/{number}"
        if is_folder:
            os.mkdir(place)
        else:
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY))
        _call(libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(place), _FROM_EMPTY_PATH))
        os.close(tree)
        staged.append([flag, place, target, False])
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    # Between here and exec the process would belong to that user; what it holds is still the supervisor's.
    _call(libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
    return staged


def _user_namespace(libc: ctypes.CDLL, user: int) -> int:
    """A user namespace in which root's files are that user's."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        done = libc.unshare(_CLONE_NEWUSER) == 0
        os.write(write, b"1" if done else b"0")
        os.close(write)
        signal.pause()
        os._exit(0)
    os.close(write)
    try:
        if os.read(read, 1) != b"1":
            raise OSError(0, "no user namespaces")
        _write(f"/proc/{child}/uid_map", b"0 %d 1\n" % user)
        _write(f"/proc/{child}/gid_map", b"0 %d 1\n" % user)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(read)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


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
    sys.exit(main(sys.argv[1]))
