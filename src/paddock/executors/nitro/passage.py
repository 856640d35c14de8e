"""The way between an instance and its enclave, both ends: an enclave has no network, only sockets to its parent instance (vsock).

    control   host to guest: one line, which addresses inside lead where; guest to host: one byte, how the program ended.
              Its end is the end of the enclave.
    launch    the program's standard input and output: the launch line in, event lines out
    way       guest to host, one connection each: to an address that the launch names, and to no other

Run as `python -I -S passage.py host PLAN` on the instance, with the launch as standard input and events as standard output, and as
`python -I -S passage.py guest` in the enclave. Both import the standard library alone: this file is copied into the image.

Nothing here is trusted by the enclave: who answers at an address is recognised by keys, as everywhere. The guest takes from its host
only numbers of the loopback network, so that a host can lead a connection astray and nothing more.

Source: vsock(7); aws/aws-nitro-enclaves-cli, src/common/mod.rs (port 9000, CID 3) and aws-nitro-enclaves-sdk-bootstrap, init/init.c
(the byte 0xB7 that `nitro-cli` waits for).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

CONTROL, LAUNCH, READY = 5006, 5005, 9000
PARENT = 3
NETWORK = "127.0.2."
MOST_WAYS = 100
_BEAT = b"\xb7"
_BLOCK_BYTES, _MAX_LINE_BYTES = 1 << 16, 1 << 16
_CONNECT_SECONDS, _HOST_SECONDS, _LAST_SECONDS, _PAUSE_SECONDS = 20.0, 120.0, 10.0, 0.1
_IDLE_SECONDS, _BETWEEN_SECONDS, _PROBES, _UNANSWERED_MILLISECONDS = 30, 10, 3, 60_000
_MOST_CONNECTIONS = 256
"""Of all ways together: each takes two descriptors, of which a process has 1024 where nobody says more."""
_INSIDE = re.compile(r"127\.0\.2\.[0-9]{1,3}")
_SIGNALLED = 128
PROGRAM = ("/usr/lib/paddock/bin/python3", "-I", "-m", "paddock.enclave")
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "HOME": "/nonexistent",
}


class Net(Protocol):
    """Sockets between an instance and its enclaves."""

    def listen(self, port: int | None) -> socket.socket:
        """Listen for the other side; None: at a port that is free."""

    def port(self, listener: socket.socket) -> int:
        """Where that one listens."""

    def accept(self, listener: socket.socket) -> tuple[socket.socket, int]:
        """A connection, and the number (CID) of who made it."""

    def connect(self, cid: int, port: int) -> socket.socket:
        """A connection to whoever has that number."""


class Vsock:
    """See `Net`."""

    def listen(self, port: int | None) -> socket.socket:
        """See `Net.listen`."""
        listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        listener.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY if port is None else port))
        listener.listen(_MOST_CONNECTIONS)
        return listener

    def port(self, listener: socket.socket) -> int:
        """See `Net.port`."""
        found: int = listener.getsockname()[1]
        return found

    def accept(self, listener: socket.socket) -> tuple[socket.socket, int]:
        """See `Net.accept`."""
        connection, (cid, _port) = listener.accept()
        return connection, int(cid)

    def connect(self, cid: int, port: int) -> socket.socket:
        """See `Net.connect`."""
        connection = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        connection.settimeout(_CONNECT_SECONDS)
        connection.connect((cid, port))
        connection.settimeout(None)
        return connection


def host(plan: Mapping[str, Any], net: Net) -> int:
    """The instance's end: serve the ways, hand the launch in and the events out, until the enclave ends.

    Args:
        plan: `cid` of the enclave; `ways`: address inside, host and port of each.
        net: how the enclave is reached.

    Returns:
        The status with which the enclave's program ended; 1 where it is not told.
    """
    cid, ways = plan["cid"], []
    room = threading.BoundedSemaphore(_MOST_CONNECTIONS)
    for inside, name, port in plan["ways"]:
        listener = net.listen(None)
        ways.append([inside, port, net.port(listener)])
        _start(_relay, net, listener, cid, (name, port), room)
    with net.connect(cid, CONTROL) as control:
        control.sendall(json.dumps({"ways": ways}).encode("ascii") + b"\n")
        with net.connect(cid, LAUNCH) as launch:
            _start(_tell, launch)
            with contextlib.suppress(OSError):
                while part := launch.recv(_BLOCK_BYTES):
                    _write(1, part)
        control.settimeout(_LAST_SECONDS)
        try:
            status = control.recv(1)
        except OSError:
            status = b""
    return status[0] if status else 1


def guest(net: Net, command: Sequence[str], environment: Mapping[str, str], seconds: float = _HOST_SECONDS) -> int:
    """The enclave's end: say that it is there, take what the host tells, run the program once.

    Args:
        net: how the host is reached.
        command: the enclave's program.
        environment: all that it gets of one.
        seconds: from the first sign until the program is started, for all of it: no host keeps an enclave for later.

    Returns:
        The program's status, as shells tell it.

    Raises:
        OSError, ValueError: the host does not come, is too slow, or tells what is no way.
    """
    end, room = time.monotonic() + seconds, threading.BoundedSemaphore(_MOST_CONNECTIONS)
    with net.listen(CONTROL) as controls, net.listen(LAUNCH) as launches:
        _report(net, end)
        with _from_parent(net, controls, end) as control:
            for inside, port, far in read_ways(_line(control, end)):
                _start(_forward, net, socket.create_server((inside, port), backlog=_MOST_CONNECTIONS), far, room)
            with _from_parent(net, launches, end) as launch:
                for each in (control, launch):
                    each.settimeout(None)
                ends = launch.fileno()
                # On that socket the enclave's program waits for its launch no longer than for any other (paddock.enclave.boot).
                program = subprocess.Popen(  # noqa: S603 - the image's own program
                    list(command), stdin=ends, stdout=ends, stderr=subprocess.DEVNULL, env=dict(environment), cwd="/"
                )
            alone = threading.Event()
            _start(_watch, control, program, alone)
            code = program.wait()
            status = code if code >= 0 else _SIGNALLED - code
            with contextlib.suppress(OSError):
                control.sendall(bytes([status & 0xFF]))
                # What was sent last is on its way still: an enclave that ended now would take it along.
                alone.wait(_LAST_SECONDS)
    return status


def read_ways(line: bytes) -> list[tuple[str, int, int]]:
    """What the host says: address and port inside, and the host's port, of each way.

    Raises:
        ValueError: it is of another form, or an address is not of the loopback network that is set aside for it.
    """
    try:
        told = json.loads(line)
        ways, found = told["ways"], []
        if len(told) != 1 or len(ways) > MOST_WAYS:
            raise ValueError
        for inside, port, far in ways:
            if not (isinstance(inside, str) and _INSIDE.fullmatch(inside) and int(inside.rpartition(".")[2]) < 255):
                raise ValueError
            if type(port) is not int or type(far) is not int or not 0 < port < 1 << 16 or not 0 < far < (1 << 32) - 1:
                raise ValueError
            found.append((inside, port, far))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError("what the host tells is no way") from error
    return found


def carry(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until both sides have ended."""
    back = _start(_copy, other, one)
    _copy(one, other)
    back.join()
    one.close()
    other.close()


