"""Asking the environment for evidence.

`none` where there is nothing to ask (level 1); `unix:PATH` for an attester that answers on a socket, as the simulator
does. Hardware attesters read a device instead and come as further schemes.
"""

from __future__ import annotations

import json
import socket

from paddock.errors import AttesterUnavailable, EvidenceRefused
from paddock.evidence.claims import MAX_EVIDENCE_BYTES, UnverifiedEvidence

_TIMEOUT_SECONDS = 120.0
_MAX_ANSWER_BYTES = 2 * MAX_EVIDENCE_BYTES


def collect_evidence(attester: str, report_data: bytes) -> UnverifiedEvidence | None:
    """Evidence over 64 bytes of report data, or None where there is no attester.

    Raises:
        AttesterUnavailable: it did not answer, or not with evidence.
    """
    if attester == "none":
        return None
    scheme, _, path = attester.partition(":")
    if scheme != "unix" or not path:
        raise AttesterUnavailable("Its address is of no known kind.")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_TIMEOUT_SECONDS)
            connection.connect(path)
            connection.sendall(json.dumps({"report_data": report_data.hex()}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                answer = json.loads(answers.readline(_MAX_ANSWER_BYTES))
        return UnverifiedEvidence.from_wrapper(answer["evidence"])
    except (OSError, ValueError, KeyError, TypeError, EvidenceRefused) as error:
        raise AttesterUnavailable("It did not answer with evidence.") from error
