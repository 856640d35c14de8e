"""Waking those who wait for events of a run: engine threads tell, requests on the event loop wait."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator


class Waiting:
    """Who waits for which run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tickets: dict[str, list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}

    def tell(self, run: str) -> None:
        """Wake everyone who waits for this run; from any thread."""
        with self._lock:
            tickets = list(self._tickets.get(run, ()))
        for loop, happened in tickets:
            with contextlib.suppress(RuntimeError):  # its loop was closed meanwhile
                loop.call_soon_threadsafe(happened.set)

    @contextlib.contextmanager
    def ticket(self, run: str) -> Iterator[asyncio.Event]:
        """An event that is set when something happens to the run: take it before looking, so that nothing is missed."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._tickets.setdefault(run, []).append(entry)
        try:
            yield entry[1]
        finally:
            with self._lock:
                left = self._tickets[run]
                left.remove(entry)
                if not left:
                    del self._tickets[run]
