"""The refusal matrix: every vendor's evidence, spoilt in every way that is listed here, must be refused as said here.

Each vendor's module `tests.evidence.<vendor>` offers `SAMPLES`, genuine evidence with what is needed to judge it, and
`REFUSALS`, for each kind of tampering either the error that refuses it or the reason for which there is no such case.
`test_refusals.py` tries every cell; docs/refusals.md is made from the same tables.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import ModuleType

from paddock.errors import PaddockError
from paddock.evidence import Claims, Collateral, TrustPolicy, UnverifiedEvidence, verify_evidence
from paddock.evidence.binding import check_report_data

VENDORS = ("sgx", "tdx", "snp", "nitro", "tpm", "azure", "nvidia", "cca", "host", "simulated")
KINDS: Mapping[str, str] = {
    # every vendor: made here from the sample
    "signed-bit": "a bit changed in what is signed",
    "signature-bit": "a bit changed in a signature",
    "wrong-root": "judged by another root",
    "no-section": "a policy without a section for the vendor",
    "too-early": "judged before a certificate is valid",
    "too-late": "judged after a certificate or the collateral ended",
    "wrong-nonce": "made for another question",
    "truncated": "cut short, at any length",
    "trailing": "bytes behind the end",
    "empty": "nothing at all",
    "other-type": "under another vendor's media type",
    # where the vendor's format has it: made by the vendor's module
    "over-long": "a field that says that it is longer than it is",
    "debug": "an environment in debug mode",
    "tcb": "firmware in a state that is not accepted",
    "advisory": "an advisory that is not accepted",
    "svn": "a version number below the least",
    "setting": "a setting that is not allowed",
    "revoked": "a certificate that was revoked",
    "no-collateral": "without the vendor's collateral",
    "stale-collateral": "with collateral older than the policy allows",
    "foreign-chain": "with another platform's genuine certificate",
    "self-signed": "signed by a chain of the attacker's own",
}
Spoiler = Callable[["Sample"], "Iterator[Attempt]"]


@dataclass(frozen=True)
class Attempt:
    """What is put before the verifier."""

    evidence: UnverifiedEvidence
    policy: TrustPolicy
    collateral: Collateral
    now: datetime
    report_data: bytes | None = None

    def judge(self) -> Claims:
        """The way that every keeper goes: verify, then compare the report data."""
        claims = verify_evidence(self.evidence, policy=self.policy, collateral=self.collateral, now=self.now)
        if self.report_data is not None and claims.report_data != self.report_data:
            check_report_data(self.report_data.ljust(64, b"\0"), claims.report_data.ljust(64, b"\0"))
        return claims


@dataclass(frozen=True)
class Sample:
    """Genuine evidence, and all that is needed to accept it.

    Args:
        name: e.g. `quote_v3.bin`, or `made here` for one of tests/fixtures/vendors.
        signed: ranges of bytes that a signature covers, directly or by way of what it covers.
        signatures: ranges of bytes that are signatures.
        other_root: the same policy with another root of the same kind.
        too_early: a time before some certificate, or None where nothing has a beginning.
        too_late: a time after some certificate or the collateral ended, or None.
        spoilers: for kinds that only the vendor's module can make.
        step: every how many bits one is changed: 1 for all, a prime for big structures.
    """

    name: str
    vendor: str
    genuine: Attempt
    signed: Sequence[range]
    signatures: Sequence[range]
    other_root: TrustPolicy
    too_early: datetime | None
    too_late: datetime | None
    spoilers: Mapping[str, Spoiler] = field(default_factory=dict)
    step: int = 1

    def attempts(self, kind: str) -> Iterator[Attempt]:
        """All attempts of one kind; none where this sample has no such case."""
        if kind in self.spoilers:
            yield from self.spoilers[kind](self)
        elif kind in _COMMON:
            yield from _COMMON[kind](self)

    def with_body(self, body: bytes) -> Attempt:
        """The genuine attempt with other bytes."""
        return replace(self.genuine, evidence=replace(self.genuine.evidence, body=body))


def _bits(sample: Sample, ranges: Sequence[range]) -> Iterator[Attempt]:
    body = sample.genuine.evidence.body
    for number, position in enumerate(bit for part in ranges for bit in range(part.start * 8, part.stop * 8)):
        if number % sample.step == 0:
            changed = bytearray(body)
            changed[position // 8] ^= 1 << position % 8
            yield sample.with_body(bytes(changed))


def _truncated(sample: Sample) -> Iterator[Attempt]:
    body = sample.genuine.evidence.body
    stride = max(1, len(body) // 257)
    for length in sorted({*range(0, len(body), stride), len(body) - 1} - {0}):
        yield sample.with_body(body[:length])


def _trailing(sample: Sample) -> Iterator[Attempt]:
    body = sample.genuine.evidence.body
    for more in (b"\0", b"\xff", b"\n", bytes(4096), body):
        yield sample.with_body(body + more)


def _at(moment: datetime | None, sample: Sample) -> Iterator[Attempt]:
    if moment is not None:
        yield replace(sample.genuine, now=moment)


def _other_type(sample: Sample) -> Iterator[Attempt]:
    policy = TrustPolicy.model_validate(
        {"simulated": {"keys": ["0" * 62 + "02"]}, "nitro": {"roots": ["aws-nitro-g1"]}}
    )
    for media_type in ("", "application/octet-stream", sample.genuine.evidence.media_type + " "):
        evidence = replace(sample.genuine.evidence, media_type=media_type)
        yield replace(sample.genuine, evidence=evidence, policy=sample.genuine.policy)
        yield replace(sample.genuine, evidence=evidence, policy=policy)


_COMMON: Mapping[str, Spoiler] = {
    "signed-bit": lambda sample: _bits(sample, sample.signed),
    "signature-bit": lambda sample: _bits(sample, sample.signatures),
    "wrong-root": lambda sample: iter([replace(sample.genuine, policy=sample.other_root)]),
    "no-section": lambda sample: iter([replace(sample.genuine, policy=TrustPolicy())]),
    "too-early": lambda sample: _at(sample.too_early, sample),
    "too-late": lambda sample: _at(sample.too_late, sample),
    "wrong-nonce": lambda sample: iter([replace(sample.genuine, report_data=bytes(63) + b"\1")]),
    "truncated": _truncated,
    "trailing": _trailing,
    "empty": lambda sample: iter([sample.with_body(b"")]),
    "other-type": _other_type,
}


def vendor_module(vendor: str) -> ModuleType:
    """`tests.evidence.<vendor>`."""
    return importlib.import_module(f"tests.evidence.{vendor}")


def samples(vendor: str) -> Sequence[Sample]:
    """Its samples."""
    found: Sequence[Sample] = vendor_module(vendor).SAMPLES
    return found


def refusals(vendor: str) -> Mapping[str, tuple[type[PaddockError], ...] | str]:
    """For every kind, the errors that may refuse it, or why there is no such case."""
    found: Mapping[str, tuple[type[PaddockError], ...] | str] = vendor_module(vendor).REFUSALS
    return found
