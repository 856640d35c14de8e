"""SEV-SNP's rows of the refusal matrix: recorded reports of every product, and reports made here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from paddock.crypto.x509 import Certificate
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
    RevocationUnknown,
    SettingRefused,
    TcbRefused,
)
from paddock.evidence import Collateral, TrustPolicy, UnverifiedEvidence
from paddock.evidence.collateral import CollateralItem, certificate_item
from paddock.evidence.providers.snp import MEDIA_TYPE
from paddock.evidence.snp_report import REPORT_BYTES, SIGNED_BYTES, write_table
from tests.evidence.matrix import Attempt, Sample, Spoiler
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.amd import CXL, DEBUG, END, MIGRATION, PLAIN_POLICY, SMT, AmdMaker, der

VECTORS = Path(__file__).parent / "vectors" / "snp"
REPORT = bytes(range(64))
MAKERS = [
    AmdMaker("Milan", "vcek", 2),
    AmdMaker("Genoa", "vcek", 3),
    AmdMaker("Turin", "vcek", 5),
    AmdMaker("Milan", "vlek", 3),
    AmdMaker("Turin", "vlek", 5),
]
FETCHED = "2026-01-01T00:00:00Z"
Row = Callable[[AmdMaker, Sample], Iterator[Attempt]]


def recorded(name: str) -> bytes:
    return (VECTORS / name).read_bytes()


def recorded_items(*names: str) -> list[CollateralItem]:
    """Recorded certificates, in DER or PEM, as collateral."""
    found = []
    for name in names:
        data = recorded(name)
        ders = [each.der for each in Certificate.from_pem(data)] if name.endswith(".pem") else [data]
        found += [certificate_item(each, FETCHED) for each in ders]
    return found


def stranger(maker: AmdMaker) -> AmdMaker:
    """Another vendor that calls itself AMD."""
    return replace(maker, label="stranger")


def other(maker: AmdMaker) -> AmdMaker:
    """Another chip or cloud of the same vendor."""
    return replace(maker, label=f"{maker.label}/other")


# --- recorded -----------------------------------------------------------------------------------------------------


def _recorded_sample(report: str, certificates: tuple[str, ...], product: str, now: datetime, **section: Any) -> Sample:
    policy = {"roots": [f"amd-{product}"], "allow": ["smt", "vmpl"], **section}
    body = recorded(report)
    wrong = "amd-genoa" if product == "milan" else "amd-milan"
    genuine = Attempt(
        UnverifiedEvidence(MEDIA_TYPE, body),
        TrustPolicy.model_validate({"snp": policy}),
        Collateral(recorded_items(*certificates)),
        now,
        body[0x50:0x90],
    )
    return Sample(
        name=report,
        vendor="snp",
        genuine=genuine,
        signed=[range(SIGNED_BYTES)],
        signatures=[range(SIGNED_BYTES, REPORT_BYTES)],
        other_root=TrustPolicy.model_validate({"snp": {**policy, "roots": [wrong]}}),
        too_early=datetime(2022, 1, 1, tzinfo=UTC),
        too_late=datetime(2033, 1, 1, tzinfo=UTC),
        spoilers={"no-collateral": _bare, "foreign-chain": _recorded_foreign},
        step=7,
    )


def _bare(sample: Sample) -> Iterator[Attempt]:
    yield replace(sample.genuine, collateral=Collateral())


def _recorded_foreign(sample: Sample) -> Iterator[Attempt]:
    """Genuine certificates of AMD's for other chips, states and kinds, as collateral and in the table."""
    others = ["vcek_invalid_legacy.der", "vcek_invalid_new.der", "vcek_milan.der", "vcek_milan_debug.der"]
    others += ["vcek_genoa.der", "vcek_turin.der", "vlek_milan.der"]
    own = {item.body for item in sample.genuine.collateral}
    for name in others:
        certificate = recorded(name)
        if certificate not in own:
            yield replace(sample.genuine, collateral=Collateral(recorded_items(name, "asvk_ark_milan.pem")))
            for part in ("vcek", "vlek"):
                yield sample.with_body(sample.genuine.evidence.body + write_table({part: certificate}))


def _recorded_debug(sample: Sample) -> Iterator[Attempt]:
    collateral = Collateral(recorded_items("vcek_milan_debug.der"))
    evidence = UnverifiedEvidence(MEDIA_TYPE, recorded("report_milan_debug.bin"))
    allowed = TrustPolicy.model_validate({"snp": {"roots": ["amd-milan"], "allow": ["smt", "migration", "debug"]}})
    yield replace(sample.genuine, evidence=evidence, collateral=collateral, policy=allowed)


# --- made here ----------------------------------------------------------------------------------------------------


def made(maker: AmdMaker, evidence: UnverifiedEvidence | None = None, **changes: Any) -> Attempt:
    """A report with its whole table, and nothing at hand."""
    attempt = Attempt(evidence or maker.evidence(REPORT), maker.policy(), Collateral(), NOW, REPORT)
    return replace(attempt, **changes)


