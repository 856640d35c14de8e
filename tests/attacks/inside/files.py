"""Files of the machine, of the image, of other runs; and files that are more than files."""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import sys

from calls import call, enters, libc  # type: ignore[import-not-found]
from runner import Nothing, Setting  # type: ignore[import-not-found]


def _opened(setting: Setting, name: str, flags: int) -> int:
    path = setting[name]
    try:
        return os.open(f"/host{path}", flags)
    except FileNotFoundError:
        return os.open(path, flags)


def _read(setting: Setting, name: str) -> str:
    return os.read(_opened(setting, name, os.O_RDONLY), 100).decode()


def host_file(setting: Setting) -> str:
    return _read(setting, "file")


def private_host_file(setting: Setting) -> str:
    return _read(setting, "private")


def host_shared_memory(setting: Setting) -> str:
    return _read(setting, "shared")


def write_host_file(setting: Setting) -> str:
    return f"{os.write(_opened(setting, 'writable', os.O_WRONLY), b'changed')} bytes written"


def _write_and_remove(path: str) -> str:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.unlink(path)  # noqa: PTH108 - no more imports than needed
    return f"a file of its own in the image: {os.path.basename(path)}"  # noqa: PTH119 - as above


def write_image(setting: Setting) -> str:
    """A .pth file is read by every Python that is started from then on."""
    return _write_and_remove(f"{setting['packages']}/attack-{os.getpid()}.pth-")


def write_cache(_setting: Setting) -> str:
    """Compiled code is taken for the module's, if its time and size fit."""
    folder = os.path.join(os.path.dirname(os.__file__), "__pycache__")  # noqa: PTH118, PTH120 - no more imports
    return _write_and_remove(f"{folder}/attack-{os.getpid()}.pyc-")


def write_input(_setting: Setting) -> str:
    path = f"/inputs/attacks/attack-{os.getpid()}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.unlink(path)  # noqa: PTH108 - no more imports than needed
    return "a file of its own in an input"


def own_program(_setting: Setting) -> str:
    with open("program", "w", encoding="ascii") as file:  # noqa: PTH123 - no more imports than needed
        file.write("#!/bin/sh\nexit 0\n")
    os.chmod("program", 0o700)  # noqa: PTH101 - as above
    if os.waitpid(os.posix_spawn("./program", ["program"], {}), 0)[1] == 0:
        return "a program that it brought along ran"
    raise Nothing("it did not run")


def program_in_memory(_setting: Setting) -> str:
    memory = call(319, b"program", 0)
    os.write(memory, b"#!/bin/sh\nexit 0\n")
    child = os.fork()
    if child == 0:
        os.execv(f"/proc/self/fd/{memory}", ["program"])
    return "a program without a file"


def set_user_id(_setting: Setting) -> str:
    os.close(os.open("program", os.O_CREAT | os.O_WRONLY, 0o700))
    os.chmod("program", 0o4755)  # noqa: PTH101 - no more imports than needed
    return stat.filemode(os.stat("program").st_mode)  # noqa: PTH116 - as above


def set_user_id_at_birth(_setting: Setting) -> str:
    os.umask(0)
    os.close(os.open("program", os.O_CREAT | os.O_WRONLY, 0o4755))
    return stat.filemode(os.stat("program").st_mode)  # noqa: PTH116 - no more imports than needed


def device_node(_setting: Setting) -> str:
    os.mknod("node", stat.S_IFCHR | 0o600, 0)
    return "a device node"


def terminal_device(_setting: Setting) -> str:
    os.close(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
    return "a device that it was not given"


def named_pipe(_setting: Setting) -> str:
    os.mkfifo("pipe")
    return "a pipe that whoever opens the outputs waits for"


def socket_file(_setting: Setting) -> str:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind("socket")
        return "a socket among the outputs"


def extended_attribute(_setting: Setting) -> str:
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o600))
    os.setxattr("file", "user.hidden", b"secret" * 100)
    return "data where nobody counts them"


def inherited_descriptor(setting: Setting) -> str:
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names alone
        number = int(name)
        try:
            if number > 3 and (told := os.pread(number, 100, 0)) == setting["secret"].encode():
                return told.decode()
        except OSError:
            continue
    raise Nothing("none but its own")


def inherited_environment(setting: Setting) -> str:
    for value in os.environ.values():
        if value == setting["secret"]:
            return value
    raise Nothing("a fixed list")


def file_handle(_setting: Setting) -> str:
    handle = ctypes.create_string_buffer(136)
    ctypes.memmove(handle, (ctypes.c_uint * 1)(128), 4)
    mount = ctypes.c_int()
    call(303, -100, sys.executable.encode(), handle, ctypes.byref(mount), 0)
    return f"a handle of {handle.raw[0]} bytes, good beyond every folder"


def open_by_handle(_setting: Setting) -> str:
    return str(enters(304, 3, ctypes.create_string_buffer(136), 0))


def dumped_memory(_setting: Setting) -> str:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
    child = os.fork()
    if child == 0:
        os.abort()
    if os.WCOREDUMP(os.waitpid(child, 0)[1]):
        return "its memory, in a file of the kernel's making"
    raise Nothing("no dump")


def new_root(_setting: Setting) -> str:
    os.mkdir("root")  # noqa: PTH102 - no more imports than needed
    os.chroot("root")
    return "another root"


def mount(_setting: Setting) -> str:
    ctypes.set_errno(0)
    if libc.mount(b"none", b".", b"tmpfs", 0, None) < 0:
        failed = ctypes.get_errno()
        raise OSError(failed, os.strerror(failed))
    return "a file system of its own"


def unmount(_setting: Setting) -> str:
    ctypes.set_errno(0)
    if libc.umount2(b"/dev/shm", 2) < 0:
        failed = ctypes.get_errno()
        raise OSError(failed, os.strerror(failed))
    return "what a mount had covered"


def pivot(_setting: Setting) -> str:
    os.chdir("/outputs")
    call(155, b".", b".")
    return "the outputs as the root"


def clone_mounts(_setting: Setting) -> str:
    return f"tree {call(428, -100, b'/', 1)}"  # open_tree, OPEN_TREE_CLONE
