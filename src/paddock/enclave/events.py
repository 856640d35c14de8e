"""What this process tells the host: public phases, sealed progress, the receipt or a failure. Nothing else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO

from paddock.crypto.digest import b64
from paddock.crypto.dsse import Envelope
from paddock.crypto.moment import write_moment
from paddock.errors import PaddockError

_PARTS = 2000


class Pace:
    """How often something may be told of, so that a run of months does not say more than whoever listens takes.

    The time between two grows with the run's own: to one part in 2,000 of it. A run of a day tells of some 11,000, one of a
    month of some 18,000.
    """

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()

    def reached(self, seconds: float = 0.0) -> bool:
        """Whether it is time again: these seconds and its part of the run's time have gone by."""
        now = time.monotonic()
        return now - self._last >= max(seconds, (now - self._began) / _PARTS)

    def told(self) -> None:
        """It was told now."""
        self._last = time.monotonic()


class EventWriter:
    """Writes one JSON line per event; safe to call from several threads."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._lock = threading.Lock()

    def phase(self, name: str, **public: object) -> None:
        """A phase was reached. `public` holds names and numbers that the host may know."""
        self._write({"event": "phase", "phase": name, "at": write_moment(datetime.now(UTC)), "detail": public})

    def progress(self, sequence: int, sealed: Sequence[tuple[str, bytes]]) -> None:
        """Progress, sealed to each recipient's fingerprint; its place in the sequence is public."""
        self._write({"event": "progress", "sequence": sequence, "sealed": _rows(sealed)})

    def checkpoint(self, number: int, identity: str, asset: str, objects: Sequence[str]) -> None:
        """A checkpoint is stored: its place among the run's, where it stands, and the objects that it is made of."""
        self._write(
            {
                "event": "checkpoint",
                "at": write_moment(datetime.now(UTC)),
                "number": number,
                "id": identity,
                "asset": asset,
                "objects": list(objects),
            }
        )

    def receipt(self, envelope: Envelope) -> None:
        """The end of a run that succeeded."""
        self._write({"event": "receipt", "envelope": envelope.to_dict()})

    def failed(self, error: PaddockError, sealed: Sequence[tuple[str, bytes]]) -> None:
        """The end of a run that did not. `sealed` holds the detail where the host may not know it."""
        self._write({"event": "failed", "error": error.as_dict(), "sealed": _rows(sealed)})

    def _write(self, event: dict[str, Any]) -> None:
        line = json.dumps(event, separators=(",", ":")).encode("utf-8") + b"\n"
        with self._lock:
            rest = memoryview(line)
            while rest:
                # A channel may take less than it is given: a machine's port takes 32 KiB at a time.
                rest = rest[self._sink.write(rest) or 0 :]


def _rows(sealed: Sequence[tuple[str, bytes]]) -> list[dict[str, str]]:
    return [{"to": to, "data": b64(data)} for to, data in sealed]
