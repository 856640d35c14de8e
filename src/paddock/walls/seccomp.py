"""The filter of system calls, compiled by libseccomp. A thin binding: one context, rules, the program's bytes.

Source: libseccomp's manual pages seccomp_init(3), seccomp_rule_add(3), seccomp_attr_set(3), seccomp_export_bpf(3).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from paddock.errors import WallsUnavailable
from paddock.walls.syscalls import ALLOWED, CONDITIONAL, KILLED, REFUSED, Where

_LIBRARY = "libseccomp.so.2"
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_ALLOW = 0x7FFF0000
_ATTRIBUTE_BAD_ARCHITECTURE = 2
_ATTRIBUTE_NO_NEW_PRIVILEGES = 3
_ATTRIBUTE_OPTIMISE = 8
_BINARY_TREE = 2
_MASKED_EQUAL = 7


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


@cache
def library() -> ctypes.CDLL:
    """libseccomp, with the types of the functions used here.

    Raises:
        WallsUnavailable: it is not installed.
    """
    try:
        found = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise WallsUnavailable("libseccomp is not installed (Debian: apt-get install libseccomp2).") from error
    found.seccomp_init.argtypes = (ctypes.c_uint32,)
    found.seccomp_init.restype = ctypes.c_void_p
    found.seccomp_release.argtypes = (ctypes.c_void_p,)
    found.seccomp_release.restype = None
    found.seccomp_attr_set.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32)
    found.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
    found.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_void_p,
    )
    found.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    return found


@cache
def compiled_filter() -> bytes:
    """The filter as the program that the kernel takes (W-5).

    Raises:
        WallsUnavailable: libseccomp is missing, or too old for a rule.
    """
    with _context() as context:
        # Calls of another architecture (i386, x32) mean something else by the same numbers: the process is ended.
        _done(library().seccomp_attr_set(context, _ATTRIBUTE_BAD_ARCHITECTURE, _KILL_PROCESS))
        _done(library().seccomp_attr_set(context, _ATTRIBUTE_NO_NEW_PRIVILEGES, 0))
        # Faster, and newer than the rest: a library without it makes a longer program of the same meaning.
        library().seccomp_attr_set(context, _ATTRIBUTE_OPTIMISE, _BINARY_TREE)
        for name in sorted(ALLOWED):
            _add(context, _ALLOW, name)
        for name, alternatives in sorted(CONDITIONAL.items()):
            for conditions in alternatives:
                _add(context, _ALLOW, name, conditions)
        for name in sorted(REFUSED):
            _add(context, _ERRNO | errno.EPERM, name)
        for name in sorted(KILLED):
            _add(context, _KILL_PROCESS, name)
        return _exported(context)


@contextmanager
def _context() -> Iterator[int]:
    context = library().seccomp_init(_ERRNO | errno.ENOSYS)
    if not context:
        raise WallsUnavailable("libseccomp gives no filter.")
    try:
        yield context
    finally:
        library().seccomp_release(context)


def _add(context: int, action: int, name: str, conditions: Sequence[Where] = ()) -> None:
    number = library().seccomp_syscall_resolve_name(name.encode("ascii"))
    if number < 0:
        return  # not a call of this architecture, or newer than the library: ENOSYS like all that is not named
    rows = (_Comparison * len(conditions))(
        *(_Comparison(each.argument, _MASKED_EQUAL, each.mask, each.value) for each in conditions)
    )
    _done(library().seccomp_rule_add_array(context, action, number, len(conditions), rows))


def _exported(context: int) -> bytes:
    with os.fdopen(os.memfd_create("filter", os.MFD_CLOEXEC), "rb") as file:
        _done(library().seccomp_export_bpf(context, file.fileno()))
        file.seek(0)
        return file.read()


def _done(result: int) -> None:
    if result != 0:
        raise WallsUnavailable(f"libseccomp refuses a rule (error {-result}).")
