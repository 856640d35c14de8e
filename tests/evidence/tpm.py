"""The TPM's rows of the refusal matrix: a recorded quote, and quotes of TPMs made here."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from paddock.crypto.digest import b64
from paddock.errors import (
    BindingMismatch,
    CertificateExpired,
    CertificateRefused,
    CertificateRevoked,
    CollateralStale,
    EvidenceMalformed,
    EvidenceNotTrusted,
    RevocationUnknown,
    SettingRefused,
    TcbRefused,
)
from paddock.evidence import Collateral, TrustPolicy, UnverifiedEvidence
from paddock.evidence.binding import short_report_data
from paddock.evidence.providers.tpm import MEDIA_TYPE, tpm_body
from tests.evidence.matrix import Attempt, Sample, Spoiler
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.tpm import (
    END,
    UNEXTENDED,
    SoftwareRegisters,
    TpmMaker,
    attest,
    public_area,
    record,
    spec_id,
)

VECTORS = Path(__file__).parent / "vectors"
REPORT = bytes(range(64))
RSASSA, RSAPSS = TpmMaker("rsassa"), TpmMaker("rsapss", "tpm/pss", "sha384")
P256, P384 = TpmMaker("p256", "tpm/p256"), TpmMaker("p384", "tpm/p384", "sha384")
STRANGER = TpmMaker("p256", "stranger")


@cache
def recorded() -> dict[str, Any]:
    """The recorded quote as our parts; the AK's attributes were not recorded, those of any AK stand in their place."""
    found = json.loads((VECTORS / "tpm" / "evidence.json").read_text("ascii"))
    key = serialization.load_der_public_key(base64.b64decode(found["ak_public"]))
    assert isinstance(key, rsa.RSAPublicKey)
    values = {number: bytes.fromhex(text) for number, text in enumerate(found["tpm_quote"]["pcrs"])}
    return {
        "quote": base64.b64decode(found["tpm_quote"]["message"]),
        "signature": base64.b64decode(found["tpm_quote"]["signature"]),
        "ak": public_area(key, bytes.fromhex("0014000b")),
        "pcrs": {"sha256": values},
    }


def _recorded_policy() -> TrustPolicy:
    found = json.loads((VECTORS / "tpm" / "evidence.json").read_text("ascii"))
    pem = f"-----BEGIN PUBLIC KEY-----\n{found['ak_public']}\n-----END PUBLIC KEY-----\n"
    return TrustPolicy.model_validate({"tpm": {"roots": [pem]}})


def where(body: bytes, text: str) -> range:
    """Where `text` stands in the body."""
    start = body.index(text.encode("ascii"))
    return range(start, start + len(text))


def _sample(name: str, genuine: Attempt, parts: Mapping[str, Any], *more: bytes, **facts: Any) -> Sample:
    body = genuine.evidence.body
    registers = [value.hex() for values in parts["pcrs"].values() for value in values.values()]
    signed = [where(body, b64(parts["quote"])), *(where(body, b64(each)) for each in more)]
    signed += [where(body, text) for text in registers]
    return Sample(
        name=name,
        vendor="tpm",
        genuine=genuine,
        signed=signed,
        signatures=[where(body, b64(parts["signature"]))],
        **facts,
    )


def _recorded_sample() -> Sample:
    parts = recorded()
    genuine = Attempt(UnverifiedEvidence(MEDIA_TYPE, tpm_body(**parts)), _recorded_policy(), Collateral(), NOW)
    return replace(
        _sample("evidence.json", genuine, parts, other_root=STRANGER.policy(), too_early=None, too_late=None),
        genuine=replace(genuine, report_data=genuine.judge().report_data),
        step=5,
    )


def _made(maker: TpmMaker, evidence: UnverifiedEvidence, **changes: Any) -> Attempt:
    return replace(Attempt(evidence, maker.policy(), Collateral(), NOW, REPORT), **changes)


def _certified(maker: TpmMaker, evidence: UnverifiedEvidence, **changes: Any) -> Attempt:
    return _made(maker, evidence, **{"policy": maker.certified_policy(), **changes})


