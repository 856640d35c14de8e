"""An attester that answers on a Unix socket, as the simulator does.

It is sent one line `{"report_data": hex}` and answers one line `{"evidence": wrapper}`.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from paddock.attest.attester import check_report_data_size, only_path, unavailable
from paddock.errors import AttesterUnavailable, EvidenceRefused
from paddock.evidence.claims import MAX_EVIDENCE_BYTES, UnverifiedEvidence

_TIMEOUT_SECONDS = 120.0
_MAX_ANSWER_BYTES = 2 * MAX_EVIDENCE_BYTES


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
        check_report_data_size(report_data)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_TIMEOUT_SECONDS)
                connection.connect(str(self.path))
                connection.sendall(json.dumps({"report_data": report_data.hex()}).encode() + b"\n")
                with connection.makefile("rb") as answers:
                    answer = json.loads(answers.readline(_MAX_ANSWER_BYTES))
            return UnverifiedEvidence.from_wrapper(answer["evidence"])
        except OSError as error:
            raise unavailable(str(self.path), error, "Is what answers there running, and as this user?") from error
        except (ValueError, KeyError, TypeError, RecursionError, EvidenceRefused) as error:
            raise AttesterUnavailable(f"{self.path} did not answer with evidence.") from error