def _relay(net: Net, listener: socket.socket, cid: int, far: tuple[str, int], room: threading.BoundedSemaphore) -> None:
    """Connections of this enclave, and of no other on this instance, to the one address."""

    def accept() -> socket.socket | None:
        near, who = net.accept(listener)
        if who == cid:
            return near
        near.close()
        return None

    _serve(accept, lambda: _far(far), room)


def _forward(net: Net, listener: socket.socket, far: int, room: threading.BoundedSemaphore) -> None:
    """Connections inside, to the host's port."""
    _serve(lambda: listener.accept()[0], lambda: net.connect(PARENT, far), room)


def _serve(
    accept: Callable[[], socket.socket | None], connect: Callable[[], socket.socket], room: threading.BoundedSemaphore
) -> None:
    """Carry one connection after the other on, as long as this process lives: a way that ended would not come back."""
    while True:
        try:
            near = accept()
        except OSError:  # whoever came left, or descriptors have run out for the moment
            time.sleep(_PAUSE_SECONDS)
            continue
        if near is None:
            continue
        if not room.acquire(blocking=False):
            near.close()
            continue
        try:
            _start(_carried, near, connect, room)
        except RuntimeError:  # no thread can be had
            room.release()
            near.close()


def _far(address: tuple[str, int]) -> socket.socket:
    far = socket.create_connection(address, _CONNECT_SECONDS)
    # One that is gone without a word is noticed within a minute or so, whether or not something is under way.
    far.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_SECONDS)
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _BETWEEN_SECONDS)
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNANSWERED_MILLISECONDS)
    return far


def _carried(near: socket.socket, connect: Callable[[], socket.socket], room: threading.BoundedSemaphore) -> None:
    try:
        far = connect()
        far.settimeout(None)
        carry(near, far)
    except (OSError, RuntimeError):
        near.close()  # whoever asked sees that nobody answers
    finally:
        room.release()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while part := source.recv(_BLOCK_BYTES):
            sink.sendall(part)
    except OSError:
        pass
    for each, how in ((sink, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with contextlib.suppress(OSError):
            each.shutdown(how)


def _tell(launch: socket.socket) -> None:
    # Not its end: the enclave reads one line, and the end of this connection would be that of its events.
    with contextlib.suppress(OSError):
        while part := os.read(0, _BLOCK_BYTES):
            launch.sendall(part)


def _report(net: Net, end: float) -> None:
    with net.connect(PARENT, READY) as beat:
        beat.settimeout(_left(end))
        beat.sendall(_BEAT)
        if beat.recv(1) != _BEAT:
            raise OSError("the host does not answer")


def _from_parent(net: Net, listener: socket.socket, end: float) -> socket.socket:
    listener.settimeout(_left(end))  # a host that died at the wrong moment leaves no enclave behind
    connection, who = net.accept(listener)
    if who != PARENT:
        connection.close()
        raise OSError("somebody else than the host")
    return connection


def _line(source: socket.socket, end: float) -> bytes:
    """One line, behind which the host says nothing."""
    line = bytearray()
    while not line.endswith(b"\n"):
        source.settimeout(_left(end))
        part = source.recv(_BLOCK_BYTES)
        line += part
        if not part or len(line) > _MAX_LINE_BYTES or b"\n" in part[:-1]:
            raise ValueError("what the host tells is no line")
    return bytes(line)


def _left(end: float) -> float:
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the host is too slow")
    return seconds


def _watch(control: socket.socket, program: subprocess.Popen[bytes], alone: threading.Event) -> None:
    # The host says nothing more: what comes is its end, and with it that of the run.
    with contextlib.suppress(OSError):
        control.recv(1)
    alone.set()
    program.kill()


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _start(function: Callable[..., None], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


def main(arguments: Sequence[str]) -> int:
    """Be one of the two ends."""
    match arguments:
        case ["host", plan]:
            return host(json.loads(plan), Vsock())
        case ["guest"]:
            return guest(Vsock(), PROGRAM, ENVIRONMENT)
        case _:
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
