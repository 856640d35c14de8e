"""Azure's rows of the refusal matrix: recorded evidence of both kinds of machines, and evidence of machines made here."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

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
    RevocationUnknown,
    SettingRefused,
    TcbRefused,
)
from paddock.evidence import Collateral, TrustPolicy, UnverifiedEvidence
from paddock.evidence.binding import short_report_data
from paddock.evidence.providers.azure import MEDIA_TYPE, azure_body, read_hcl_report
from paddock.evidence.snp_report import write_table
from tests.evidence import intel as intel_rows
from tests.evidence.matrix import Attempt, Sample, Spoiler
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.amd import CXL, DEBUG, MIGRATION, PLAIN_POLICY, SMT
from tests.fixtures.vendors.azure import AzureMaker
from tests.fixtures.vendors.tpm import PCRS, UNEXTENDED, SoftwareRegisters

VECTORS = Path(__file__).parent / "vectors" / "azure"
RECORDED_NOW = datetime(2025, 6, 20, tzinfo=UTC)
REPORT = bytes(range(64))
SNP, TDX = AzureMaker("snp"), AzureMaker("tdx")
STRANGERS = {"snp": AzureMaker("snp", "stranger"), "tdx": AzureMaker("tdx", "stranger")}
OTHERS = {"snp": AzureMaker("snp", "azure/other"), "tdx": AzureMaker("tdx", "azure/other")}
_SIGNED = {"snp": [range(0x2A0)]}
_SNP_SIGNATURE = [range(0x2A0, 0x2A0 + 48), range(0x2A0 + 72, 0x2A0 + 120)]
_RSA_HEAD = bytes.fromhex("0014000b0100")  # RSASSA with SHA-256, 256 bytes


def base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@cache
def recorded(hardware: Literal["snp", "tdx"]) -> dict[str, Any]:
    """Recorded evidence as arguments of `azure_body`; the VCEK goes into the report's certificate table."""
    found = json.loads((VECTORS / f"{hardware}_vtpm_evidence.json").read_text("ascii"))
    hcl = read_hcl_report(base64url(found["hcl_report"]))
    assert hcl.hardware == hardware
    if hardware == "snp":
        report = hcl.report + write_table({"vcek": base64url(found["vcek"])})
    else:
        report = base64url(found["td_quote"])
    return {
        "hardware": hcl.hardware,
        "report": report,
        "runtime": hcl.runtime,
        "quote": bytes.fromhex(found["tpm_quote"]["message"]),
        "signature": _RSA_HEAD + bytes.fromhex(found["tpm_quote"]["signature"]),
        "pcrs": {"sha256": {number: bytes.fromhex(text) for number, text in enumerate(found["tpm_quote"]["pcrs"])}},
        "event_log": None,
    }


def policy(*roots: str, **section: Any) -> TrustPolicy:
    return TrustPolicy.model_validate({"azure": {"roots": list(roots), **section}})


def evidence_of(parts: Mapping[str, Any]) -> UnverifiedEvidence:
    return UnverifiedEvidence(MEDIA_TYPE, azure_body(**parts))


# --- kinds that change the parts and not the text that they travel in ---------------------------------------------


def _flipped(data: bytes, ranges: list[range], step: int, begin: int = 0) -> Iterator[bytes]:
    bits = [bit for part in ranges for bit in range(part.start * 8, part.stop * 8)]
    for bit in bits[begin::step]:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def _with(sample: Sample, parts: Mapping[str, Any], **changed: Any) -> Attempt:
    return replace(sample.genuine, evidence=evidence_of({**parts, **changed}))


def _signed_bits(parts: Mapping[str, Any], steps: Mapping[str, int], sample: Sample) -> Iterator[Attempt]:
    signed = [range(0x2A0)] if parts["hardware"] == "snp" else intel_rows.parts(parts["report"])[0]
    for report in _flipped(parts["report"], signed, steps["report"]):
        yield _with(sample, parts, report=report)
    table = range(1184 + 48, len(parts["report"])) if parts["hardware"] == "snp" else range(0)
    for report in _flipped(parts["report"], [table], steps["report"]):
        yield _with(sample, parts, report=report)
    for name in ("runtime", "quote"):
        for value in _flipped(parts[name], [range(len(parts[name]))], steps[name]):
            yield _with(sample, parts, **{name: value})
    for bank, values in parts["pcrs"].items():
        for number, value in values.items():
            for changed in _flipped(value, [range(len(value))], 67, number):
                yield _with(sample, parts, pcrs={bank: {**values, number: changed}})


