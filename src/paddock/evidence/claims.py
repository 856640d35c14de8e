"""Evidence before and after verification.

Source: RFC 9334 (RATS architecture); draft-ietf-rats-msg-wrap (Conceptual Message Wrapper, JSON record form).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from paddock.crypto.canonical import canonical
from paddock.crypto.digest import sha256_id
from paddock.errors import EvidenceMalformed

MAX_EVIDENCE_BYTES = 1 << 20
ENVIRONMENT, HOST = "environment", "host"
GPUS = tuple(f"gpu-{number}" for number in range(8))
LABELS = frozenset({ENVIRONMENT, HOST, *GPUS})
COLLECTION_MEMBER = "__cmwc_t"
COLLECTION_TYPE = "tag:paddock,2026:evidence-set"
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
        measurement: `sha256:…` of what was started: `registers_digest` of hardware, the digest of the runtime of software.
        report_data: what the environment bound into its evidence: 64 bytes, or the 32 that its field holds.
        debug: whether the environment can be looked into.
        simulated: whether software stood in for hardware.
        signer: what vouches for it: the digest of the root's public key, or of the simulator's.
        issued: when it was made, by the attester's clock; None where the vendor's format bears no time, so that
            freshness rests on the nonce alone.
        registers: the measurement registers by name, as hex; empty for software.
        tcb_status: the vendor's word for the state of the platform's firmware; None where the vendor has none.
        advisories: ids of the vendor's advisories that apply to the platform.
        svns: security version numbers by name.
        settings: what is switched on that a relying party may not want, e.g. `smt`, `migration`.
        device: what tells this device from every other of its maker, where a whole device is what was asked; None
            elsewhere.
        collateral: keys of the collateral that was used.
        collateral_issued: when the vendor issued the oldest of it; None where none was used.
        details: further facts of the vendor, for people: names to texts, numbers, truth values.
    """

    provider: str
    tee: str
    measurement: str
    report_data: bytes
    debug: bool
    simulated: bool
    signer: str
    issued: datetime | None
    registers: Mapping[str, str] = field(default_factory=dict)
    tcb_status: str | None = None
    advisories: tuple[str, ...] = ()
    svns: Mapping[str, int] = field(default_factory=dict)
    settings: frozenset[str] = frozenset()
    device: str | None = None
    collateral: tuple[str, ...] = ()
    collateral_issued: datetime | None = None
    details: Mapping[str, str | int | bool] = field(default_factory=dict)


def registers_digest(provider: str, registers: Mapping[str, str]) -> str:
    """The measurement of hardware evidence (A-10): SHA-256 over the canonical JSON of provider and registers.

    Args:
        provider: the provider's name, e.g. `tdx`.
        registers: every register by name, as lower-case hex.
    """
    return _registers_digest(provider, tuple(sorted(registers.items())))


@lru_cache(maxsize=256)  # one machine shows the same registers again and again
def _registers_digest(provider: str, registers: tuple[tuple[str, str], ...]) -> str:
    return sha256_id(registers_text(provider, dict(registers)).encode("utf-8"))


def registers_text(provider: str, registers: Mapping[str, str]) -> str:
    """What `registers_digest` hashes: canonical JSON, for people who compute it with other tools."""
    body = {"version": "paddock/registers/v1", "provider": provider, "registers": dict(registers)}
    return canonical(body).decode("utf-8")


@dataclass(frozen=True)
class EvidenceSet:
    """The pieces of evidence of one environment, by label: `environment`, and beside it `host` or `gpu-0` to `gpu-7`.

    On the wire, one piece is a wrapper record; several are a Conceptual Message Wrapper collection.
    """

    pieces: Mapping[str, UnverifiedEvidence]

    @classmethod
    def single(cls, evidence: UnverifiedEvidence) -> EvidenceSet:
        """The environment's evidence alone."""
        return cls({ENVIRONMENT: evidence})

    def to_wrapper(self) -> list[object] | dict[str, object]:
        """A record, or a collection where there is more than one piece."""
        if set(self.pieces) == {ENVIRONMENT}:
            return self.pieces[ENVIRONMENT].to_wrapper()
        return {COLLECTION_MEMBER: COLLECTION_TYPE} | {
            label: piece.to_wrapper() for label, piece in sorted(self.pieces.items())
        }

    @classmethod
    def from_wrapper(cls, value: object) -> EvidenceSet:
        """Read a record or a collection strictly.

        Raises:
            EvidenceMalformed: another shape or collection type, an unknown label, no `environment`, too many pieces, or
                a collection of one, whose only form is a record (A-6).
        """
        if isinstance(value, list):
            return cls.single(UnverifiedEvidence.from_wrapper(value))
        if not isinstance(value, dict) or value.get(COLLECTION_MEMBER) != COLLECTION_TYPE:
            raise EvidenceMalformed("It is not a Conceptual Message Wrapper of evidence.")
        labels = [label for label in value if label != COLLECTION_MEMBER]
        if not 2 <= len(labels) <= len(LABELS) or not set(labels) <= LABELS or ENVIRONMENT not in labels:
            raise EvidenceMalformed("It is not a collection of the pieces of evidence that are known.")
        return cls({label: UnverifiedEvidence.from_wrapper(value[label]) for label in sorted(labels)})

    def digest(self) -> str:
        """`sha256:` of the canonical JSON of the wrapper: labels, media types and bytes of all pieces."""
        return sha256_id(canonical(self.to_wrapper()))
