"""A job that tries to get out: what `paddock demo attacks` runs, behind walls and without.

    python -I -m paddock.samples.malicious_job CHANNEL TRY [ARGUMENT…]

It writes one JSON line to the descriptor CHANNEL: what it got, or the name of the error that stopped it (`NOTHING`: what it
looked for is not there). None of it does any harm: what it reads, it was told to read; what it starts, it ends; what it is given, it gives back.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import mmap
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_SECONDS = 10.0


def network(port: str) -> str:
    """Talk to a server of the machine."""
    with socket.create_connection(("127.0.0.1", int(port)), timeout=_SECONDS) as connection:
        return f"an answer from port {port}: {connection.recv(100).decode('utf-8', 'replace')!r}"


def files(path: str) -> str:
    """Read a file of the machine."""
    return f"{len(Path(path).read_bytes())} bytes of {Path(path).name}"


def supervisor(pid: str) -> str:
    """Send a signal to the process that started it: number 0, which asks only whether it could."""
    os.kill(int(pid), 0)
    return f"the right to send signals to process {pid}"


def environment(name: str) -> str:
    """Look for a secret of the service in its environment."""
    if name not in os.environ:
        raise LookupError("no variable of that name")
    return f"{len(os.environ[name])} characters of {name}"


def processes(wanted: str) -> str:
    """Start many processes at once."""
    children: list[int] = []
    waiting, ending = os.pipe()
    try:
        while len(children) < int(wanted):
            child = os.fork()
            if child == 0:
                os.close(ending)
                os.read(waiting, 1)
                os._exit(0)
            children.append(child)
    finally:
        os.close(ending)  # whereupon each of them ends
        os.close(waiting)
        for child in children:
            os.waitpid(child, 0)
    return f"{len(children)} processes at once"


def memory(wanted: str) -> str:
    """Be given a lot of memory, and touch none of it."""
    with contextlib.closing(mmap.mmap(-1, int(wanted), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)):
        return f"{int(wanted) >> 20} MiB of memory"


def namespace() -> str:
    """Become root of a namespace of its own, from where the kernel has more doors."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    return "a user namespace of its own"


TRIES: Mapping[str, Callable[..., str]] = {
    each.__name__: each for each in (network, files, supervisor, environment, processes, memory, namespace)
}


def main() -> int:
    """Try one and tell."""
    channel, name, *arguments = sys.argv[1:]
    told: dict[str, str]
    try:
        told = {"got": TRIES[name](*arguments)}
    except OSError as error:
        told = {"refused": errno.errorcode.get(error.errno or 0, "OSERROR"), "said": error.strerror or ""}
    except LookupError as error:
        told = {"refused": "NOTHING", "said": str(error)}
    except MemoryError:
        told = {"refused": "ENOMEM", "said": "memory"}
    os.write(int(channel), json.dumps(told).encode("ascii") + b"\n")
    return 0


if __name__ == "__main__":
    signal.alarm(30)
    sys.exit(main())
