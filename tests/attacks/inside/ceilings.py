"""More than was signed: memory, processes, files, time."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import resource
import signal
import struct
import threading
import time

from calls import libc  # type: ignore[import-not-found]
from runner import Setting  # type: ignore[import-not-found]


def fork_bomb(setting: Setting) -> str:
    wanted = setting["processes"] + 40
    children = []
    try:
        for _ in range(wanted):
            child = os.fork()
            if child == 0:
                time.sleep(20)
                os._exit(0)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return f"{wanted} processes"


def thread_bomb(setting: Setting) -> str:
    threading.stack_size(1 << 16)
    done = threading.Event()
    wanted = setting["processes"] + 40
    threads = []
    try:
        for _ in range(wanted):
            thread = threading.Thread(target=done.wait, args=(10,), daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError as error:  # what Python makes of EAGAIN
        raise OSError(11, "no more threads") from error
    finally:
        done.set()
    return f"{wanted} threads"


def memory_bomb(setting: Setting) -> str:
    return f"{len(bytearray(setting['memory_bytes'] + (64 << 20))) >> 20} MiB"


def address_bomb(setting: Setting) -> str:
    """Addresses that are shared are not counted as its data."""
    size = setting["memory_bytes"] + (32 << 30)  # MAP_NORESERVE: the kernel sets nothing aside for them
    return f"{len(mmap.mmap(-1, size, flags=mmap.MAP_SHARED | 0x4000)) >> 30} GiB of addresses"


def file_bomb(setting: Setting) -> str:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    file = os.open("file", os.O_CREAT | os.O_WRONLY, 0o600)
    os.pwrite(file, b"x", setting["file_bytes"] + 4096)
    return f"a file of {os.fstat(file).st_size >> 20} MiB"


def scratch_bomb(setting: Setting) -> str:
    part = bytes(8 << 20)
    wanted = setting["scratch_bytes"] + (8 << 20)
    with contextlib.ExitStack() as stack:
        for number in range(wanted // len(part)):
            stack.enter_context(open(str(number), "wb", buffering=0)).write(part)  # noqa: PTH123 - no more imports
        if sum(os.stat(name).st_size for name in os.listdir()) < wanted:  # noqa: PTH116, PTH208 - as above
            raise OSError(28, "part of it")
    return f"{wanted >> 20} MiB of files"


def descriptor_bomb(_setting: Setting) -> str:
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (2500, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(2000)]
    return f"{len(kept)} open files"


def locked_memory(_setting: Setting) -> str:
    kept = ctypes.create_string_buffer(1 << 20)
    ctypes.set_errno(0)
    if libc.mlock(kept, 1 << 20) < 0:
        failed = ctypes.get_errno()
        raise OSError(failed, os.strerror(failed))
    return "memory that the machine cannot take back"


def raise_ceilings(_setting: Setting) -> str:
    """Time of a processor without end."""
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError as error:
        raise OSError(1, "not allowed") from error
    return "no ceiling of processor time"


def pending_signals(_setting: Setting) -> str:
    """Each signal that waits takes memory of the kernel's."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN})
    wanted = 3000
    # siginfo_t: si_signo, si_errno, si_code (SI_QUEUE)
    information = ctypes.create_string_buffer(struct.pack("=iii", signal.SIGRTMIN, 0, -1), 128)
    for _ in range(wanted):
        ctypes.set_errno(0)
        if libc.syscall(ctypes.c_long(129), os.getpid(), int(signal.SIGRTMIN), information) < 0:
            failed = ctypes.get_errno()
            raise OSError(failed, os.strerror(failed))
    return f"{wanted} signals that wait"