def _signature_bits(parts: Mapping[str, Any], steps: Mapping[str, int], sample: Sample) -> Iterator[Attempt]:
    ranges = _SNP_SIGNATURE if parts["hardware"] == "snp" else intel_rows.parts(parts["report"])[1]
    for report in _flipped(parts["report"], ranges, steps["signature"]):
        yield _with(sample, parts, report=report)
    for signature in _flipped(parts["signature"], [range(len(parts["signature"]))], steps["signature"]):
        yield _with(sample, parts, signature=signature)


def _over_long(parts: Mapping[str, Any], sample: Sample) -> Iterator[Attempt]:
    """Lengths in the quote, the signature, the TD's quote and the table made larger."""
    quote, signature = parts["quote"], parts["signature"]
    extra = 8 + struct.unpack(">H", quote[6:8])[0]
    for place in (6, extra):
        yield _with(sample, parts, quote=quote[:place] + b"\xff\xff" + quote[place + 2 :])
    yield _with(sample, parts, signature=signature[:4] + b"\xff\xff" + signature[6:])
    report = parts["report"]
    places = [1184 + 16, 1184 + 20] if parts["hardware"] == "snp" else [48 + 584]
    for place in places[: (len(report) - 1184) if parts["hardware"] == "snp" else None]:
        number = int.from_bytes(report[place : place + 4], "little")
        for wrong in (number + 1, number + 100, 0xFFFFFFFF):
            changed = report[:place] + wrong.to_bytes(4, "little") + report[place + 4 :]
            yield _with(sample, parts, report=changed)


def _swapped(parts: Mapping[str, Any], other: Mapping[str, Any], sample: Sample) -> Iterator[Attempt]:
    """What is genuine of one machine beside what is genuine of another."""
    for names in (("report",), ("runtime",), ("quote", "signature", "pcrs"), ("report", "runtime"), ("signature",)):
        yield _with(sample, parts, **{name: other[name] for name in names})


# --- machines made here ------------------------------------------------------------------------------------------


def _attempt(maker: AzureMaker, evidence: UnverifiedEvidence, **changes: Any) -> Attempt:
    return replace(Attempt(evidence, maker.policy(), maker.collateral(NOW), NOW, REPORT), **changes)


def _wrong_nonce(maker: AzureMaker, sample: Sample) -> Iterator[Attempt]:
    yield replace(sample.genuine, report_data=bytes(63) + b"\1")
    # Neither form; the short form of another question; a genuine one with something behind it.
    for bound in (b"", REPORT[:63], REPORT + b"\0", REPORT[:32], short_report_data(REPORT) + b"\0"):
        yield _attempt(maker, maker.evidence(bound))
    yield _attempt(maker, maker.evidence(short_report_data(bytes(64))))
    # That the hardware's report is over the question itself, as without a paravisor, is no answer to it.
    yield _attempt(maker, maker.evidence(bytes(64)), report_data=REPORT)


def _debug(maker: AzureMaker, sample: Sample) -> Iterator[Attempt]:
    changes = {"debug": True} if maker.hardware == "tdx" else {"policy": PLAIN_POLICY | DEBUG}
    yield _attempt(maker, maker.evidence(REPORT, **changes))
    yield _attempt(maker, maker.evidence(REPORT, **changes), policy=maker.policy(allow=["debug"]))


def _setting(maker: AzureMaker, sample: Sample) -> Iterator[Attempt]:
    weak = {"sha1": {0: bytes(20)}}
    for pcrs in (weak, {**PCRS, "sha1": {10: bytes(20)}}):
        yield _attempt(maker, maker.evidence(REPORT, pcrs=pcrs))
    yield _attempt(maker, maker.evidence(REPORT, quote={"safe": 0}))
    configurations: list[dict[str, Any]] = [
        {"secure_boot": False},
        {"secure_boot": None},
        {"secure_boot": "true"},
        {"machine": {}},
        {"interactive_console_enabled": True},
        {"interactive_console_enabled": "no"},
    ]
    for configuration in configurations:
        yield _attempt(maker, maker.evidence(REPORT, runtime=maker.runtime(**configuration)))


def _svn(maker: AzureMaker, sample: Sample) -> Iterator[Attempt]:
    for least in ({"firmware_version_1": 0x20240126}, {"another": 0}):
        yield replace(sample.genuine, policy=maker.policy(min_svn=least))


def _foreign_chain(maker: AzureMaker, sample: Sample) -> Iterator[Attempt]:
    """Another machine of the same cloud: its hardware, its vTPM, its run-time data; a vTPM of nobody."""
    other = OTHERS[maker.hardware]
    parts = maker.parts(REPORT)
    for attempt in _swapped(parts, other.parts(REPORT), sample):
        collateral = sample.genuine.collateral.merged(other.collateral(NOW))
        yield replace(attempt, collateral=collateral)
    # A key that the guest names itself, beside or in place of the vTPM's.
    for keys in (
        [*other.keys()[:1]],
        [*maker.keys(), *other.keys()[:1]],
        [{**maker.keys()[0], "kid": "HCLEkPub"}, other.keys()[0]],
    ):
        yield _with(sample, parts, runtime=maker.runtime(keys=keys))
        yield _with(sample, {**other.parts(REPORT), "report": parts["report"]}, runtime=maker.runtime(keys=keys))