def _over_long(maker: TpmMaker, sample: Sample) -> Iterator[Attempt]:
    """Every length within the structures made larger; those of the quote are signed so."""
    quote = attest(REPORT, hash_name=maker.hash_name)
    lengths = [(6, 2), (42, 2), (133, 4), (139, 1), (143, 2)]
    assert quote[143:145] == struct.pack(">H", len(quote) - 145)
    for place, size in lengths:
        for more in (1, 2, 100, 1 << 8 * size):
            changed = bytearray(quote)
            number = min(int.from_bytes(quote[place : place + size], "big") + more, (1 << 8 * size) - 1)
            changed[place : place + size] = number.to_bytes(size, "big")
            yield _made(maker, maker.evidence(REPORT, quote=bytes(changed)))
    for part, places in (("signature", (4,)), ("ak", (8,))):
        whole = maker.parts(REPORT)[part]
        for place in places:
            changed = bytearray(whole)
            changed[place : place + 2] = b"\xff\xff"
            yield _made(maker, maker.evidence(REPORT, replaced={part: bytes(changed)}))
    log = SoftwareRegisters()
    log.extend(4, b"boot loader")
    for place in (28, 56, len(spec_id()) + 8, len(spec_id()) + 12 + 34):
        changed = bytearray(log.log)
        changed[place : place + 4] = b"\xff\xff\xff\xff"
        yield _made(maker, maker.evidence(REPORT, pcrs=log.values, event_log=bytes(changed)))


def _svn(maker: TpmMaker, sample: Sample) -> Iterator[Attempt]:
    yield replace(sample.genuine, policy=maker.policy(min_svn={"firmware_version_1": 0x20240126}))
    yield replace(sample.genuine, policy=maker.policy(min_svn={"another": 0}))


def _setting(maker: TpmMaker, sample: Sample) -> Iterator[Attempt]:
    weak = {"sha1": {0: bytes(20)}}
    for pcrs in (weak, {"sha1": {0: bytes(20), 1: bytes(20)}, "sha256": {0: bytes(32)}}):
        yield _made(maker, maker.evidence(REPORT, pcrs=pcrs))
    yield _made(maker, maker.evidence(REPORT, safe=0))


def _revoked(maker: TpmMaker, sample: Sample) -> Iterator[Attempt]:
    for then in (NOW, NOW - timedelta(days=8)):
        gone = maker.collateral(then, revoked=maker.certificate())
        yield _certified(maker, maker.evidence(REPORT, certified=True), collateral=gone)


def _no_collateral(maker: TpmMaker, sample: Sample) -> Iterator[Attempt]:
    strict = maker.certified_policy(require_revocation=True)
    for collateral in (
        Collateral(),
        STRANGER.collateral(NOW),
        maker.collateral(NOW - timedelta(days=8)),
        maker.collateral(NOW + timedelta(days=1)),
    ):
        yield _certified(maker, maker.evidence(REPORT, certified=True), policy=strict, collateral=collateral)


def _stale(maker: TpmMaker, sample: Sample) -> Iterator[Attempt]:
    policy = maker.certified_policy().model_copy(update={"max_collateral_age_seconds": 86_400})
    old = maker.collateral(NOW - timedelta(days=2))
    yield _certified(maker, maker.evidence(REPORT, certified=True), policy=policy, collateral=old)


def _foreign_chain(maker: TpmMaker, sample: Sample) -> Iterator[Attempt]:
    """The genuine certificate of another TPM; one that is for another purpose; one that is no part of the chain."""
    both = maker.certified_policy(roots=[maker.root_pem, STRANGER.root_pem])
    for chain in (
        [STRANGER.certificate()],
        [maker.certificate(purpose=None, sign=False)],
        [maker.certificate(), STRANGER.certificate()],
        [maker.certificate(), maker.certificate()],
        [maker.authority.public_bytes(serialization.Encoding.DER), maker.certificate()],
    ):
        yield _certified(maker, maker.evidence(REPORT, certificates=chain), policy=both)
    yield _made(maker, maker.evidence(REPORT, certificates=[STRANGER.certificate()]))


