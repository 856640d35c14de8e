"""Renewing the run's leases while it works: any party can stop it, and a host that cuts the wire stops it too.

Source: docs/spec/release.md (R-15, R-16).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import datetime

from paddock.crypto.dsse import Envelope
from paddock.crypto.moment import read_moment
from paddock.enclave.keepers import Granted, Keepers
from paddock.errors import LeaseLost, PaddockError, Refused, Unavailable

_RETRY_SECONDS = 0.5


class Leases:
    """Holds the newest lease of every keeper; a thread renews them at a third of their length.

    The wait is measured by the process's monotonic clock, which the host cannot set back; a lease that was not renewed
    within its length is lost even if the keeper was only slow.

    Args:
        keepers: to ask.
        granted: what they released, with the first leases.
        lease_seconds: how long a lease lasts.
        asked: `time.monotonic()` before the first leases were asked for: an answer held back gains no time.
    """

    def __init__(self, keepers: Keepers, granted: Mapping[str, Granted], lease_seconds: int, *, asked: float) -> None:
        self._keepers = keepers
        self._length = float(lease_seconds)
        self._newest: dict[str, Envelope] = {name: row.lease for name, row in granted.items()}
        self._first_end = min(read_moment(row.leased.until) for row in granted.values())
        self._good_until = asked + self._length
        self._lost: PaddockError | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="leases", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Return if the run may go on.

        Raises:
            LeaseLost: a keeper refused, or did not answer in time (R-16).
        """
        with self._lock:
            lost = self._lost
            late = time.monotonic() > self._good_until
        if lost is not None:
            raise LeaseLost(lost.detail) from lost
        if late:
            raise LeaseLost("A keeper did not answer in time.")

    def finish(self, ended: datetime) -> dict[str, Envelope]:
        """Stop renewing, ask all once more, and then for the last leases: what the receipt carries.

        All are asked whether the run may go on before the first one is told that it ends: one that refuses does not
        leave another one thinking that there were results.

        Args:
            ended: when the run ended, by the host's clock.

        Raises:
            LeaseLost: a keeper refused at the last moment, did not answer as long as its lease lasted, or its lease ends
                before the run did: the host's clock is ahead, and nobody would accept the receipt.
        """
        self._stop.set()
        self._thread.join()
        for final in (False, True):
            self._renew_surely(final=final)
            # Seen before the last leases, the run can still be resumed elsewhere.
            if ended > self._first_end:
                raise LeaseLost("The clock of the machine that it ran on is ahead of a keeper's.")
        return dict(self._newest)

    def _renew_surely(self, *, final: bool) -> None:
        while True:
            self.check()
            try:
                self._renew(final=final)
            except Unavailable:
                time.sleep(_RETRY_SECONDS)
            except Refused:
                self.check()
            else:
                return

    def _work(self) -> None:
        wait = self._length / 3
        while not self._stop.wait(wait):
            try:
                self._renew()
                wait = self._length / 3
            except Refused:
                return
            except PaddockError:
                wait = min(_RETRY_SECONDS, self._length / 6)  # unreachable for a moment: `check` judges the time

    def _renew(self, *, final: bool = False) -> None:
        asked = time.monotonic()
        try:
            renewed = self._keepers.renew(final=final)
        except Refused as error:
            with self._lock:
                self._lost = error
            raise
        with self._lock:
            self._newest = {name: lease for name, (lease, _) in renewed.items()}
            self._first_end = min(read_moment(leased.until) for _, leased in renewed.values())
            self._good_until = asked + self._length
