"""Passes the question of one run on to a simulator: in Gramine no Unix socket of the host can be reached, loopback can.

Every program of this machine can connect to loopback, the simulator's socket is its user's own: so each run has a token, in the
launch that only it reads. What is passed through needs no secrecy and proves itself, or does not.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
import socket
import threading
from pathlib import Path

from paddock.errors import ExecutorFailed

_QUESTION_BYTES = 4096
_TIMEOUT_SECONDS = 120.0
_BLOCK_BYTES = 1 << 16


class Relay:
    """Listens on loopback until it is closed.

    Args:
        target: the simulator's socket.

    Raises:
        ExecutorFailed: nothing can listen.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._token = secrets.token_hex(32)
        try:
            self._listener = socket.create_server(("127.0.0.1", 0))
        except OSError as error:
            raise ExecutorFailed("Nothing could be opened on loopback for the simulator.") from error
        self.address = f"loopback:{self._listener.getsockname()[1]}:{self._token}"
        """What a launch names as its attester."""
        threading.Thread(target=self._serve, name="relay", daemon=True).start()

    def close(self) -> None:
        """Stop listening. Connections that are open end by themselves."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for a connection
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), name="relayed", daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError), connection:
            connection.settimeout(_TIMEOUT_SECONDS)
            with connection.makefile("rb") as lines:
                question = json.loads(lines.readline(_QUESTION_BYTES))
            if not hmac.compare_digest(str(question["token"]).encode(), self._token.encode()):
                return
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as simulator:
                simulator.settimeout(_TIMEOUT_SECONDS)
                simulator.connect(str(self._target))
                asked = {"report_data": str(question["report_data"])}
                simulator.sendall(json.dumps(asked).encode() + b"\n")
                while part := simulator.recv(_BLOCK_BYTES):
                    connection.sendall(part)