def _self_signed(maker: TpmMaker, sample: Sample) -> Iterator[Attempt]:
    """Another TPM's key, by itself or certified by its own authority; a key of the same name that signed nothing."""
    yield _made(maker, STRANGER.evidence(REPORT))
    yield _certified(maker, STRANGER.evidence(REPORT, certified=True))
    yield _made(maker, STRANGER.evidence(REPORT, replaced={"ak": maker.public()}))
    yield _made(maker, maker.evidence(REPORT, replaced={"ak": STRANGER.public()}))
    mixed = [STRANGER.certificate(), maker.authority.public_bytes(serialization.Encoding.DER)]
    yield _certified(maker, STRANGER.evidence(REPORT, certificates=mixed))


def _made_sample(maker: TpmMaker, *, step: int = 1) -> Sample:
    spoilers: dict[str, Callable[[TpmMaker, Sample], Iterator[Attempt]]] = {
        "over-long": _over_long,
        "svn": _svn,
        "setting": _setting,
        "revoked": _revoked,
        "no-collateral": _no_collateral,
        "stale-collateral": _stale,
        "foreign-chain": _foreign_chain,
        "self-signed": _self_signed,
    }
    bound: Mapping[str, Spoiler] = {kind: partial(each, maker) for kind, each in spoilers.items()}
    parts = maker.parts(REPORT)
    genuine = _made(maker, UnverifiedEvidence(MEDIA_TYPE, tpm_body(**parts)))
    return _sample(
        f"{maker.kind}, made here",
        genuine,
        parts,
        parts["ak"],
        other_root=STRANGER.policy(),
        too_early=None,
        too_late=None,
        spoilers=bound,
        step=step,
    )


def _certified_sample(maker: TpmMaker) -> Sample:
    """An authority is trusted; the report data are in their short form; an event log explains some of the PCRs."""
    log = SoftwareRegisters(("sha1", "sha256"))
    for register, data in ((0, b"firmware"), (4, b"boot loader"), (4, b"kernel"), (8, b"command line")):
        log.extend(register, data)
    log.log += record(7, b"not extended", kind=3, banks=log.banks)
    pcrs = {"sha256": {**UNEXTENDED, **log.values["sha256"]}}
    short = short_report_data(REPORT)
    evidence = maker.evidence(short, certified=True, pcrs=pcrs, event_log=log.log)
    parts = maker.parts(short, pcrs=pcrs)
    body = json.loads(evidence.body)
    parts |= {"signature": base64.b64decode(body["signature"])}
    return _sample(
        f"{maker.kind} certified, made here",
        _certified(maker, evidence, report_data=short),
        parts,
        maker.certificate(),
        other_root=STRANGER.certified_policy(),
        too_early=datetime(2024, 1, 1, tzinfo=UTC),
        too_late=END + timedelta(days=1),
        step=3,
    )


SAMPLES = [
    _recorded_sample(),
    _made_sample(RSASSA),
    _made_sample(RSAPSS, step=7),
    _made_sample(P256),
    _made_sample(P384, step=31),
    _certified_sample(P256),
]
_SPOILT = (EvidenceMalformed, EvidenceNotTrusted)
REFUSALS = {
    "signed-bit": (*_SPOILT, CertificateRefused, CertificateExpired),
    "signature-bit": _SPOILT,
    "wrong-root": (EvidenceNotTrusted, CertificateRefused),
    "no-section": (EvidenceNotTrusted,),
    "too-early": (CertificateExpired,),
    "too-late": (CertificateExpired,),
    "wrong-nonce": (BindingMismatch,),
    "truncated": (EvidenceMalformed,),
    "trailing": (EvidenceMalformed,),
    "empty": (EvidenceMalformed,),
    "other-type": (EvidenceNotTrusted,),
    "over-long": (EvidenceMalformed,),
    "debug": "a TPM knows no such state",
    "tcb": "a TPM's quote has no word for the state of its firmware, but its version",
    "advisory": "a TPM's quote names no advisories",
    "svn": (TcbRefused,),
    "setting": (SettingRefused,),
    "revoked": (CertificateRevoked,),
    "no-collateral": (RevocationUnknown,),
    "stale-collateral": (CollateralStale,),
    "foreign-chain": (EvidenceNotTrusted, CertificateRefused),
    "self-signed": (EvidenceNotTrusted, CertificateRefused),
}
