"""Other processes: those of the machine, of other runs, of the job itself."""

from __future__ import annotations

import ctypes
import os
import signal
import time

from calls import call, enters, libc  # type: ignore[import-not-found]
from runner import Nothing, Setting  # type: ignore[import-not-found]


def _sleeping_child(value: bytes) -> tuple[int, int]:
    kept = ctypes.create_string_buffer(value)
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    return child, ctypes.addressof(kept)


def ptrace(_setting: Setting) -> str:
    child, _ = _sleeping_child(b"")
    try:
        return enters(101, 0x4206, child, 0, 0)  # PTRACE_SEIZE
    finally:
        os.kill(child, signal.SIGKILL)


def read_memory(_setting: Setting) -> str:
    """process_vm_readv of another process."""
    child, address = _sleeping_child(b"another's memory")
    into = ctypes.create_string_buffer(16)
    local = (ctypes.c_void_p * 2)(ctypes.addressof(into), 16)
    remote = (ctypes.c_void_p * 2)(address, 16)
    try:
        call(310, child, local, 1, remote, 1, 0)
        return into.value.decode()
    finally:
        os.kill(child, signal.SIGKILL)


def memory_by_proc(_setting: Setting) -> str:
    """The same by /proc."""
    child, address = _sleeping_child(b"another's memory")
    try:
        with open(f"/proc/{child}/mem", "rb", buffering=0) as memory:  # noqa: PTH123 - no more imports than needed
            memory.seek(address)
            return memory.read(16).decode()
    finally:
        os.kill(child, signal.SIGKILL)


def take_descriptor(setting: Setting) -> str:
    """pidfd_getfd of a descriptor of another process."""
    child, _ = _sleeping_child(b"")
    try:
        return f"descriptor {call(438, os.pidfd_open(child), 0, 0)}"
    finally:
        os.kill(child, signal.SIGKILL)


def arguments_of_others(setting: Setting) -> str:
    try:
        with open(f"/proc/{setting['supervisor']}/cmdline", "rb") as line:  # noqa: PTH123 - no more imports
            told = line.read()
    except FileNotFoundError as error:
        raise Nothing("no such process") from error
    if setting["argument"].encode() not in told:
        raise Nothing("another process")
    return "the supervisor's arguments"


def signal_supervisor(setting: Setting) -> str:
    os.kill(setting["victim"], signal.SIGWINCH)
    return "a signal to a process of the supervisor's user"


def signal_group(setting: Setting) -> str:
    os.killpg(setting["victim"], signal.SIGWINCH)
    return "a signal to a group of processes outside"


def session(_setting: Setting) -> str:
    if os.getsid(0) == 0:
        return "it is in the session that the supervisor was started in, with its terminal"
    raise Nothing("a session of its own")


def type_into_terminal(_setting: Setting) -> str:
    """TIOCSTI, with and without bits that an `unsigned int` loses."""
    for request in (0x5412, 0x1_0000_5412):
        ctypes.set_errno(0)
        libc.syscall(ctypes.c_long(16), ctypes.c_long(0), ctypes.c_ulong(request), ctypes.c_char_p(b"x"))
        if ctypes.get_errno() not in {1, 38}:
            return f"the terminal driver's own answer {ctypes.get_errno()}"
    failed = ctypes.get_errno()
    raise OSError(failed, os.strerror(failed))


def system_v_memory(setting: Setting) -> str:
    shared = call(29, setting["key"], 4096, 0o444)
    libc.shmat.restype = ctypes.c_void_p
    address = libc.shmat(shared, None, 0o10000)
    return ctypes.string_at(address).decode()


def system_v_queue(setting: Setting) -> str:
    queue = call(68, setting["key"], 0)
    into = ctypes.create_string_buffer(108)
    call(70, queue, into, 100, 0, 0o4000)
    return into.raw[8:].rstrip(b"\0").decode()


def posix_queue(setting: Setting) -> str:
    queue = call(240, setting["queue"].encode(), os.O_RDONLY | os.O_NONBLOCK, 0, 0)
    into = ctypes.create_string_buffer(8192)
    call(243, queue, into, 8192, 0, 0)
    return into.value.decode()


def system_v_listing(setting: Setting) -> str:
    with open("/proc/sysvipc/shm", encoding="ascii") as rows:  # noqa: PTH123 - no more imports than needed
        if any(row.split()[0] == str(setting["key"]) for row in rows):
            return "the keys of other programs' shared memory"
    raise Nothing("none of others")


def inherited_keyring(setting: Setting) -> str:
    """A keyring goes with a session to all that is started in it."""
    key = call(250, 10, -3, b"user", setting["keyring"].encode(), 0)  # KEYCTL_SEARCH of the session's keyring
    into = ctypes.create_string_buffer(100)
    call(250, 11, key, into, 100)  # KEYCTL_READ
    return into.value.decode()


def add_key(_setting: Setting) -> str:
    return f"key {call(248, b'user', b'left', b'secret', 6, -4)}"  # of the user's keyring


def host_name(setting: Setting) -> str:
    if os.uname().nodename == setting["host"]:
        return f"the host's name {setting['host']}"
    raise Nothing("a name that is the same everywhere")


def control_group(_setting: Setting) -> str:
    with open("/proc/self/cgroup", encoding="ascii") as rows:  # noqa: PTH123 - no more imports than needed
        paths = [row.split(":", 2)[2].strip() for row in rows]
    if any("paddock-" in path for path in paths):
        return "where among the host's services it is"
    raise Nothing("/")


def scheduling(_setting: Setting) -> str:
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    return "another class of scheduling"
