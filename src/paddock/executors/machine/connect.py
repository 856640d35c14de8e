"""One run's connection to a machine that systemd serves: what comes in on standard input goes there, what comes from there goes out.

Run as `python -I -S connect.py FAMILY HOST PORT SECONDS REFUSED SILENT`; the last two are the lines that it says where nobody answers, or nothing is
said for so many seconds at the beginning. The connection stays open both ways until one of the two ends: for the enclave, the end of either
direction is the end of its run.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import threading

_BLOCK_BYTES = 1 << 16
_CONNECT_SECONDS = 20.0
_IDLE_SECONDS, _BETWEEN_SECONDS, _PROBES, _UNANSWERED_MILLISECONDS = 30, 10, 3, 60_000


def main(arguments: list[str]) -> int:
    """Carry bytes both ways until the machine, or whoever started this, ends."""
    family, host, port, seconds, refused, silent = arguments
    try:
        far = _connect(family, host, int(port))
    except OSError:
        return _say(refused)
    threading.Thread(target=_outward, args=(far,), daemon=True).start()
    try:
        if not select.select([far], [], [], float(seconds))[0]:
            return _say(silent)
        while part := far.recv(_BLOCK_BYTES):
            _write(part)
    except OSError:
        return 1
    return 0


def _connect(family: str, host: str, port: int) -> socket.socket:
    if family == "vsock":
        far = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        far.settimeout(_CONNECT_SECONDS)
        far.connect((int(host), port))
    else:
        far = socket.create_connection((host, port), _CONNECT_SECONDS)
        # A machine that is gone without a word is noticed within a minute or so, whether or not something is under way.
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
    except OSError:
        # What is read of the connection ends as well, and that ends the run.
        with contextlib.suppress(OSError):
            far.shutdown(socket.SHUT_RDWR)


def _say(line: str) -> int:
    _write(line.encode("utf-8") + b"\n")
    return 1


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
