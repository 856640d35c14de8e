"""Certificates that were judged a moment ago: who comes back with the very same one is not judged anew.

TLS proves at every connection that the other end holds the certificate's key; what stands in the certificate is the same
bytes. A verdict so serves again while the policy and the collateral are the same objects, for at most a minute.

Source: docs/spec/attestation.md §8 (A-21).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from paddock.crypto.digest import sha256

REUSED_FOR = timedelta(seconds=60)
MAX_JUDGED = 1024
_T = TypeVar("_T")


class Judged(Generic[_T]):
    """Verdicts by certificate. Safe to use from several threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[_T, tuple[object, ...], datetime]] = OrderedDict()
        self._lock = threading.Lock()

    def verdict(
        self, certificate: bytes, basis: tuple[object, ...], now: datetime, judge: Callable[[], tuple[_T, datetime]]
    ) -> _T:
        """The verdict on a certificate: that of a moment ago, or what `judge` says now. Refusals are not kept.

        Args:
            certificate: in DER.
            basis: what it is judged by; another object in any place is another basis.
            now: this end's clock.
            judge: judges it, raising where it refuses; with the verdict, until when it may serve.
        """
        key = sha256(certificate)
        with self._lock:
            known = self._known.get(key)
        if known is not None:
            verdict, judged_by, until = known
            same = len(basis) == len(judged_by) and all(a is b for a, b in zip(basis, judged_by, strict=True))
            if same and until - REUSED_FOR <= now < until:
                return verdict
        verdict, end = judge()
        with self._lock:
            self._known[key] = verdict, basis, min(end, now + REUSED_FOR)
            self._known.move_to_end(key)
            while len(self._known) > MAX_JUDGED:
                self._known.popitem(last=False)
        return verdict
