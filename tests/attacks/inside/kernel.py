"""Doors of the kernel that no training needs."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
import time

from calls import call, enters, libc  # type: ignore[import-not-found]
from runner import Nothing, Setting  # type: ignore[import-not-found]

_NEW_USER = 0x10000000
_NEW_NET = 0x40000000


def new_user_namespace(_setting: Setting) -> str:
    call(272, _NEW_USER)
    return "all capabilities of a namespace of its own"


def cloned_namespace(_setting: Setting) -> str:
    if call(56, _NEW_USER | 17, 0, 0, 0, 0) == 0:
        os._exit(0)
    return "a child in a namespace of its own"


def cloned_namespace_by_new_call(_setting: Setting) -> str:
    arguments = (ctypes.c_uint64 * 11)(_NEW_USER, 0, 0, 0, 17)
    if call(435, arguments, 88) == 0:
        os._exit(0)
    return "the same, with its flags where no filter sees them"


def enter_namespace(_setting: Setting) -> str:
    return f"entered: {call(308, os.open('/proc/self/ns/net', os.O_RDONLY), _NEW_NET)}"


def gain_capabilities(_setting: Setting) -> str:
    with open("/proc/self/status", encoding="ascii") as rows:  # noqa: PTH123 - no more imports than needed
        held = next(row.split()[1] for row in rows if row.startswith("CapEff"))
    if int(held, 16):
        return f"capabilities {held}"
    raise Nothing("none")


def change_user(_setting: Setting) -> str:
    call(117, 1000, 1000, 1000)  # setresuid: the identity it has, so that what is shown is that it may ask
    return "a change of identity"


def change_host_name(_setting: Setting) -> str:
    return f"renamed: {call(170, b'other', 5)}"


def set_clock(_setting: Setting) -> str:
    """The time that it is, so that the machine's is not changed where it succeeds."""
    now = time.clock_gettime_ns(time.CLOCK_REALTIME)
    ctypes.set_errno(0)
    libc.syscall(
        ctypes.c_long(305), ctypes.c_long(0), (ctypes.c_long * 26)(0)
    )  # clock_adjtime, changes nothing: reads what the machine's clock is adjusted by
    failed = ctypes.get_errno()
    if failed:
        raise OSError(failed, os.strerror(failed))
    return f"how the machine keeps its time, at {now}"


def io_uring(_setting: Setting) -> str:
    return f"ring {call(425, 1, ctypes.create_string_buffer(120))}: calls that no filter sees"


def user_fault(_setting: Setting) -> str:
    return f"descriptor {call(323, 1)}: it can stop the kernel in the middle of a copy"


def secret_memory(_setting: Setting) -> str:
    return f"descriptor {call(447, 0)}: memory that the supervisor cannot see"


def memory_file(_setting: Setting) -> str:
    return f"descriptor {call(319, b'file', 0)}: files beyond the limits of folders"


def kernel_program(_setting: Setting) -> str:
    return enters(321, 7, ctypes.create_string_buffer(64), 64)  # BPF_OBJ_GET


def performance_events(_setting: Setting) -> str:
    """Reached if the kernel looks at what is asked for: its size is wrong."""
    try:
        call(298, (ctypes.c_uint32 * 32)(0, 1), 0, -1, -1, 0)
    except OSError as error:
        if error.errno == 7:  # E2BIG
            return "the kernel's own answer E2BIG"
        raise
    return "counters of the processor"


def other_kernel(_setting: Setting) -> str:
    return enters(246, 0, 99, 0, 0)  # kexec_load of too many segments


def kernel_module(_setting: Setting) -> str:
    return enters(175, 0, 0, 0)


def swap(_setting: Setting) -> str:
    return enters(168, b"/nowhere")  # swapoff


def ports(_setting: Setting) -> str:
    return enters(172, 4)  # iopl beyond what there is


def segments(_setting: Setting) -> str:
    return enters(154, 99, 0, 0)  # modify_ldt of no known function


def no_randomisation(_setting: Setting) -> str:
    call(135, 0x0040000)
    return "addresses that are the same every time"


def calls_of_i386(_setting: Setting) -> str:
    """`int 0x80`: the same numbers mean other calls there."""
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid); int 0x80; ret
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    return f"process {ctypes.CFUNCTYPE(ctypes.c_int)(address)()} by another table of calls"


def calls_of_x32(_setting: Setting) -> str:
    return enters(0x40000000 + 39)


def compare_kernel_addresses(_setting: Setting) -> str:
    return f"order of two objects: {call(312, os.getpid(), os.getpid(), 0, 0, 1)}"


def dumpable_again(_setting: Setting) -> str:
    call(157, 4, 1, 0, 0, 0)
    return "what had been forbidden to look at"


def disk_flush(_setting: Setting) -> str:
    call(162)
    return "the machine's disks were made to write everything"


def lock_seen_by_others(_setting: Setting) -> str:
    """A file of the installation: every job of the machine reads the same one."""
    file = os.open(struct.__file__, os.O_RDONLY)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return "a lock on a file of the machine, which another job hears"


def locks_of_others(_setting: Setting) -> str:
    asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
    fcntl.fcntl(os.open(os.__file__, os.O_RDONLY), fcntl.F_GETLK, asked)
    return "whether another job holds a lock on a file that both only read"


def lease(_setting: Setting) -> str:
    file = os.open("leased", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    return "a file that holds up whoever opens it"


def huge_pages(_setting: Setting) -> str:
    """Reached if the kernel looks for them: there may be none."""
    try:
        call(9, 0, 2 << 20, 3, 0x40022, -1, 0)
    except OSError as error:
        if error.errno == 12:  # ENOMEM
            return "the kernel's own answer ENOMEM"
        raise
    return "pages of the machine that no ceiling counts"
