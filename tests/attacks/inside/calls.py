"""System calls by number, for attacks that no library offers. x86-64, as PaddlePaddle."""

from __future__ import annotations

import ctypes
import errno
import os

libc = ctypes.CDLL(None, use_errno=True)
POINTER = ctypes.c_void_p


def call(number: int, *arguments: object) -> int:
    """One system call.

    Raises:
        OSError: it failed.
    """
    ctypes.set_errno(0)
    result: int = libc.syscall(ctypes.c_long(number), *(_long(each) for each in arguments))
    if result < 0:
        failed = ctypes.get_errno()
        raise OSError(failed, os.strerror(failed))
    return result


def _long(value: object) -> object:
    return ctypes.c_long(value) if isinstance(value, int) else value


def enters(number: int, *arguments: object) -> str:
    """Reach the kernel's code behind a call that is filtered by ending whoever makes it: any answer is the kernel's own.

    That the kernel refuses by a check of its own is luck of a later line: what is behind the call is what an attacker
    wants to reach.
    """
    try:
        return f"the kernel's answer {call(number, *arguments)}"
    except OSError as error:
        return f"the kernel's own answer {errno.errorcode.get(error.errno or 0)}"
