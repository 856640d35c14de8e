"""How long one attempt of a run may take, by a clock that the host cannot set."""

from __future__ import annotations

import time

from paddock.errors import RunTooLong


class Deadline:
    """The end of an attempt that begins now.

    Args:
        seconds: that it may take.
    """

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Return if there is time left.

        Raises:
            RunTooLong: there is none (L-13).
        """
        if time.monotonic() > self._end:  # L-13
            raise RunTooLong(f"It may take {self._seconds} seconds.")
