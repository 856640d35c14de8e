"""The host's attester, which answers on a Unix socket (`paddock host serve`): `host` or `host:PATH`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from paddock.attest.attester import only_path
from paddock.attest.unix import UnixAttester
from paddock.evidence.claims import UnverifiedEvidence

DEFAULT_SOCKET = Path("/run/paddock/host.sock")


@dataclass(frozen=True)
class HostAttester:
    """The host's attester that listens at `path`."""

    path: Path = DEFAULT_SOCKET
    name = "host"

    @classmethod
    def from_address(cls, text: str) -> Self:
        """`host` or `host:PATH`. See `Attester.from_address`."""
        return cls(only_path(text, DEFAULT_SOCKET, "host"))

    def available(self) -> bool:
        """Whether there is a socket."""
        return self.path.is_socket()

    def attest(self, report_data: bytes) -> UnverifiedEvidence:
        """See `Attester.attest`."""
        return UnixAttester(self.path).attest(report_data)