def _self_signed(maker: AzureMaker, sample: Sample) -> Iterator[Attempt]:
    stranger = STRANGERS[maker.hardware]
    for collateral in (sample.genuine.collateral, stranger.collateral(NOW)):
        yield replace(sample.genuine, evidence=stranger.evidence(REPORT), collateral=collateral)
        # Its own vTPM, under hardware that is genuine; genuine hardware's report, under its own vTPM's key.
        mixed = {**maker.parts(REPORT), **{name: stranger.parts(REPORT)[name] for name in ("quote", "signature")}}
        yield replace(sample.genuine, evidence=evidence_of(mixed), collateral=collateral)


# TDX: what Intel's quotes bring.


def _tcb(maker: AzureMaker, sample: Sample) -> Iterator[Attempt]:
    for status in ("OutOfDate", "SWHardeningNeeded", "Revoked"):
        yield replace(sample.genuine, collateral=maker.collateral(NOW, status=status))


def _advisory(maker: AzureMaker, sample: Sample) -> Iterator[Attempt]:
    advised = maker.collateral(NOW, advisories=("INTEL-SA-00615", "INTEL-SA-00289"))
    for accepted in ([], ["INTEL-SA-00615"]):
        yield replace(sample.genuine, collateral=advised, policy=maker.policy(advisories=accepted))


def _td_svn(maker: AzureMaker, sample: Sample) -> Iterator[Attempt]:
    yield from _svn(maker, sample)
    yield replace(sample.genuine, policy=maker.policy(min_svn={"tdx_module": 6}))


def _td_setting(maker: AzureMaker, sample: Sample) -> Iterator[Attempt]:
    yield from _setting(maker, sample)
    yield _attempt(maker, maker.evidence(REPORT, attributes=0))
    for bit in (29, 30, 63):
        yield _attempt(maker, maker.evidence(REPORT, attributes=1 << 28 | 1 << bit))


def _td_revoked(maker: AzureMaker, sample: Sample) -> Iterator[Attempt]:
    for part in ("pck", "ca", "signer"):
        yield replace(sample.genuine, collateral=maker.collateral(NOW, revoked=part))


def _td_bare(_maker: AzureMaker, sample: Sample) -> Iterator[Attempt]:
    yield replace(sample.genuine, collateral=Collateral())


def _td_stale(maker: AzureMaker, sample: Sample) -> Iterator[Attempt]:
    aged = maker.policy().model_copy(update={"max_collateral_age_seconds": 86_400})
    yield replace(sample.genuine, policy=aged, collateral=maker.collateral(NOW - timedelta(days=2)))
    yield replace(sample.genuine, collateral=maker.collateral(NOW - timedelta(days=400)))


# SEV-SNP: what AMD's reports bring.


def _snp_svn(maker: AzureMaker, sample: Sample) -> Iterator[Attempt]:
    yield from _svn(maker, sample)
    for least in ({"snp": 25}, {"microcode": 220}, {"guest_svn": 4}):
        yield replace(sample.genuine, policy=maker.policy(min_svn=least))


def _snp_setting(maker: AzureMaker, sample: Sample) -> Iterator[Attempt]:
    yield from _setting(maker, sample)
    for bit in (SMT, MIGRATION, CXL):
        yield _attempt(maker, maker.evidence(REPORT, policy=PLAIN_POLICY | bit))


def _snp_revoked(maker: AzureMaker, sample: Sample) -> Iterator[Attempt]:
    for part in ("leaf", "issuer"):
        yield replace(sample.genuine, collateral=maker.collateral(NOW, revoked=part))


def _snp_bare(maker: AzureMaker, _sample: Sample) -> Iterator[Attempt]:
    bare = maker.evidence(REPORT, table=b"")
    for collateral in (Collateral(), STRANGERS["snp"].collateral(NOW)):
        yield _attempt(maker, bare, collateral=collateral)


def _snp_stale(maker: AzureMaker, sample: Sample) -> Iterator[Attempt]:
    strict = maker.policy(require_revocation=True).model_copy(update={"max_collateral_age_seconds": 86_400})
    yield replace(sample.genuine, policy=strict, collateral=maker.collateral(NOW - timedelta(days=2)))
    yield replace(sample.genuine, policy=strict, collateral=maker.collateral(NOW - timedelta(days=400)))