def _over_long(maker: AmdMaker, sample: Sample) -> Iterator[Attempt]:
    """Every offset and length of the table made larger and smaller."""
    body = sample.genuine.evidence.body
    for row in range(4):
        for place in (REPORT_BYTES + row * 24 + 16, REPORT_BYTES + row * 24 + 20):
            number = int.from_bytes(body[place : place + 4], "little")
            for wrong in (number + 1, number + 24, max(number, 1) - 1, 0, 1 << 31, (1 << 32) - 1):
                if wrong != number:
                    yield sample.with_body(body[:place] + wrong.to_bytes(4, "little") + body[place + 4 :])


def _debug(maker: AmdMaker, sample: Sample) -> Iterator[Attempt]:
    evidence = maker.evidence(REPORT, policy=PLAIN_POLICY | DEBUG)
    yield made(maker, evidence)
    yield made(maker, evidence, policy=maker.policy(allow=["debug"]))


def _svn(maker: AmdMaker, sample: Sample) -> Iterator[Attempt]:
    for name, least in (("snp", 26), ("microcode", 255), ("bl", 11), ("tee", 1), ("guest_svn", 4), ("another", 0)):
        yield replace(sample.genuine, policy=maker.policy(min_svn={name: least}))
    yield replace(sample.genuine, policy=maker.policy(min_svn={"abi_minor": 56}))
    older = bytes([0, 0, 0, 0, 0, 0, 0, 71])
    asked = maker.policy(min_svn={"snp": 1})
    for name in ("launch_tcb", "committed_tcb", "current_tcb"):
        evidence = maker.evidence(REPORT, **{name: older})
        yield made(maker, evidence, policy=asked.model_copy(update={"snp": _allowing(asked, "provisional-firmware")}))


def _allowing(policy: TrustPolicy, *settings: str) -> Any:
    assert policy.snp is not None
    return policy.snp.model_copy(update={"allow": list(settings)})


def _setting(maker: AmdMaker, sample: Sample) -> Iterator[Attempt]:
    for fields in (
        {"policy": PLAIN_POLICY | SMT},
        {"platform": 1},
        {"policy": PLAIN_POLICY | MIGRATION},
        {"policy": PLAIN_POLICY | CXL},
        {"vmpl": 1},
        {"vmpl": 3},
        {"current": bytes([44, 55, 1])},
        {"committed_tcb": bytes(7) + b"\x47"},
        {"platform": 1 << 8},
        {"platform": 1 << 63},
    ):
        yield made(maker, maker.evidence(REPORT, **fields))


def _revoked(maker: AmdMaker, sample: Sample) -> Iterator[Attempt]:
    for part in ("leaf", "issuer"):
        for at in (NOW, NOW - timedelta(days=1000)):
            yield replace(sample.genuine, collateral=maker.collateral(at, part))
    table = write_table({**maker.parts(), "crl": maker.crl(NOW, "ark", [2, 3])})
    yield made(maker, maker.evidence(REPORT, table=table))


def _no_collateral(maker: AmdMaker, sample: Sample) -> Iterator[Attempt]:
    bare = maker.evidence(REPORT, table=b"")
    items = list(maker.collateral(NOW))
    yield made(maker, bare)
    yield made(maker, bare, collateral=Collateral(items[1:]))
    yield made(maker, bare, collateral=Collateral([items[0], *items[2:]]))
    yield made(maker, bare, collateral=other(maker).collateral(NOW)) if maker.kind == "vcek" else made(maker, bare)
    yield made(maker, bare, collateral=Collateral([replace(items[0], body=b"\x30\0"), *items[1:]]))
    strict = maker.policy(require_revocation=True)
    yield replace(sample.genuine, policy=strict)
    for at in (NOW - timedelta(days=400), NOW + timedelta(days=1)):
        yield replace(sample.genuine, policy=strict, collateral=maker.collateral(at))
    yield replace(sample.genuine, policy=strict, collateral=stranger(maker).collateral(NOW))
    own = maker.list_item(NOW, maker.crl(NOW, "ask" if maker.kind == "vcek" else "asvk", []), "own")
    yield replace(sample.genuine, policy=strict, collateral=Collateral([own]))  # AMD's lists are the root's


def _stale(maker: AmdMaker, sample: Sample) -> Iterator[Attempt]:
    policy = maker.policy(require_revocation=True).model_copy(update={"max_collateral_age_seconds": 86_400})
    yield replace(sample.genuine, policy=policy, collateral=maker.collateral(NOW - timedelta(days=2)))


