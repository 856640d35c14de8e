"""Evidence before and after verification.

Source: RFC 9334 (RATS architecture); draft-ietf-rats-msg-wrap (Conceptual Message Wrapper, JSON record form).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime

from paddock.errors import EvidenceMalformed

MAX_EVIDENCE_BYTES = 1 << 20
_CMW_EVIDENCE = 2  # the Conceptual Message type bit of evidence


@dataclass(frozen=True)
class UnverifiedEvidence:
    """Bytes of a media type, as an attester made them and others passed them on. Proves nothing yet."""

    media_type: str
    body: bytes

    def to_wrapper(self) -> list[object]:
        """As a Conceptual Message Wrapper record: media type, base64url value, message type."""
        value = base64.urlsafe_b64encode(self.body).decode("ascii").rstrip("=")
        return [self.media_type, value, _CMW_EVIDENCE]

    @classmethod
    def from_wrapper(cls, record: object) -> UnverifiedEvidence:
        """Read a wrapper record strictly.

        Raises:
            EvidenceMalformed: another shape, another message type, not base64url, or too large (A-6).
        """
        if not isinstance(record, list) or len(record) != 3 or not _is_evidence(record[2]):
            raise EvidenceMalformed("It is not a Conceptual Message Wrapper of evidence.")
        media_type, value = record[0], record[1]
        if not isinstance(media_type, str) or not isinstance(value, str) or len(value) > MAX_EVIDENCE_BYTES * 4 // 3:
            raise EvidenceMalformed("It is not a Conceptual Message Wrapper of evidence.")
        try:
            body = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
        except ValueError as error:
            raise EvidenceMalformed("Its value is not base64url.") from error
        wrapped = cls(media_type, body)
        if wrapped.to_wrapper() != record:
            raise EvidenceMalformed("Its value is not canonical base64url.")
        return wrapped


def _is_evidence(message_type: object) -> bool:
    # 2.0 equals 2, and JSON has both.
    return type(message_type) is int and message_type == _CMW_EVIDENCE


@dataclass(frozen=True)
class Claims:
    """What verified evidence says. Only a provider's verifier makes one.

    Args:
        provider: which provider verified it.
        tee: the kind of environment (`paddock.contract.levels.Tee`), as text.
        measurement: `sha256:…` of the runtime that was started.
        report_data: the 64 bytes that the environment bound into its evidence.
        debug: whether the environment can be looked into.
        simulated: whether software stood in for hardware.
        signer: what vouches for it, as the trust policy names it.
        issued: when it was made, by the attester's clock.
    """

    provider: str
    tee: str
    measurement: str
    report_data: bytes
    debug: bool
    simulated: bool
    signer: str
    issued: datetime
