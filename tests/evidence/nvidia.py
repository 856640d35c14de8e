"""NVIDIA's rows of the refusal matrix: GPUs that answered, and GPUs made here."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from paddock.crypto.digest import b64
from paddock.crypto.x509 import Certificate
from paddock.errors import (
    BindingMismatch,
    CertificateExpired,
    CertificateRefused,
    CertificateRevoked,
    CollateralStale,
    DebugRefused,
    EvidenceMalformed,
    EvidenceNotTrusted,
    RevocationUnknown,
    SettingRefused,
    TcbRefused,
)
from paddock.evidence import Collateral, TrustPolicy, UnverifiedEvidence
from paddock.evidence.binding import short_report_data
from paddock.evidence.providers.nvidia import MEDIA_TYPE, gpu_body
from tests.evidence.matrix import Attempt, Sample, Spoiler
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.nvidia import END, OPAQUE, NvidiaMaker, make_response

VECTORS = Path(__file__).parent / "vectors" / "nvidia"
REPORT = bytes(range(64))
HOPPER, BLACKWELL = NvidiaMaker("hopper"), NvidiaMaker("blackwell")
STRANGER = NvidiaMaker("hopper", "stranger")
OTHER = NvidiaMaker("hopper", "nvidia/other")
RECORDED_POLICY = TrustPolicy.model_validate(
    {"nvidia": {"roots": ["nvidia-device"], "allow": ["not-configured", "protected-pcie"]}}
)


def recorded_report(name: str) -> bytes:
    return bytes.fromhex((VECTORS / f"{name}_report.hex").read_text("ascii"))


def recorded_chain(name: str) -> list[bytes]:
    return [each.der for each in Certificate.from_pem((VECTORS / f"{name}_cert_chain.txt").read_bytes())]


def recorded(name: str) -> tuple[bytes, list[bytes]]:
    """Report and chain of one recorded device."""
    if name != "hopper_590":
        return recorded_report(name), recorded_chain(name.removesuffix("_report"))
    row = json.loads((VECTORS / "hopper_590.json").read_text("ascii"))[0]
    chain = Certificate.from_pem(base64.b64decode(row["certificate"]))
    return base64.b64decode(row["evidence"]), [each.der for each in chain]


def body_of(name: str) -> bytes:
    """Our form of what was recorded."""
    report, chain = recorded(name)
    return gpu_body("blackwell" if name.startswith("blackwell") else "hopper", report, chain)


def _base64(body: bytes, part: bytes) -> range:
    """Where `part` stands in the body, without padding and without the last character, which can hold unused bits."""
    text = b64(part).encode("ascii")
    start = body.index(text)
    return range(start, start + len(text.rstrip(b"=")))


def _sample(name: str, genuine: Attempt, report: bytes, chain: list[bytes], **more: Any) -> Sample:
    body = genuine.evidence.body
    whole = _base64(body, report)
    end = whole.start + (len(report) - 96) // 3 * 4
    signed = [range(whole.start, end), *(_base64(body, each) for each in chain)]
    return Sample(
        name=name,
        vendor="nvidia",
        genuine=genuine,
        signed=signed,
        signatures=[range(end, whole.stop)],
        step=211,
        **more,
    )


def _recorded_sample(name: str) -> Sample:
    report, chain = recorded(name)
    evidence = UnverifiedEvidence(MEDIA_TYPE, body_of(name))
    genuine = Attempt(evidence, RECORDED_POLICY, Collateral(), NOW, report[4:36])
    early = datetime(2020, 1, 1, tzinfo=UTC)
    return _sample(name, genuine, report, chain, other_root=HOPPER.policy(), too_early=early, too_late=None)


def _made(maker: NvidiaMaker, evidence: UnverifiedEvidence, **changes: Any) -> Attempt:
    return replace(Attempt(evidence, maker.policy(), Collateral(), NOW, short_report_data(REPORT)), **changes)


def _over_long(maker: NvidiaMaker, sample: Sample) -> Iterator[Attempt]:
    """Every length of the report made larger, and signed so."""
    response = make_response()
    opaque = response.index(b"\6\0\x08\0")
    for place, length in ((5, 3), (4, 1), (10, 2), (13, 2), (opaque - 2, 2), (opaque + 2, 2)):
        for more in (1, 100, (1 << 8 * length) - 1):
            changed = bytearray(response)
            number = int.from_bytes(response[place : place + length], "little")
            wrong = min(number + more, (1 << 8 * length) - 1)
            changed[place : place + length] = wrong.to_bytes(length, "little")
            yield _made(maker, maker.evidence(REPORT, response=bytes(changed)))


def _debug(maker: NvidiaMaker, sample: Sample) -> Iterator[Attempt]:
    yield _made(maker, maker.evidence(REPORT, leaf={"flags": b"\x10\0\0\1"}))


def _svn(maker: NvidiaMaker, sample: Sample) -> Iterator[Attempt]:
    yield replace(sample.genuine, policy=maker.policy(min_svn={"fmc": 2}))
    yield replace(sample.genuine, policy=maker.policy(min_svn={"another": 0}))


def _setting(maker: NvidiaMaker, sample: Sample) -> Iterator[Attempt]:
    for opaque in ({21: b"\xaa"}, {21: b"\0"}, {36: b"\2"}, {36: b"\3"}):
        yield _made(maker, maker.evidence(REPORT, opaque={**OPAQUE, **opaque}))
    if maker.architecture == "blackwell":
        for flags in (b"\x80\0\0\1", b"\x40\0\0\1", b"\x20\0\0\1", b"\x08\0\0\1", b"\x04\0\0\1"):
            yield _made(maker, maker.evidence(REPORT, leaf={"flags": flags}))


def _revoked(maker: NvidiaMaker, sample: Sample) -> Iterator[Attempt]:
    for part in ("model", "provisioner"):
        yield replace(sample.genuine, collateral=maker.collateral(NOW, part))
        yield replace(sample.genuine, collateral=maker.collateral(NOW - timedelta(days=8), part))


def _no_collateral(maker: NvidiaMaker, sample: Sample) -> Iterator[Attempt]:
    strict = maker.policy(require_revocation=True)
    yield replace(sample.genuine, policy=strict)
    yield replace(sample.genuine, policy=strict, collateral=STRANGER.collateral(NOW))
    yield replace(sample.genuine, policy=strict, collateral=maker.collateral(NOW - timedelta(days=8)))
    yield replace(sample.genuine, policy=strict, collateral=maker.collateral(NOW + timedelta(days=1)))
    yield replace(sample.genuine, policy=strict, collateral=Collateral(list(maker.collateral(NOW))[:1]))


def _stale(maker: NvidiaMaker, sample: Sample) -> Iterator[Attempt]:
    policy = maker.policy().model_copy(update={"max_collateral_age_seconds": 86_400})
    yield replace(sample.genuine, policy=policy, collateral=maker.collateral(NOW - timedelta(days=2)))


def _foreign_chain(maker: NvidiaMaker, sample: Sample) -> Iterator[Attempt]:
    """A genuine report with the genuine chain of another device, and chains put together from two."""
    report, own, other = maker.report(short_report_data(REPORT)), maker.certificates(), OTHER.certificates()
    if maker.architecture == "hopper":
        yield _made(maker, _evidence(maker, report, [*other[:4], own[4]]))
    yield _made(maker, _evidence(maker, report, [*own[:1], *other[1:4], own[4]]))
    yield _made(maker, _evidence(maker, report, maker.certificates(fwid=bytes(48))))
    yield _made(
        maker, _evidence(replace(maker, architecture="blackwell" if maker is HOPPER else "hopper"), report, own)
    )


def _evidence(maker: NvidiaMaker, report: bytes, chain: list[bytes]) -> UnverifiedEvidence:
    return UnverifiedEvidence(MEDIA_TYPE, gpu_body(maker.architecture, report, chain))


def _self_signed(maker: NvidiaMaker, sample: Sample) -> Iterator[Attempt]:
    yield _made(maker, STRANGER.evidence(REPORT))
    stranger = STRANGER.certificates()
    yield _made(
        maker, _evidence(maker, STRANGER.report(short_report_data(REPORT)), [*stranger[:4], maker.certificates()[4]])
    )


def _recorded_foreign(sample: Sample) -> Iterator[Attempt]:
    """Chains of other recorded devices: another GPU, and an NVSwitch, which is no GPU but has the same root."""
    report, chain = recorded("hopper")
    for other in ("hopper_535", "hopper_590", "blackwell", "switch"):
        yield sample.with_body(gpu_body("hopper", report, recorded(other)[1]))
        yield sample.with_body(gpu_body("hopper", report, [*chain[:1], *recorded(other)[1][1:]]))
    yield sample.with_body(gpu_body("hopper", *recorded("switch")))
    yield sample.with_body(gpu_body("blackwell", report, chain))


def _made_sample(maker: NvidiaMaker) -> Sample:
    spoilers: dict[str, Callable[[NvidiaMaker, Sample], Iterator[Attempt]]] = {
        "over-long": _over_long,
        "svn": _svn,
        "setting": _setting,
        "revoked": _revoked,
        "no-collateral": _no_collateral,
        "stale-collateral": _stale,
        "foreign-chain": _foreign_chain,
        "self-signed": _self_signed,
    }
    if maker.architecture == "blackwell":
        spoilers["debug"] = _debug
    bound: Mapping[str, Spoiler] = {kind: partial(each, maker) for kind, each in spoilers.items()}
    report, chain = maker.report(short_report_data(REPORT)), maker.certificates()
    genuine = _made(maker, _evidence(maker, report, chain))
    return _sample(
        f"{maker.architecture}, made here",
        genuine,
        report,
        chain,
        other_root=STRANGER.policy(),
        too_early=datetime(2024, 1, 1, tzinfo=UTC),
        too_late=END + timedelta(days=1),
        spoilers=bound,
    )


SAMPLES = [
    replace(_recorded_sample("hopper"), spoilers={"foreign-chain": _recorded_foreign}),
    _recorded_sample("hopper_535"),
    _recorded_sample("hopper_590"),
    _recorded_sample("blackwell"),
    _made_sample(HOPPER),
    _made_sample(BLACKWELL),
]
_SPOILT = (EvidenceMalformed, EvidenceNotTrusted, CertificateRefused)
REFUSALS = {
    "signed-bit": (*_SPOILT, CertificateExpired),
    "signature-bit": (EvidenceMalformed, EvidenceNotTrusted),
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
    "tcb": "a GPU's report has no word for the state of its firmware: its measurements tell (R-9)",
    "advisory": "NVIDIA names no advisories for a report",
    "svn": (TcbRefused,),
    "setting": (SettingRefused,),
    "revoked": (CertificateRevoked,),
    "no-collateral": (RevocationUnknown,),
    "stale-collateral": (CollateralStale,),
    "foreign-chain": _SPOILT,
    "self-signed": (EvidenceNotTrusted, CertificateRefused),
}
