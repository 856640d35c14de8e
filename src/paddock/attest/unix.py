"""An attester that answers on a Unix socket, as the simulator does."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from paddock.attest.attester import only_path
from paddock.attest.line import ask
from paddock.errors import AttesterUnavailable
from paddock.evidence.claims import UnverifiedEvidence


@dataclass(frozen=True)
class UnixAttester:
    """The attester that listens at `path`."""

    path: Path
    name = "unix"

    @classmethod
    def from_address(cls, text: str) -> Self:
        """`unix:PATH`. See `Attester.from_address`."""
        if not text:
            raise AttesterUnavailable("Its address names no socket: unix:PATH.")
        return cls(only_path(text, Path(), "unix"))

    def available(self) -> bool:
        """Whether there is a socket."""
        return self.path.is_socket()

    def attest(self, report_data: bytes) -> UnverifiedEvidence:
        """See `Attester.attest`."""
        return ask(socket.AF_UNIX, str(self.path), report_data, {})