def _snp_foreign(maker: AzureMaker, sample: Sample) -> Iterator[Attempt]:
    """Also what the guest asked its hardware for itself: the firmware writes down who asked."""
    yield from _foreign_chain(maker, sample)
    for level in (1, 2, 3):
        yield _attempt(maker, maker.evidence(REPORT, vmpl=level))
        yield _attempt(maker, maker.evidence(REPORT, vmpl=level), policy=maker.policy(allow=["vmpl"]))


_ROWS: Mapping[str, Mapping[str, Callable[[AzureMaker, Sample], Iterator[Attempt]]]] = {
    "tdx": {
        "tcb": _tcb,
        "advisory": _advisory,
        "svn": _td_svn,
        "setting": _td_setting,
        "revoked": _td_revoked,
        "no-collateral": _td_bare,
        "stale-collateral": _td_stale,
        "foreign-chain": _foreign_chain,
    },
    "snp": {
        "svn": _snp_svn,
        "setting": _snp_setting,
        "revoked": _snp_revoked,
        "no-collateral": _snp_bare,
        "stale-collateral": _snp_stale,
        "foreign-chain": _snp_foreign,
    },
}


# --- samples ------------------------------------------------------------------------------------------------------


def _spoilers(
    parts: Mapping[str, Any], steps: Mapping[str, int], maker: AzureMaker | None = None
) -> dict[str, Spoiler]:
    found: dict[str, Spoiler] = {
        "signed-bit": partial(_signed_bits, parts, steps),
        "signature-bit": partial(_signature_bits, parts, steps),
        "over-long": partial(_over_long, parts),
    }
    if maker is not None:
        rows = {"wrong-nonce": _wrong_nonce, "debug": _debug, "self-signed": _self_signed, **_ROWS[maker.hardware]}
        found |= {kind: partial(each, maker) for kind, each in rows.items()}
    return found


def _made_sample(maker: AzureMaker, steps: Mapping[str, int], *, logged: bool = False) -> Sample:
    """With `logged`, the report data are in their short form, and an event log explains some of the PCRs."""
    bound, changes = REPORT, dict[str, Any]()
    if logged:
        log = SoftwareRegisters(("sha256", "sha384"))
        for register, data in ((0, b"firmware"), (4, b"boot loader"), (4, b"kernel")):
            log.extend(register, data)
        bound = short_report_data(REPORT)
        changes = {"pcrs": {"sha256": {**UNEXTENDED, **log.values["sha256"]}}}
    parts = maker.parts(bound, **changes)
    if logged:
        parts["event_log"] = log.log
    return Sample(
        name=f"{maker.hardware} ({maker.hash_name}, {maker.scheme}), made here",
        vendor="azure",
        genuine=_attempt(maker, evidence_of(parts), report_data=bound),
        signed=[],
        signatures=[],
        other_root=STRANGERS[maker.hardware].policy(),
        too_early=datetime(2019, 1, 1, tzinfo=UTC),
        too_late=datetime(2051, 1, 1, tzinfo=UTC),
        spoilers=_spoilers(parts, steps, None if logged else maker),
    )


def _recorded_sample(hardware: Literal["snp", "tdx"], trust: TrustPolicy, steps: Mapping[str, int]) -> Sample:
    parts = recorded(hardware)
    genuine = Attempt(evidence_of(parts), trust, Collateral(), RECORDED_NOW)
    return Sample(
        name=f"{hardware}_vtpm_evidence.json",
        vendor="azure",
        genuine=replace(genuine, report_data=b"challenge"),
        signed=[],
        signatures=[],
        other_root=policy("amd-genoa", allow=["smt"]),
        too_early=datetime(2020, 1, 1, tzinfo=UTC),
        too_late=datetime(2050, 1, 1, tzinfo=UTC),
        spoilers=_spoilers(parts, steps),
    )


SAMPLES = [
    _recorded_sample(
        "snp", policy("amd-milan", allow=["smt"]), {"report": 11, "runtime": 19, "quote": 1, "signature": 7}
    ),
    _made_sample(SNP, {"report": 29, "runtime": 31, "quote": 7, "signature": 31}),
    _made_sample(TDX, {"report": 101, "runtime": 31, "quote": 7, "signature": 31}),
    _made_sample(
        AzureMaker("tdx", "azure/sha384", "sha384", "rsapss"),
        {"report": 307, "runtime": 101, "quote": 31, "signature": 61},
        logged=True,
    ),
]
_SPOILT = (EvidenceMalformed, EvidenceNotTrusted)
REFUSALS = {
    "signed-bit": (*_SPOILT, CertificateRefused, CertificateExpired),
    "signature-bit": _SPOILT,
    "wrong-root": (EvidenceNotTrusted, CertificateRefused),
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
    "stale-collateral": (CollateralStale, RevocationUnknown),
    "foreign-chain": _SPOILT,
    "self-signed": (EvidenceNotTrusted, CertificateRefused),
}
