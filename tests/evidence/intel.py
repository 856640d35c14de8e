"""What the rows of SGX and TDX in the refusal matrix share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
    CollateralMissing,
    CollateralStale,
    DebugRefused,
    EvidenceMalformed,
    EvidenceNotTrusted,
    PaddockError,
    SettingRefused,
    TcbRefused,
)
from paddock.evidence import Collateral, TrustPolicy, UnverifiedEvidence
from paddock.evidence.collateral import INTEL_PCS, CollateralItem
from paddock.evidence.provider import installed_providers
from tests.evidence.matrix import Attempt, Sample, Spoiler
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.intel import END, IntelMaker

VECTORS = Path(__file__).parent / "vectors"
RECORDED_NOW = datetime(2025, 6, 20, tzinfo=UTC)  # between the recorded collateral's issue and its end
REPORT = bytes(range(64))
Rows = Mapping[str, Callable[[IntelMaker, Sample], Iterator[Attempt]]]


def recorded_quote(name: str) -> bytes:
    """`sgx/quote_v3` and the like."""
    return (VECTORS / f"{name}.bin").read_bytes()


def recorded_evidence(name: str) -> UnverifiedEvidence:
    return UnverifiedEvidence(
        f"application/vnd.paddock.{name.split('/', maxsplit=1)[0]}-quote.v1", recorded_quote(name)
    )


def recorded_collateral(name: str) -> Collateral:
    """What was published about its platform, under the key that the provider asks for."""
    (need,) = installed_providers()[name.split("/", maxsplit=1)[0]].needs(recorded_quote(name))
    body = (VECTORS / f"{name}.collateral.json").read_bytes()
    return Collateral([CollateralItem(INTEL_PCS, need.key, "2025-06-20T00:00:00Z", body)])


def parts(quote: bytes) -> tuple[list[range], list[range]]:
    """Ranges of a quote that are signed, and those that are signatures; the lengths between them are neither."""
    version = quote[0]
    kind = {3: 384, 4: 584, 5: int.from_bytes(quote[50:54], "little") + 6}[version]
    start = 48 + kind + 4
    qe = start + 128 + (0 if version == 3 else 6)
    authentication = qe + 448 + 2
    chain = authentication + int.from_bytes(quote[authentication - 2 : authentication], "little") + 6
    end = chain + int.from_bytes(quote[chain - 4 : chain], "little")
    # Behind the last certificate there may be a line break and a zero byte, which are no more than punctuation.
    text = chain + quote[chain:end].rindex(b"-----END CERTIFICATE-----") + 25
    signed = [range(48 + kind), range(start + 64, start + 128), range(qe, qe + 384), range(authentication, chain - 6)]
    return [*signed, range(chain, text)], [range(start, start + 64), range(qe + 384, qe + 448)]


def recorded_sample(name: str, policy: Mapping[str, Any], stranger: IntelMaker, step: int) -> Sample:
    """A recorded quote with its collateral."""
    vendor = name.split("/", maxsplit=1)[0]
    trust = TrustPolicy.model_validate({vendor: {"roots": ["intel-sgx"], **policy}})
    genuine = Attempt(recorded_evidence(name), trust, recorded_collateral(name), RECORDED_NOW)
    signed, signatures = parts(genuine.evidence.body)
    return Sample(
        name=f"{name}.bin",
        vendor=vendor,
        genuine=replace(genuine, report_data=genuine.judge().report_data),
        signed=signed,
        signatures=signatures,
        other_root=stranger.policy(**policy),
        too_early=datetime(2020, 1, 1, tzinfo=UTC),
        too_late=datetime(2025, 7, 20, tzinfo=UTC),
        spoilers={"no-collateral": _recorded_bare},
        step=step,
    )


def made_sample(maker: IntelMaker, more: Rows, step: int) -> Sample:
    """A quote made here, with collateral made here."""
    rows: Rows = {
        "over-long": _over_long,
        "debug": _debug,
        "tcb": _tcb,
        "advisory": _advisory,
        "svn": _svn,
        "setting": _setting,
        "revoked": _revoked,
        "no-collateral": _no_collateral,
        "stale-collateral": _stale,
        "foreign-chain": _foreign_chain,
        "self-signed": _self_signed,
    }
    bound: dict[str, Spoiler] = {kind: partial(_both, rows.get(kind), more.get(kind), maker) for kind in {*rows, *more}}
    genuine = _made(maker, maker.evidence(REPORT))
    signed, signatures = parts(genuine.evidence.body)
    return Sample(
        name=f"version {maker.version}, made here",
        vendor=maker.tee,
        genuine=genuine,
        signed=signed,
        signatures=signatures,
        other_root=_stranger(maker).policy(),
        too_early=datetime(2019, 1, 1, tzinfo=UTC),
        too_late=END + timedelta(days=1),
        spoilers=bound,
        step=step,
    )


REFUSALS: Mapping[str, tuple[type[PaddockError], ...] | str] = {
    "signed-bit": (EvidenceMalformed, EvidenceNotTrusted, CertificateRefused),
    "signature-bit": (EvidenceNotTrusted,),
    "wrong-root": (EvidenceNotTrusted,),
    "no-section": (EvidenceNotTrusted,),
    "too-early": (CertificateExpired,),
    "too-late": (CertificateExpired, CollateralStale),
    "wrong-nonce": (BindingMismatch,),
    "truncated": (EvidenceMalformed,),
    "trailing": (EvidenceMalformed,),
    "empty": (EvidenceMalformed,),
    "other-type": (EvidenceNotTrusted,),
    "over-long": (EvidenceMalformed,),
    "debug": (DebugRefused,),
    "tcb": (TcbRefused,),
    "advisory": (TcbRefused,),
    "svn": (TcbRefused,),
    "setting": (SettingRefused,),
    "revoked": (CertificateRevoked,),
    "no-collateral": (CollateralMissing,),
    "stale-collateral": (CollateralStale,),
    "foreign-chain": (EvidenceNotTrusted,),
    "self-signed": (EvidenceNotTrusted, CertificateRefused),
}


def _both(
    first: Callable[[IntelMaker, Sample], Iterator[Attempt]] | None,
    second: Callable[[IntelMaker, Sample], Iterator[Attempt]] | None,
    maker: IntelMaker,
    sample: Sample,
) -> Iterator[Attempt]:
    for each in (first, second):
        if each is not None:
            yield from each(maker, sample)


def _made(maker: IntelMaker, evidence: UnverifiedEvidence, **changes: Any) -> Attempt:
    return replace(Attempt(evidence, maker.policy(), maker.collateral(NOW), NOW, REPORT), **changes)


def _stranger(maker: IntelMaker) -> IntelMaker:
    return replace(maker, label="stranger")


def _other(maker: IntelMaker) -> IntelMaker:
    return replace(maker, label=f"{maker.label}/other")


def _over_long(maker: IntelMaker, sample: Sample) -> Iterator[Attempt]:
    """Every length made larger and smaller."""
    quote = sample.genuine.evidence.body
    report = {3: 384, 4: 584, 5: 654}[maker.version]
    start = 48 + report
    nested = 0 if maker.version == 3 else 6
    authentication = start + 4 + 128 + nested + 448
    places = [(start, 4), (authentication, 2), (authentication + 2 + 32 + 2, 4)]
    places += [(start + 4 + 128 + 2, 4)] if nested else []
    places += [(50, 4)] if maker.version == 5 else []
    for place, length in places:
        number = int.from_bytes(quote[place : place + length], "little")
        for wrong in (number + 1, number + 100, number - 1, 0, 1 << 8 * length - 1, (1 << 8 * length) - 1):
            changed = quote[:place] + wrong.to_bytes(length, "little") + quote[place + length :]
            yield sample.with_body(changed)


def _debug(maker: IntelMaker, sample: Sample) -> Iterator[Attempt]:
    evidence = maker.evidence(REPORT, debug=True)
    yield _made(maker, evidence)
    yield _made(maker, evidence, collateral=Collateral())


def _tcb(maker: IntelMaker, sample: Sample) -> Iterator[Attempt]:
    for status in ("OutOfDate", "SWHardeningNeeded", "ConfigurationNeeded", "Revoked"):
        yield replace(sample.genuine, collateral=maker.collateral(NOW, status=status))
    allowed = maker.policy(tcb_statuses=["UpToDate", "Revoked"])
    yield replace(sample.genuine, collateral=maker.collateral(NOW, status="Revoked"), policy=allowed)
    level = {"tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": "UpToDate"}
    newer = {"sgxtcbcomponents": [{"svn": 200}] * 16, "tdxtcbcomponents": [{"svn": 0}] * 16, "pcesvn": 1}
    yield replace(sample.genuine, collateral=maker.collateral(NOW, tcbLevels=[{"tcb": newer, **level}]))
    for rows in ([{"tcb": {"isvsvn": 9}, **level}], [{"tcb": {"isvsvn": 1}, **level, "tcbStatus": "OutOfDate"}]):
        identity = maker.qe_identity(NOW, tcbLevels=rows)
        yield replace(sample.genuine, collateral=maker.collateral(NOW, qe_identity=identity))


def _advisory(maker: IntelMaker, sample: Sample) -> Iterator[Attempt]:
    advised = maker.collateral(NOW, advisories=("INTEL-SA-00615", "INTEL-SA-00289"))
    for accepted in ([], ["INTEL-SA-00615"]):
        yield replace(sample.genuine, collateral=advised, policy=maker.policy(advisories=accepted))


def _svn(maker: IntelMaker, sample: Sample) -> Iterator[Attempt]:
    for least in ({"tcb_evaluation": 18}, {"pce_svn": 14}, {"qe_svn": 9}, {"another": 0}):
        yield replace(sample.genuine, policy=maker.policy(min_svn=least))


def _setting(maker: IntelMaker, sample: Sample) -> Iterator[Attempt]:
    for flag in ("dynamic_platform", "cached_keys", "smt"):
        yield _made(maker, replace(maker, flags=(flag,)).evidence(REPORT))


def _revoked(maker: IntelMaker, sample: Sample) -> Iterator[Attempt]:
    for part in ("pck", "ca", "signer", "root"):
        yield replace(sample.genuine, collateral=maker.collateral(NOW, revoked=part))


def _no_collateral(maker: IntelMaker, sample: Sample) -> Iterator[Attempt]:
    yield replace(sample.genuine, collateral=Collateral())
    yield replace(sample.genuine, collateral=replace(maker, fmspc=bytes(6)).collateral(NOW))
    (item,) = maker.collateral(NOW)
    yield replace(sample.genuine, collateral=Collateral([replace(item, kind="certificate")]))
    for body in (b"", b"{}", item.body[:-1], item.body.replace(b"pck_crl_", b"pck_crx_")):
        yield replace(sample.genuine, collateral=maker.collateral_of(body, NOW))


def _recorded_bare(sample: Sample) -> Iterator[Attempt]:
    yield replace(sample.genuine, collateral=Collateral())


def _stale(maker: IntelMaker, sample: Sample) -> Iterator[Attempt]:
    policy = maker.policy().model_copy(update={"max_collateral_age_seconds": 86_400})
    yield replace(sample.genuine, policy=policy, collateral=maker.collateral(NOW - timedelta(days=2)))
    for issued in (NOW - timedelta(days=30), NOW - timedelta(days=400), NOW + timedelta(seconds=1)):
        yield replace(sample.genuine, collateral=maker.collateral(issued))


def _foreign_chain(maker: IntelMaker, sample: Sample) -> Iterator[Attempt]:
    """The certificates of another platform of the same vendor, with what is published about either."""
    evidence = maker.evidence(REPORT, chain=_other(maker).chain)
    yield _made(maker, evidence)
    yield _made(maker, evidence, collateral=_other(maker).collateral(NOW))
    # An attestation key that another platform's quoting enclave vouches for.
    other = _other(maker)
    yield _made(maker, replace(maker, label=other.label).evidence(REPORT, chain=maker.chain))


def _self_signed(maker: IntelMaker, sample: Sample) -> Iterator[Attempt]:
    stranger = _stranger(maker)
    evidence = stranger.evidence(REPORT)
    yield _made(maker, evidence)
    yield _made(maker, evidence, collateral=stranger.collateral(NOW))
    # The stranger's platform under the genuine root's certificate, and all that the stranger publishes.
    mixed = stranger.chain.split(b"-----BEGIN")[:3] + maker.chain.split(b"-----BEGIN")[3:]
    evidence = stranger.evidence(REPORT, chain=b"-----BEGIN".join(mixed))
    yield _made(maker, evidence)
    yield _made(maker, evidence, collateral=stranger.collateral(NOW))
    yield _made(maker, maker.evidence(REPORT), collateral=stranger.collateral(NOW))
