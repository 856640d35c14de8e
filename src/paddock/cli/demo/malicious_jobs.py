"""What a malicious job tries, once without walls, as at level 1, and once behind them, as at levels 2 to 4."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock.walls import Ceilings, start_walled

_MODULE = "paddock.samples.malicious_job"
_SECONDS = 60.0
_CEILINGS = Ceilings(memory_bytes=512 << 20, processes=16, file_bytes=16 << 20, scratch_bytes=16 << 20, cpu_seconds=30)
_SECRET = "PADDOCK_DEMO_SECRET"  # noqa: S105 - a name; its value is random


@dataclass(frozen=True)
class JobAttack:
    """One try of `paddock.samples.malicious_job`.

    Args:
        id: as in docs/attacks.md.
        tried: what it does.
        rules: of docs/spec/walls.md.
        name: of the try.
        arguments: for it, made of the demo's folder.
    """

    id: str
    tried: str
    rules: str
    name: str
    arguments: Callable[[Path, int], tuple[str, ...]]


JOB_ATTACKS = (
    JobAttack(
        "job-tcp",
        "A job opens a connection to a server of the machine, to send out what it read.",
        "W-1, W-5",
        "network",
        lambda _folder, port: (str(port),),
    ),
    JobAttack(
        "job-private-host-file",
        "A job reads a party's private key from the machine's disk.",
        "W-2, W-6",
        "files",
        lambda folder, _port: (str(folder / "north" / "keys.json"),),
    ),
    JobAttack(
        "job-signal-supervisor",
        "A job sends a signal to the process that started it.",
        "W-1",
        "supervisor",
        lambda _folder, _port: (str(os.getpid()),),
    ),
    JobAttack(
        "job-environment-secret",
        "A job looks for the service's secrets in its environment.",
        "W-4",
        "environment",
        lambda _folder, _port: (_SECRET,),
    ),
    JobAttack(
        "job-fork-bomb",
        "A job starts 64 processes at once, where 16 were signed.",
        "W-7",
        "processes",
        lambda _folder, _port: ("64",),
    ),
    JobAttack(
        "job-memory-bomb",
        "A job asks for 2 GiB of memory, where 512 MiB were signed.",
        "W-7",
        "memory",
        lambda _folder, _port: (str(2 << 30),),
    ),
    JobAttack(
        "job-user-namespace",
        "A job makes a user namespace of its own, from where the kernel has more doors.",
        "W-1, W-5",
        "namespace",
        lambda _folder, _port: (),
    ),
)


@dataclass(frozen=True)
class JobTold:
    """What became of one try: what it got, or the error or signal that stopped it."""

    got: str
    code: str
    said: str


def try_job(attack: JobAttack, folder: Path) -> tuple[JobTold, JobTold]:
    """One attack, first without walls and then behind them.

    Raises:
        WallsUnavailable: this machine cannot build them.
    """
    with _service() as port, _secret():
        arguments = attack.arguments(folder, port)
        return _without_walls(attack.name, arguments), _behind_walls(attack.name, arguments)


@contextmanager
def _service() -> Iterator[int]:
    """Something that listens on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            try:
                while True:
                    with listening.accept()[0] as connection:
                        connection.sendall(b"send it to me")
            except OSError:  # closed: the attack is over
                return

        threading.Thread(target=answer, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


@contextmanager
def _secret() -> Iterator[None]:
    os.environ[_SECRET] = secrets.token_hex(16)
    try:
        yield
    finally:
        del os.environ[_SECRET]


def _without_walls(name: str, arguments: tuple[str, ...]) -> JobTold:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            descriptor = theirs.fileno()
            command = [sys.executable, "-I", "-m", _MODULE, str(descriptor), name, *arguments]
            job = subprocess.Popen(command, pass_fds=[descriptor], stdin=subprocess.DEVNULL)  # noqa: S603 - ours
        return _told(ours, lambda: job.wait(_SECONDS))


def _behind_walls(name: str, arguments: tuple[str, ...]) -> JobTold:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            job = start_walled(_MODULE, ["3", name, *arguments], channel=theirs, bindings=(), ceilings=_CEILINGS)
        try:
            return _told(ours, lambda: job.wait(_SECONDS))
        finally:
            job.kill()


def _told(channel: socket.socket, wait: Callable[[], int]) -> JobTold:
    channel.settimeout(_SECONDS)
    line = b""
    while part := channel.recv(4096):
        line += part
    status = abs(wait())
    if not line:  # ended before it could say anything
        number = status - 128 if status > 128 else status
        name = signal.Signals(number).name if number in set(signal.Signals) else f"exit code {status}"
        return JobTold("", name, "The kernel ended the job.")
    told: Mapping[str, Any] = json.loads(line)
    return JobTold(told.get("got", ""), told.get("refused", ""), told.get("said", ""))