def _foreign_chain(maker: AmdMaker, sample: Sample) -> Iterator[Attempt]:
    """Certificates of another chip or cloud, of another state, product and kind, in the table and as collateral."""
    yield made(maker, maker.evidence(REPORT, table=write_table(other(maker).parts())))
    strangers = [other(maker), replace(maker, kind="vlek" if maker.kind == "vcek" else "vcek")]
    strangers.append(replace(maker, product="Turin" if maker.product != "Turin" else "Milan"))
    for another in strangers:
        yield made(maker, maker.evidence(REPORT, table=write_table(another.parts())))
        parts = {**maker.parts(), maker.kind: der(another.leaf)}
        yield made(maker, maker.evidence(REPORT, table=write_table(parts)))
        yield made(maker, maker.evidence(REPORT, table=b""), collateral=another.collateral(NOW))
    older = maker.leaf_with(tcb=bytes(7) + b"\x47")
    yield made(maker, maker.evidence(REPORT, table=write_table({**maker.parts(), maker.kind: der(older)})))


def _self_signed(maker: AmdMaker, sample: Sample) -> Iterator[Attempt]:
    attacker = stranger(maker)
    yield made(maker, attacker.evidence(REPORT))
    yield made(maker, attacker.evidence(REPORT, table=b""), collateral=attacker.collateral(NOW))
    mine = attacker.leaf_with(issuer=maker.issuer.subject)
    for parts in (
        {**attacker.parts(), "ark": der(maker.ark)},
        {**maker.parts(), maker.kind: der(attacker.leaf)},
        {**maker.parts(), maker.kind: der(mine), "ask": der(attacker.issuer)},
    ):
        fields = {"chip_id": attacker.chip_id} if maker.kind == "vcek" else {}
        evidence = maker.evidence(REPORT, table=write_table(parts), signing=attacker.key, **fields)
        yield made(maker, evidence)


def _made_sample(maker: AmdMaker) -> Sample:
    rows: Mapping[str, Row] = {
        "over-long": _over_long,
        "debug": _debug,
        "svn": _svn,
        "setting": _setting,
        "revoked": _revoked,
        "no-collateral": _no_collateral,
        "stale-collateral": _stale,
        "foreign-chain": _foreign_chain,
        "self-signed": _self_signed,
    }
    spoilers: Mapping[str, Spoiler] = {kind: partial(each, maker) for kind, each in rows.items()}
    genuine = made(maker)
    body = genuine.evidence.body
    return Sample(
        name=f"{maker.product} {maker.kind}, version {maker.version}, made here",
        vendor="snp",
        genuine=genuine,
        signed=[range(SIGNED_BYTES), range(REPORT_BYTES, len(body))],
        signatures=[range(SIGNED_BYTES, REPORT_BYTES)],
        other_root=stranger(maker).policy(),
        too_early=datetime(2019, 1, 1, tzinfo=UTC),
        too_late=END + timedelta(days=1),
        spoilers=spoilers,
        step=29,
    )


_AT = datetime(2026, 6, 1, tzinfo=UTC)
SAMPLES = [
    replace(
        _recorded := _recorded_sample("report_milan.bin", ("vcek_milan.der",), "milan", _AT),
        spoilers={**_recorded.spoilers, "debug": _recorded_debug},
        step=1,
    ),
    _recorded_sample("report_genoa.bin", ("vcek_genoa.der",), "genoa", _AT),
    _recorded_sample("report_turin.bin", ("vcek_turin.der",), "turin", _AT),
    _recorded_sample(
        "report_milan_vlek.bin",
        ("vlek_milan.der", "asvk_ark_milan.pem"),
        "milan",
        datetime(2025, 6, 1, tzinfo=UTC),
    ),
    *map(_made_sample, MAKERS),
]
_SPOILT = (EvidenceMalformed, EvidenceNotTrusted, CertificateRefused, CollateralMissing)
REFUSALS: Mapping[str, tuple[type[PaddockError], ...] | str] = {
    "signed-bit": (*_SPOILT, CertificateExpired),
    "signature-bit": (EvidenceMalformed, EvidenceNotTrusted),
    "wrong-root": (EvidenceNotTrusted, CertificateRefused),
    "no-section": (EvidenceNotTrusted,),
    "too-early": (CertificateExpired,),
    "too-late": (CertificateExpired,),
    "wrong-nonce": (BindingMismatch,),
    "truncated": (EvidenceMalformed, CollateralMissing),  # cut at its end, a report is one without certificates
    "trailing": (EvidenceMalformed,),
    "empty": (EvidenceMalformed,),
    "other-type": (EvidenceNotTrusted,),
    "over-long": (EvidenceMalformed,),
    "debug": (DebugRefused,),
    "tcb": "AMD has no word for the state of a platform's firmware: its version numbers tell",
    "advisory": "AMD names no advisories for a platform",
    "svn": (TcbRefused,),
    "setting": (SettingRefused,),
    "revoked": (CertificateRevoked,),
    "no-collateral": (CollateralMissing, RevocationUnknown),
    "stale-collateral": (CollateralStale,),
    "foreign-chain": _SPOILT,
    "self-signed": (EvidenceNotTrusted, CertificateRefused),
}
