"""Nitro documents: what a recorded one is known to say, and every way in which a document can break the format."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from paddock.crypto.x509 import Certificate
from paddock.errors import (
    BindingMismatch,
    CertificateExpired,
    CertificateRefused,
    EvidenceMalformed,
    EvidenceNotTrusted,
    EvidenceStale,
    PaddockError,
)
from paddock.evidence import Claims, Collateral, EvidenceSet, TrustPolicy, UnverifiedEvidence, appraise, verify_evidence
from paddock.evidence.binding import check_report_data, short_report_data
from paddock.evidence.cbor import Tagged, read_cbor, write_cbor
from paddock.evidence.claims import registers_digest
from paddock.evidence.provider import installed_providers
from paddock.evidence.providers.nitro import MAX_BODY_BYTES, MEDIA_TYPE, NitroProvider, read_document
from paddock.evidence.roots import named_root
from tests.evidence.nitro import DEFINITE, OPEN, RECORDED_AT, RECORDED_POLICY, REPORT, recorded
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.aws import PCRS, NitroMaker
from tests.fixtures.vendors.cose import ES256, cose_key, sign1


def judge(
    body: bytes,
    policy: TrustPolicy = RECORDED_POLICY,
    now: datetime = RECORDED_AT,
    collateral: Collateral | None = None,
) -> Claims:
    evidence = UnverifiedEvidence(MEDIA_TYPE, body)
    return verify_evidence(evidence, policy=policy, collateral=collateral or Collateral(), now=now)


def made(maker: NitroMaker = DEFINITE, **changes: Any) -> Claims:
    return judge(maker.evidence(REPORT, **changes).body, maker.policy(), NOW)


def without(*names: str) -> bytes:
    members = DEFINITE.members(REPORT)
    return DEFINITE.payload({name: value for name, value in members.items() if name not in names})


def test_the_recorded_document_says_what_is_known_of_it() -> None:
    claims = judge(recorded())
    assert (claims.tee, claims.debug, claims.simulated) == ("confidential-vm", False, False)
    assert claims.issued == datetime(2022, 10, 13, 8, 58, 2, 136_000, tzinfo=UTC)
    assert set(claims.registers) == {"pcr0", "pcr1", "pcr2", "pcr8"}
    assert claims.registers["pcr0"].startswith("f4d48b81a460c991")
    assert claims.registers["pcr8"].startswith("8790eb3cce6c83d0")
    assert claims.measurement == registers_digest("nitro", claims.registers)
    assert len(claims.report_data) == 256
    assert claims.details["module_id"] == "i-020b6af9246d90e92-enc0183d09086c24190"
    assert set(claims.details) == {"module_id", "pcr3", "pcr4"}
    assert claims.signer == named_root("aws-nitro-g1")[-1].public_key().fingerprint()
    assert (claims.tcb_status, claims.svns, claims.settings, claims.device) == (None, {}, frozenset(), None)
    assert (claims.collateral, claims.collateral_issued) == ((), None)


def test_the_recorded_document_answers_no_question_of_ours() -> None:
    with pytest.raises(BindingMismatch):
        check_report_data(REPORT, judge(recorded()).report_data)


def test_the_root_is_the_one_that_aws_publishes() -> None:
    der = named_root("aws-nitro-g1")[-1].der
    # AWS Nitro Enclaves user guide, "Verifying the root of trust": the fingerprint of the root.
    assert hashlib.sha256(der).hexdigest() == "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"


@pytest.mark.parametrize("maker", [DEFINITE, OPEN])
def test_both_forms_that_aws_writes_are_read(maker: NitroMaker) -> None:
    claims = made(maker)
    assert claims.report_data == REPORT
    assert claims.issued == NOW
    assert set(claims.registers) == {"pcr0", "pcr1", "pcr2"}


def test_a_root_can_be_named_by_its_key() -> None:
    digest = Certificate.from_der(DEFINITE.bundle()[0]).public_key().fingerprint()
    assert judge(DEFINITE.evidence(REPORT).body, TrustPolicy.model_validate({"nitro": {"roots": [digest]}}), NOW)


def test_a_root_can_stand_lower_in_the_chain() -> None:
    digest = Certificate.from_der(DEFINITE.bundle()[1]).public_key().fingerprint()
    claims = judge(DEFINITE.evidence(REPORT).body, TrustPolicy.model_validate({"nitro": {"roots": [digest]}}), NOW)
    assert claims.signer == digest


def test_the_signer_of_an_image_is_a_register_where_there_is_one() -> None:
    signer = b"\x88" * 48
    claims = made(pcrs={**PCRS, 8: signer, 9: b"\x99" * 48})
    assert claims.registers["pcr8"] == signer.hex()
    assert claims.details["pcr9"] == "99" * 48
    assert claims.measurement != made().measurement


def test_an_enclave_is_a_sealed_machine_where_the_policy_says_so() -> None:
    evidence = EvidenceSet.single(DEFINITE.evidence(REPORT))
    found = []
    for images in ([], [made().measurement]):
        policy = DEFINITE.policy().model_copy(update={"sealed_images": images})
        verdict = appraise(evidence, level="L5", report_data=REPORT, policy=policy, collateral=Collateral(), now=NOW)
        found.append(verdict.environment.tee)
    assert found == ["confidential-vm", "sealed-vm"]


@pytest.mark.parametrize("nonce", [REPORT, short_report_data(REPORT)])
def test_report_data_is_the_nonce(nonce: bytes) -> None:
    check_report_data(REPORT, made(nonce=nonce).report_data)


@pytest.mark.parametrize("nonce", [None, b"", bytes(64), REPORT + b"\0", REPORT[:63], bytes(1024)])
def test_another_nonce_or_none_is_no_answer(nonce: bytes | None) -> None:
    with pytest.raises(BindingMismatch):
        check_report_data(REPORT, made(nonce=nonce, user_data=REPORT).report_data)


def test_a_document_without_optional_members_is_read() -> None:
    claims = judge(DEFINITE.document(without("public_key", "user_data", "nonce")).body, DEFINITE.policy(), NOW)
    assert claims.report_data == b""


def test_other_members_may_be_used_by_others() -> None:
    assert made(public_key=b"k" * 1024, user_data=b"").report_data == REPORT
    assert made(user_data=bytes(1024)).report_data == REPORT


@pytest.mark.parametrize("name", ["module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"])
def test_a_member_that_is_missing_or_null_is_refused(name: str) -> None:
    for payload in (without(name), DEFINITE.payload(DEFINITE.members(REPORT) | {name: None})):
        with pytest.raises(EvidenceMalformed):
            judge(DEFINITE.document(payload).body, DEFINITE.policy(), NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"module_id": ""},
        {"module_id": "x" * 257},
        {"module_id": b"i-0"},
        {"module_id": "a\nb"},
        {"digest": "SHA256"},
        {"digest": "sha384"},
        {"digest": b"SHA384"},
        {"timestamp": 0},
        {"timestamp": -1},
        {"timestamp": "2022"},
        {"timestamp": True},
        {"timestamp": 1 << 63},
        {"pcrs": {}},
        {"pcrs": []},
        {"pcrs": {0: bytes(48), 1: bytes(48)}},
        {"pcrs": {**PCRS, 0: bytes(32)}},
        {"pcrs": {**PCRS, 3: bytes(64)}},
        {"pcrs": {**PCRS, 3: "0" * 48}},
        {"pcrs": {**PCRS, 3: None}},
        {"pcrs": {**PCRS, 32: bytes(48)}},
        {"pcrs": {**PCRS, -1: bytes(48)}},
        {"pcrs": {**PCRS, "0": bytes(48)}},
        {"certificate": b""},
        {"certificate": b"\x30\0"},
        {"certificate": bytes(1025)},
        {"certificate": "text"},
        {"certificate": []},
        {"certificate": DEFINITE.leaf(NOW) + b"\0"},
        {"cabundle": []},
        {"cabundle": b""},
        {"cabundle": [b""]},
        {"cabundle": [None]},
        {"cabundle": ["text"]},
        {"cabundle": [bytes(1025)]},
        {"cabundle": DEFINITE.bundle() * 2},
        {"public_key": b""},
        {"public_key": bytes(1025)},
        {"public_key": "text"},
        {"user_data": bytes(1025)},
        {"user_data": 1},
        {"nonce": bytes(1025)},
        {"nonce": "text"},
        {"nonce": False},
        {"more": None},
        {1: b"more"},
    ],
)
def test_a_member_of_another_form_is_refused(change: dict[Any, Any]) -> None:
    payload = DEFINITE.payload(DEFINITE.members(REPORT) | change)
    with pytest.raises(EvidenceMalformed):
        judge(DEFINITE.document(payload).body, DEFINITE.policy(), NOW)


@pytest.mark.parametrize("payload", [b"\xa0", b"\xbf\xff", b"\x80", b"\xf6", b"\0", b"text", bytes(1 << 14) + b"\0"])
def test_a_payload_that_is_no_document_is_refused(payload: bytes) -> None:
    with pytest.raises(EvidenceMalformed):
        read_document(payload)
    with pytest.raises(EvidenceMalformed):
        judge(DEFINITE.document(payload).body, DEFINITE.policy(), NOW)


def test_a_map_has_no_other_end() -> None:
    whole = OPEN.payload(OPEN.members(REPORT))
    for payload in (whole[:-1], whole + b"\xff", whole[:-1] + b"\xf6\xff", whole[1:-1]):
        with pytest.raises(EvidenceMalformed):
            read_document(payload)


@pytest.mark.parametrize(
    "changes",
    [
        {"tagged": True},
        {"unprotected": {4: b"kid"}},
        {"unprotected": []},
        {"protected": b""},
        {"protected": write_cbor({1: -35, 3: 0})},
    ],
)
def test_an_envelope_of_another_form_is_refused(changes: dict[str, Any]) -> None:
    payload = DEFINITE.payload(DEFINITE.members(REPORT))
    with pytest.raises(EvidenceMalformed):
        judge(DEFINITE.document(payload, **changes).body, DEFINITE.policy(), NOW)


def test_another_algorithm_than_the_key_s_is_refused() -> None:
    payload = DEFINITE.payload(DEFINITE.members(REPORT))
    body = sign1(cose_key("a", "P-256"), payload, tagged=False, algorithm=ES256)
    with pytest.raises(EvidenceNotTrusted, match="ES256"):
        judge(body, DEFINITE.policy(), NOW)


def test_a_document_that_carries_no_payload_is_refused() -> None:
    members: list[Any] = read_cbor(DEFINITE.evidence(REPORT).body, "good")
    for payload in (None, b""):
        with pytest.raises(EvidenceMalformed):
            judge(write_cbor([*members[:2], payload, members[3]]), DEFINITE.policy(), NOW)


def test_a_document_is_not_larger_than_the_specification_has_it() -> None:
    with pytest.raises(EvidenceMalformed, match="at most"):
        judge(recorded() + bytes(MAX_BODY_BYTES), RECORDED_POLICY)


def test_an_old_document_and_one_of_the_future_are_refused() -> None:
    for age, error in ((timedelta(seconds=301), EvidenceStale), (timedelta(seconds=-61), EvidenceStale)):
        with pytest.raises(error):
            made(made=NOW - age)
    assert made(made=NOW - timedelta(seconds=299))
    with pytest.raises(CertificateExpired):
        made(made=NOW - timedelta(hours=3))


def test_an_authority_signs_no_documents() -> None:
    with pytest.raises(CertificateRefused):
        made(certificate=DEFINITE.leaf(NOW, ca=True))


def test_lists_that_were_used_are_named() -> None:
    body, policy = DEFINITE.evidence(REPORT).body, DEFINITE.policy(require_revocation=True)
    claims = judge(body, policy, NOW, DEFINITE.collateral(NOW - timedelta(days=1)))
    assert set(claims.collateral) == {f"aws/crl/{part}" for part in ("root", "regional", "zonal", "instance")}
    assert claims.collateral_issued == NOW - timedelta(days=1)


def test_the_provider_is_installed_and_recognises_its_own() -> None:
    provider = installed_providers()["nitro"]
    assert type(provider).__name__ == NitroProvider.__name__
    for body in (recorded(), DEFINITE.evidence(REPORT).body):
        assert provider.recognises(body)
        assert provider.needs(body) == ()
    for body in (b"", b"\x84", write_cbor(Tagged(18, [])), b"{}"):
        assert not provider.recognises(body)
        with pytest.raises(PaddockError):
            provider.needs(body)
