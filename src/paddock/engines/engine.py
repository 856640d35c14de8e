"""What an engine is: submit, cancel, status, shutdown."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Protocol

from paddock.executors.executor import Launch

Json = dict[str, Any]
OnRunEvent = Callable[[str, Json], None]
"""Called with a run and its event: `STARTED` once it left the queue, then what the executor passes on."""

STARTED = "started"


class Placement(enum.StrEnum):
    """Where a run is, as far as its engine knows."""

    QUEUED = "queued"
    RUNNING = "running"
    UNKNOWN = "unknown"


class Engine(Protocol):
    """One way to place runs.

    The promise to whoever submits: for each run accepted, exactly one final event comes (`receipt` or `failed`), last.
    """

    def submit(self, launch: Launch) -> None:
        """Accept a run; returns before it starts.

        Raises:
            EngineBusy: the queue is full.
        """

    def cancel(self, run: str) -> None:
        """End a run, queued or running; its final event follows. Nothing happens if it has ended."""

    def status(self, run: str) -> Placement:
        """Where it is."""

    def shutdown(self) -> None:
        """End all runs and accept none; returns when all final events were given."""
