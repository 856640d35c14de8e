"""Frames on the one socket between a job and its supervisor: a kind, a length, that many bytes. No more, no pickle.

Source: docs/spec/gateway.md §2.
"""

from __future__ import annotations

import enum
import json
import selectors
import socket
import struct
from collections.abc import Callable
from typing import Any

from paddock.errors import GatewayBreached, JobEnded
from paddock.gateway.strict import Buffer, read_strictly

_HEAD = struct.Struct(">BI")
_WAIT_SECONDS = 0.2
PIECE_BYTES = 4 << 20
"""Of content in one frame, either way."""
JSON_BYTES = 64 << 10
"""Of a JSON message from the job."""
TASK_BYTES = 8 << 20
"""Of a JSON message to the job: parameters, and pages of file lists."""


class Kind(enum.IntEnum):
    """What a frame is. Those below 128 come from the job."""

    HELLO = 1
    LIST = 2
    READ = 3
    PROGRESS = 4
    DUE = 5
    OUTPUT = 6
    STATE = 7
    FILE = 8
    PIECE = 9
    CLOSE = 10
    END = 11
    FAILED = 12
    TASK = 128
    LISTED = 129
    CONTENT = 130
    ANSWER = 131


MOST_BYTES = {
    Kind.HELLO: JSON_BYTES,
    Kind.LIST: 12,
    Kind.READ: 24,
    Kind.PROGRESS: JSON_BYTES,
    Kind.DUE: 0,
    Kind.OUTPUT: JSON_BYTES,
    Kind.STATE: 0,
    Kind.FILE: JSON_BYTES,
    Kind.PIECE: PIECE_BYTES,
    Kind.CLOSE: 0,
    Kind.END: 0,
    Kind.FAILED: JSON_BYTES,
    Kind.TASK: TASK_BYTES,
    Kind.LISTED: TASK_BYTES,
    Kind.CONTENT: PIECE_BYTES,
    Kind.ANSWER: 1,
}
"""Of each kind's payload; what would be longer is refused by its head, before any of it is taken."""


class Link:
    """One end of the socket.

    Args:
        channel: a stream socket; this end has it alone.
        idle: called at least every 0.2 s while the other side is waited for; raises to give up.
    """

    def __init__(self, channel: socket.socket, idle: Callable[[], None] | None = None) -> None:
        self._channel = channel
        self._idle = idle
        self._waiting = selectors.DefaultSelector()
        channel.setblocking(idle is None)
        self._events = 0

    def send(self, kind: Kind, *payload: Buffer) -> None:
        """Send one frame, whose payload is these pieces one after another.

        Raises:
            JobEnded: the other side is gone.
        """
        length = sum(len(each) for each in payload)
        if length > MOST_BYTES[kind]:
            raise ValueError("a frame that no reader takes")
        for each in (_HEAD.pack(kind, length), *payload):
            self._send_all(memoryview(each))

    def receive(self) -> tuple[Kind, bytearray]:
        """The next frame.

        Raises:
            GatewayBreached: a kind that does not exist, or longer than its kind may be (W-12).
            JobEnded: the other side is gone.
        """
        number, length = _HEAD.unpack(self._exactly(_HEAD.size))
        try:
            kind = Kind(number)
        except ValueError:
            raise GatewayBreached("A frame of no known kind.") from None
        if length > MOST_BYTES[kind]:  # W-12
            raise GatewayBreached(f"A frame of kind {kind.name} with {length} bytes.")
        return kind, self._exactly(length)

    def _exactly(self, length: int) -> bytearray:
        content = bytearray(length)
        view = memoryview(content)
        while view:
            try:
                count = self._channel.recv_into(view)
            except BlockingIOError:
                self._wait(selectors.EVENT_READ)
                continue
            except ConnectionError:
                count = 0
            if not count:
                raise JobEnded
            view = view[count:]
            self._breathe()
        return content

    def _send_all(self, view: memoryview) -> None:
        while view:
            try:
                view = view[self._channel.send(view, socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                self._wait(selectors.EVENT_WRITE)
            except ConnectionError:
                raise JobEnded from None

    def _breathe(self) -> None:
        # W-11: a job that never stops sending must not keep its supervisor from noticing that the run is over.
        if self._idle is not None:
            self._idle()

    def _wait(self, event: int) -> None:
        if self._events != event:
            if self._events:
                self._waiting.modify(self._channel, event)
            else:
                self._waiting.register(self._channel, event)
            self._events = event
        while not self._waiting.select(_WAIT_SECONDS):
            self._breathe()
        self._breathe()

    def close(self) -> None:
        """Close the socket."""
        self._waiting.close()
        self._channel.close()


def write_json(value: Any) -> bytes:
    """A value as the bytes of a JSON message."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def read_json(content: Buffer) -> dict[str, Any]:
    """A JSON message: an object, no name twice, no number that is not finite (W-13).

    Raises:
        GatewayBreached: it is none.
    """
    # W-13
    try:
        value = read_strictly(content)
    except ValueError:
        raise GatewayBreached("A message that is not strict JSON.") from None
    if not isinstance(value, dict):
        raise GatewayBreached("A message that is no JSON object.")
    return value
