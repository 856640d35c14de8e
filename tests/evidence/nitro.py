"""AWS's rows of the refusal matrix: a document of a real enclave, and documents made here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from paddock.errors import (
    BindingMismatch,
    CertificateExpired,
    CertificateRefused,
    CertificateRevoked,
    CollateralStale,
    DebugRefused,
    EvidenceMalformed,
    EvidenceNotTrusted,
    EvidenceStale,
    RevocationUnknown,
    TcbRefused,
)
from paddock.evidence import Collateral, TrustPolicy, UnverifiedEvidence
from paddock.evidence.cbor import read_cbor
from paddock.evidence.providers.nitro import MEDIA_TYPE
from tests.evidence.matrix import Attempt, Sample
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.aws import BEGIN, PCRS, NitroMaker
from tests.fixtures.vendors.cose import over_long

VECTORS = Path(__file__).parent / "vectors" / "nitro"
REPORT = bytes(range(64))
DEFINITE, OPEN = NitroMaker(), NitroMaker(open_map=True)
STRANGER, OTHER = NitroMaker("stranger"), NitroMaker("aws/other")
RECORDED_AT = datetime(2022, 10, 13, 8, 58, 3, tzinfo=UTC)
RECORDED_POLICY = TrustPolicy.model_validate({"nitro": {"roots": ["aws-nitro-g1"]}})
SIGNATURE_BYTES = 96


def recorded() -> bytes:
    return (VECTORS / "attestation_doc.cbor").read_bytes()


def _sample(name: str, genuine: Attempt, **more: Any) -> Sample:
    end = len(genuine.evidence.body) - SIGNATURE_BYTES
    signatures = [range(end, end + SIGNATURE_BYTES)]
    return Sample(name, "nitro", genuine, signed=[range(end)], signatures=signatures, step=23, **more)


def _recorded_sample() -> Sample:
    nonce = read_cbor(read_cbor(recorded(), "envelope")[2], "document")["nonce"]
    evidence = UnverifiedEvidence(MEDIA_TYPE, recorded())
    return _sample(
        "attestation_doc.cbor",
        Attempt(evidence, RECORDED_POLICY, Collateral(), RECORDED_AT, nonce),
        other_root=DEFINITE.policy(),
        too_early=RECORDED_AT - timedelta(minutes=5),
        too_late=RECORDED_AT + timedelta(hours=3),
    )


def _made(maker: NitroMaker, evidence: UnverifiedEvidence) -> Attempt:
    return Attempt(evidence, maker.policy(), Collateral(), NOW, REPORT)


def _over_long(maker: NitroMaker, sample: Sample) -> Iterator[Attempt]:
    """Every length in the document made larger, and signed so; every length around it."""
    for payload in over_long(DEFINITE.payload(maker.members(REPORT))):
        yield _made(maker, maker.document(payload))
    for body in over_long(sample.genuine.evidence.body):
        yield sample.with_body(body)


def _debug(maker: NitroMaker, sample: Sample) -> Iterator[Attempt]:
    yield _made(maker, maker.evidence(REPORT, pcrs=dict.fromkeys(range(16), bytes(48))))
    for number in range(3):
        yield _made(maker, maker.evidence(REPORT, pcrs={**PCRS, number: bytes(48)}))


def _svn(maker: NitroMaker, sample: Sample) -> Iterator[Attempt]:
    yield replace(sample.genuine, policy=maker.policy(min_svn={"hypervisor": 0}))


def _revoked(maker: NitroMaker, sample: Sample) -> Iterator[Attempt]:
    for part in ("regional", "zonal", "instance", "enclave"):
        yield replace(sample.genuine, collateral=maker.collateral(NOW, part))
        yield replace(sample.genuine, collateral=maker.collateral(NOW - timedelta(days=8), part))


def _no_collateral(maker: NitroMaker, sample: Sample) -> Iterator[Attempt]:
    strict = maker.policy(require_revocation=True)
    yield replace(sample.genuine, policy=strict)
    yield replace(sample.genuine, policy=strict, collateral=STRANGER.collateral(NOW))
    yield replace(sample.genuine, policy=strict, collateral=maker.collateral(NOW - timedelta(days=8)))
    yield replace(sample.genuine, policy=strict, collateral=Collateral(list(maker.collateral(NOW))[:-1]))


def _stale(maker: NitroMaker, sample: Sample) -> Iterator[Attempt]:
    policy = maker.policy().model_copy(update={"max_collateral_age_seconds": 86_400})
    yield replace(sample.genuine, policy=policy, collateral=maker.collateral(NOW - timedelta(days=2)))


def _foreign_chain(maker: NitroMaker, sample: Sample) -> Iterator[Attempt]:
    """Certificates of another enclave, and chains put together from two."""
    own, other = maker.bundle(), OTHER.bundle()
    yield _made(maker, maker.evidence(REPORT, certificate=OTHER.leaf(NOW)))
    yield _made(maker, maker.evidence(REPORT, certificate=OTHER.leaf(NOW), cabundle=other))
    for place in range(1, 4):
        yield _made(maker, maker.evidence(REPORT, cabundle=[*own[:place], other[place], *own[place + 1 :]]))
        yield _made(maker, maker.evidence(REPORT, cabundle=own[:place]))
    yield _made(maker, maker.evidence(REPORT, cabundle=own[1:]))
    yield _made(maker, maker.evidence(REPORT, cabundle=own[::-1]))
    yield _made(maker, maker.evidence(REPORT, cabundle=[*own, own[-1]]))


def _self_signed(maker: NitroMaker, sample: Sample) -> Iterator[Attempt]:
    yield _made(maker, STRANGER.evidence(REPORT))
    yield _made(maker, STRANGER.evidence(REPORT, cabundle=[maker.bundle()[0], *STRANGER.bundle()[1:]]))
    yield _made(maker, maker.document(maker.payload(maker.members(REPORT)), key=STRANGER.key("enclave")))
    for part in ("root", "regional", "zonal", "instance"):  # keys that are genuine, and not for documents
        yield _made(maker, maker.document(maker.payload(maker.members(REPORT)), key=maker.key(part)))
    instance = maker.payload(
        {**maker.members(REPORT), "certificate": maker.bundle()[3], "cabundle": maker.bundle()[:3]}
    )
    yield _made(maker, maker.document(instance, key=maker.key("instance")))


def _made_sample(maker: NitroMaker, name: str) -> Sample:
    spoilers: dict[str, Callable[[NitroMaker, Sample], Iterator[Attempt]]] = {
        "debug": _debug,
        "svn": _svn,
        "revoked": _revoked,
        "no-collateral": _no_collateral,
        "stale-collateral": _stale,
        "foreign-chain": _foreign_chain,
        "self-signed": _self_signed,
    }
    if not maker.open_map:
        spoilers["over-long"] = _over_long
    return _sample(
        name,
        _made(maker, maker.evidence(REPORT)),
        other_root=STRANGER.policy(),
        too_early=BEGIN,
        too_late=NOW + timedelta(hours=3),
        spoilers={kind: partial(each, maker) for kind, each in spoilers.items()},
    )


SAMPLES = [
    _recorded_sample(),
    _made_sample(DEFINITE, "made here"),
    _made_sample(OPEN, "made here, of indefinite length"),
]
_SPOILT = (EvidenceMalformed, EvidenceNotTrusted, CertificateRefused)
REFUSALS = {
    "signed-bit": (*_SPOILT, CertificateExpired, EvidenceStale),
    "signature-bit": (EvidenceNotTrusted,),
    "wrong-root": (EvidenceNotTrusted,),
    "no-section": (EvidenceNotTrusted,),
    "too-early": (CertificateExpired,),
    "too-late": (CertificateExpired,),
    "wrong-nonce": (BindingMismatch,),
    "truncated": (EvidenceMalformed,),
    "trailing": (EvidenceMalformed,),
    "empty": (EvidenceMalformed,),
    "other-type": (EvidenceNotTrusted,),
    "over-long": (EvidenceMalformed,),
    "debug": (DebugRefused,),
    "tcb": "AWS has no word for the state of a hypervisor: its certificate, which lives three hours, is that word",
    "advisory": "AWS names no advisories for a document",
    "svn": (TcbRefused,),
    "setting": "a document has no settings but debug mode",
    "revoked": (CertificateRevoked,),
    "no-collateral": (RevocationUnknown,),
    "stale-collateral": (CollateralStale,),
    "foreign-chain": _SPOILT,
    "self-signed": (EvidenceNotTrusted, CertificateRefused),
}
