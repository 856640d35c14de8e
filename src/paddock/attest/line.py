"""What is said to an attester that answers on a socket: one line `{"report_data": hex}`, answered by one line `{"evidence": wrapper}`."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping

from paddock.attest.attester import check_report_data_size, unavailable
from paddock.errors import AttesterUnavailable, EvidenceRefused
from paddock.evidence.claims import MAX_EVIDENCE_BYTES, UnverifiedEvidence

_TIMEOUT_SECONDS = 120.0
_MAX_ANSWER_BYTES = 2 * MAX_EVIDENCE_BYTES


def ask(
    family: socket.AddressFamily, place: str | tuple[str, int], report_data: bytes, more: Mapping[str, str]
) -> UnverifiedEvidence:
    """Connect, ask, and close.

    Args:
        family: of the socket.
        place: where to connect to.
        report_data: 64 bytes.
        more: further members of the question.

    Raises:
        AttesterUnavailable: nothing answers there, or not with evidence.
    """
    check_report_data_size(report_data)
    name = place if isinstance(place, str) else f"{place[0]}:{place[1]}"
    try:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(_TIMEOUT_SECONDS)
            connection.connect(place)
            connection.sendall(json.dumps({**more, "report_data": report_data.hex()}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                answer = json.loads(answers.readline(_MAX_ANSWER_BYTES))
        return UnverifiedEvidence.from_wrapper(answer["evidence"])
    except OSError as error:
        raise unavailable(name, error, "Is what answers there running, and as this user?") from error
    except (ValueError, KeyError, TypeError, RecursionError, EvidenceRefused) as error:
        raise AttesterUnavailable(f"{name} did not answer with evidence.") from error
