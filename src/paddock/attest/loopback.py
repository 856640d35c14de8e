"""An attester behind a relay on loopback: the simulator's, for environments from whose inside no Unix socket can be reached.

Whoever started the run gave it the token; without it the relay passes nothing on.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from typing import Self

from paddock.attest.line import ask
from paddock.errors import AttesterUnavailable
from paddock.evidence.claims import UnverifiedEvidence

_PLACE = re.compile(r"([1-9][0-9]{0,4}):([0-9a-f]{64})")
_MAX_PORT = 65535


@dataclass(frozen=True)
class LoopbackAttester:
    """The relay that listens at `port` of this host."""

    port: int
    token: str = field(repr=False)
    name = "loopback"

    @classmethod
    def from_address(cls, text: str) -> Self:
        """`loopback:PORT:TOKEN`. See `Attester.from_address`."""
        found = _PLACE.fullmatch(text)
        if found is None or int(found[1]) > _MAX_PORT:
            raise AttesterUnavailable("Its address reads loopback:PORT:TOKEN; an executor makes it up for a run.")
        return cls(int(found[1]), found[2])

    def available(self) -> bool:
        """Whether something listens there."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False

    def attest(self, report_data: bytes) -> UnverifiedEvidence:
        """See `Attester.attest`."""
        return ask(socket.AF_INET, ("127.0.0.1", self.port), report_data, {"token": self.token})
