"""One connection of a machine, carried on: QEMU starts this for each, with the connection as standard input and output.

Run as `python -I -S relay.py HOST PORT`. It says nothing of its own: what it wrote would reach the machine.
"""

from __future__ import annotations

import os
import socket
import sys
import threading

_BLOCK_BYTES = 1 << 16
_CONNECT_SECONDS = 20.0
_IDLE_SECONDS, _BETWEEN_SECONDS, _PROBES, _UNANSWERED_MILLISECONDS = 30, 10, 3, 60_000


def main(host: str, port: str) -> int:
    """Carry bytes both ways until both sides have ended."""
    try:
        far = _connect(host, int(port))
    except OSError:
        return 1
    outward = threading.Thread(target=_outward, args=(far,), daemon=True)
    outward.start()
    try:
        while part := far.recv(_BLOCK_BYTES):
            _write(1, part)
    except OSError:
        pass
    # Who asked hears nothing more, so whatever it still wants to say is of no use.
    return 0


def _connect(host: str, port: int) -> socket.socket:
    far = socket.create_connection((host, port), _CONNECT_SECONDS)
    # One that is gone without a word is noticed within a minute or so, whether or not something is under way: else its process stays.
    far.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_SECONDS)
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _BETWEEN_SECONDS)
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNANSWERED_MILLISECONDS)
    far.settimeout(None)
    return far


def _outward(far: socket.socket) -> None:
    try:
        while part := os.read(0, _BLOCK_BYTES):
            far.sendall(part)
        far.shutdown(socket.SHUT_WR)
    except OSError:
        far.close()


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
