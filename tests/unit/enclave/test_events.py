"""How often a run tells of something, and that all of it arrives."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from paddock.enclave import events
from paddock.enclave.events import EventWriter, Pace


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(events, "time", made)
    return made


def told(clock: Clock, seconds: float, every: float, least: float = 0.0) -> int:
    """How often it is told in so many seconds, asked every so many."""
    pace, count, end = Pace(), 0, clock.now + seconds
    while clock.now < end:
        clock.now += every
        if pace.reached(least):
            pace.told()
            count += 1
    return count


def test_a_short_run_tells_of_everything(clock: Clock) -> None:
    assert told(clock, 100, 0.5) == 200


def test_a_long_run_tells_no_more_than_is_listened_to(clock: Clock) -> None:
    assert told(clock, 30 * 86_400, 0.5) < 18_000


def test_what_shall_be_told_seldom_is_told_seldom(clock: Clock) -> None:
    assert told(clock, 3600, 1, least=300) == 12


def test_a_channel_that_takes_little_at_a_time_gets_the_whole_line() -> None:
    class Port(io.BytesIO):
        """As a virtio port, which takes no more than so many bytes of one call."""

        def write(self, data: Any) -> int:
            return super().write(bytes(data)[:10])

    port = Port()
    EventWriter(port).phase("running", step="s" * 100)
    assert json.loads(port.getvalue())["detail"] == {"step": "s" * 100}
    assert port.getvalue().endswith(b"\n")
