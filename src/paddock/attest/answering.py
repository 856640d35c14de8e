"""Software that attests: a process with a key of its own, which measures the runtime and answers on a Unix socket.

Requests and answers are those of `unix.py`. Hosts and simulators answer this way.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from paddock.crypto.signing import SigningKey
from paddock.evidence.binding import REPORT_DATA_BYTES
from paddock.evidence.claims import UnverifiedEvidence
from paddock.evidence.measurement import RuntimeStamp, measure_runtime

_MAX_REQUEST_BYTES = 4096
_REQUEST_SECONDS = 30.0
_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid (unix(7))


class RuntimeWatch:
    """The runtime's measurement, made once and again whenever a file of it was touched."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runtime = RuntimeStamp()
        self._stamp = self._measurement = ""

    def measurement(self) -> str:
        """As it is now."""
        with self._lock:
            stamp = self._runtime.now()
            if stamp != self._stamp:
                self._measurement = measure_runtime().digest
                self._stamp = stamp
            return self._measurement


def load_key(path: Path) -> SigningKey:
    """The key in a file; made at first use, readable by its owner alone."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(SigningKey.generate().seed().hex() + "\n")
    return SigningKey(bytes.fromhex(path.read_text(encoding="ascii").strip()))


def answer(
    path: Path,
    evidence: Callable[[bytes], UnverifiedEvidence],
    *,
    ready: Mapping[str, object],
    admits: Callable[[int, int], bool],
    until: Callable[[], object],
) -> None:
    """Answer requests for evidence until `until` returns; prints `ready` as one JSON line when it can be asked.

    Args:
        path: the Unix socket, for this user alone.
        evidence: over 64 bytes of report data.
        ready: what whoever started this process reads.
        admits: whether a peer is answered, by its process and user.
        until: waits for the end.
    """
    path.unlink(missing_ok=True)
    with _Server(str(path), _Connection) as server:
        path.chmod(0o600)
        server.evidence, server.admits = evidence, admits
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        until()
        server.shutdown()
    path.unlink(missing_ok=True)


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Process and user at the other end of a Unix socket, as the kernel says; a process of other walls may be 0."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(found)
    return pid, uid


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    evidence: Callable[[bytes], UnverifiedEvidence]
    admits: Callable[[int, int], bool]


class _Connection(socketserver.StreamRequestHandler):
    timeout = _REQUEST_SECONDS

    def handle(self) -> None:
        """Answer one request line."""
        server = self.server
        if not isinstance(server, _Server):
            raise TypeError("this handler serves attesters only")
        told: dict[str, object]
        try:
            if not server.admits(*peer_of(self.request)):
                raise PermissionError
            request = json.loads(self.rfile.readline(_MAX_REQUEST_BYTES))
            report_data = bytes.fromhex(request["report_data"])
            if len(report_data) != REPORT_DATA_BYTES:
                raise ValueError
            told = {"evidence": server.evidence(report_data).to_wrapper()}
        except (ValueError, KeyError, TypeError, OSError) as error:
            told = {"error": type(error).__name__}
        self.wfile.write(json.dumps(told).encode("ascii") + b"\n")
