from __future__ import annotations

import base64
import json
import struct
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from paddock.crypto.canonical import canonical
from paddock.crypto.digest import b64
from paddock.errors import BindingMismatch, CertificateRefused, EvidenceMalformed, EvidenceNotTrusted
from paddock.evidence import Claims, Collateral, TrustPolicy, UnverifiedEvidence, verify_evidence
from paddock.evidence.binding import check_report_data, short_report_data
from paddock.evidence.claims import registers_digest
from paddock.evidence.providers.tpm import TpmProvider
from paddock.evidence.tpm_structures import read_public, read_quote, read_signature
from tests.evidence import tpm as matrix
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.tpm import (
    ATTESTATION_KEY,
    PCRS,
    UNEXTENDED,
    SoftwareRegisters,
    TpmMaker,
    attest,
    certificate,
    counted,
    public_area,
    record,
    selection,
)

REPORT = bytes(range(64))
MAKER = matrix.P256
MAKERS = (matrix.RSASSA, matrix.RSAPSS, matrix.P256, matrix.P384)


def judge(evidence: UnverifiedEvidence, policy: TrustPolicy | None = None, **more: Any) -> Claims:
    policy = policy or MAKER.policy()
    return verify_evidence(evidence, policy=policy, collateral=more.get("collateral", Collateral()), now=NOW)


# --- the recorded quote -----------------------------------------------------------------------------------------


def test_the_recorded_quote_says_what_its_publisher_found_in_it() -> None:
    claims = matrix.SAMPLES[0].genuine.judge()
    assert claims.tee == "tpm"
    assert len(claims.report_data) == 64
    assert claims.report_data.rstrip(b"\0") == claims.report_data[:48]
    assert len(claims.registers) == 24
    assert claims.registers["sha256:00"] == "00" * 32
    assert claims.registers["sha256:17"] == "ff" * 32
    assert claims.details["resets"] == 2
    assert claims.details["firmware"] == "2019102300163636"
    assert claims.svns == {"firmware_version_1": 0x20191023, "firmware_version_2": 0x163636}
    assert not claims.settings
    assert not claims.debug
    assert claims.measurement == registers_digest("tpm", claims.registers)
    with pytest.raises(BindingMismatch):
        check_report_data(REPORT, claims.report_data)


# --- keys -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.kind)
def test_every_kind_of_key_is_verified(maker: TpmMaker) -> None:
    claims = judge(maker.evidence(REPORT), maker.policy())
    assert claims.report_data == REPORT
    assert claims.signer == maker.name
    assert judge(maker.evidence(REPORT), maker.policy(roots=[maker.fingerprint])).signer == maker.fingerprint
    pem = maker.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert judge(maker.evidence(REPORT), maker.policy(roots=[pem.decode()])).signer == maker.fingerprint
    certified = judge(maker.evidence(REPORT, certified=True), maker.certified_policy())
    assert certified.signer != claims.signer
    assert certified.measurement == claims.measurement


def test_a_salt_of_any_length_is_taken() -> None:
    maker = matrix.RSAPSS
    assert isinstance(maker.key, rsa.RSAPrivateKey)
    quote = attest(REPORT, hash_name=maker.hash_name)
    for length in (padding.PSS.DIGEST_LENGTH, 0, 7):
        pss = padding.PSS(padding.MGF1(hashes.SHA384()), length)
        signature = maker.scheme + counted(maker.key.sign(quote, pss, hashes.SHA384()))
        judge(maker.evidence(REPORT, quote=quote, replaced={"signature": signature}), maker.policy())


def test_leading_zeros_of_r_and_s_may_be_left_out() -> None:
    for _ in range(2000):
        parts = MAKER.parts(REPORT)
        signature = parts["signature"]
        if signature[6] == 0 or signature[40] == 0:
            break
    else:
        pytest.fail("chance did not help")
    r, s = (signature[start : start + 32].lstrip(b"\0") for start in (6, 40))
    short = signature[:4] + counted(r) + counted(s)
    assert len(short) < len(signature)
    judge(MAKER.evidence(REPORT, quote=parts["quote"], replaced={"signature": short}))


@pytest.mark.parametrize("bit", [1, 4, 5, 16, 18])
def test_a_key_that_lacks_what_makes_an_attestation_key_is_refused(bit: int) -> None:
    ak = MAKER.public(attributes=ATTESTATION_KEY & ~(1 << bit))
    with pytest.raises(EvidenceNotTrusted, match="not an attestation key"):
        judge(MAKER.evidence(REPORT, replaced={"ak": ak}), MAKER.policy(roots=[MAKER.fingerprint]))


@pytest.mark.parametrize("bit", [17, 19])
def test_a_key_that_does_more_than_attest_is_refused(bit: int) -> None:
    with pytest.raises(EvidenceNotTrusted, match="not an attestation key"):
        read_public(MAKER.public(attributes=ATTESTATION_KEY | 1 << bit))


@pytest.mark.parametrize("bit", [0, 3, 12, 13, 14, 15, *range(20, 32)])
def test_a_reserved_attribute_is_refused(bit: int) -> None:
    with pytest.raises(EvidenceMalformed):
        read_public(MAKER.public(attributes=ATTESTATION_KEY | 1 << bit))


def test_a_name_vouches_for_every_attribute_and_a_fingerprint_for_the_key() -> None:
    other = MAKER.public(attributes=ATTESTATION_KEY | 1 << 10)  # noDA
    judge(MAKER.evidence(REPORT, replaced={"ak": other}), MAKER.policy(roots=[MAKER.fingerprint]))
    with pytest.raises(EvidenceNotTrusted):
        judge(MAKER.evidence(REPORT, replaced={"ak": other}))


def _spoilt_areas() -> list[bytes]:
    rsa_area, ecc_area = matrix.RSASSA.public(), matrix.P256.public()
    small = public_area(rsa.generate_private_key(65537, 1024).public_key(), b"\0\x14\0\x0b")
    other_curve = ec.generate_private_key(ec.SECP384R1()).public_key()
    point = struct.pack(">HH", 3, 0x0010)
    return [
        b"",
        b"\0\x08" + ecc_area[2:],  # a keyed hash
        ecc_area[:2] + b"\0\4" + ecc_area[4:],  # a name of SHA-1
        MAKER.public(policy=bytes(20)),
        ecc_area[:10] + b"\0\6" + ecc_area[12:],  # a symmetric algorithm
        ecc_area.replace(b"\0\x18\0\x0b", b"\0\x1a\0\x0b"),  # ECDAA
        ecc_area.replace(b"\0\x18\0\x0b", b"\0\x18\0\4"),  # SHA-1
        ecc_area.replace(b"\0\x18\0\x0b", b"\0\x10\0\x0b"),  # no scheme
        ecc_area.replace(point, struct.pack(">HH", 5, 0x0010)),  # P-521
        ecc_area.replace(point, struct.pack(">HH", 3, 0x0020)),  # a key derivation
        ecc_area[:-1] + bytes([ecc_area[-1] ^ 1]),  # not on the curve
        public_area(other_curve, b"\0\x18\0\x0b").replace(struct.pack(">HH", 4, 0x10), point),
        rsa_area.replace(b"\0\x14\0\x0b", b"\0\x18\0\x0b"),
        rsa_area.replace(b"\x08\0\0\0\0\0", b"\x0c\0\0\0\0\0"),  # another size than the modulus
        rsa_area.replace(b"\x08\0\0\0\0\0", b"\x08\0\0\0\0\3"),  # exponent 3
        rsa_area.replace(b"\x08\0\0\0\0\0", b"\x08\0\0\1\0\2"),
        small,
        rsa_area + b"\0",
        rsa_area[:-1],
        bytes(5000),
    ]


@pytest.mark.parametrize("number", range(len(_spoilt_areas())))
def test_a_public_area_in_another_form_is_refused(number: int) -> None:
    with pytest.raises(EvidenceMalformed):
        read_public(_spoilt_areas()[number])


def test_an_exponent_may_be_written_out() -> None:
    area = matrix.RSASSA.public()
    assert read_public(area.replace(b"\x08\0\0\0\0\0", b"\x08\0\0\1\0\1")).key == read_public(area).key


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"\0\x18\0\4" + counted(bytes(32)) * 2,  # SHA-1
        b"\0\x1a\0\x0b" + counted(bytes(32)) * 2,  # ECDAA
        b"\0\x05\0\x0b" + counted(bytes(32)),  # HMAC
        b"\0\x18\0\x0b" + counted(bytes(32)),
        b"\0\x18\0\x0b" + counted(bytes(32)) * 3,
        b"\0\x14\0\x0b" + counted(bytes(513)),
    ],
)
def test_a_signature_in_another_form_is_refused(signature: bytes) -> None:
    with pytest.raises(EvidenceMalformed):
        read_signature(signature)


def test_a_signature_of_another_scheme_than_the_keys_is_refused() -> None:
    maker = matrix.RSASSA
    assert isinstance(maker.key, rsa.RSAPrivateKey)
    quote = attest(REPORT)
    pss = b"\0\x16\0\x0b" + counted(
        maker.key.sign(quote, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    )
    sha384 = b"\0\x14\0\x0c" + counted(maker.key.sign(quote, padding.PKCS1v15(), hashes.SHA384()))
    for signature in (pss, sha384, MAKER.sign(quote)):
        with pytest.raises(EvidenceNotTrusted, match="another scheme"):
            judge(maker.evidence(REPORT, quote=quote, replaced={"signature": signature}), maker.policy())
    long = b"\0\x18\0\x0b" + counted(b"\1" + bytes(32)) + counted(bytes(32))
    with pytest.raises(EvidenceMalformed, match="longer"):
        judge(MAKER.evidence(REPORT, replaced={"signature": long}))


# --- quotes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "quote",
    [
        b"",
        attest(REPORT, head=b"\xff\x54\x43\x48\x80\x18"),  # not TPM_GENERATED: any key of a TPM can sign such bytes
        attest(REPORT, head=b"\xff\x54\x43\x47\x80\x17"),  # certifies another key
        attest(REPORT, head=b"\xff\x54\x43\x47\x80\x14"),  # says the time
        attest(REPORT, signer=b""),
        attest(REPORT, signer=b"\0\x0b" + bytes(31)),
        attest(REPORT, signer=b"\0\x12" + bytes(32)),
        attest(bytes(67)),
        attest(REPORT, safe=2),
        attest(REPORT, chosen=struct.pack(">I", 0)),
        attest(REPORT, chosen=struct.pack(">I", 5) + selection(PCRS)[4:] * 5),
        attest(REPORT, chosen=struct.pack(">I", 2) + selection(PCRS)[4:] * 2),
        attest(REPORT, chosen=struct.pack(">IHB", 1, 0x12, 3) + b"\1\0\0"),
        attest(REPORT, chosen=struct.pack(">IHB", 1, 0x0B, 3) + bytes(3)),
        attest(REPORT, chosen=struct.pack(">IHB", 1, 0x0B, 5) + b"\1" + bytes(4)),
        attest(REPORT) + b"\0",
        attest(REPORT)[:-1],
        bytes(5000),
    ],
)
def test_a_quote_in_another_form_is_refused_though_it_is_signed(quote: bytes) -> None:
    with pytest.raises(EvidenceMalformed):
        judge(MAKER.evidence(REPORT, quote=quote))
    with pytest.raises(EvidenceMalformed):
        read_quote(quote)


def test_a_bank_that_the_tpm_left_empty_says_nothing() -> None:
    chosen = struct.pack(">I", 2) + struct.pack(">HB", 0x0C, 3) + bytes(3) + selection(PCRS)[4:]
    claims = judge(MAKER.evidence(REPORT, chosen=chosen))
    assert set(claims.registers) == {f"sha256:{number:02}" for number in PCRS["sha256"]}


def test_registers_are_hashed_bank_after_bank_in_the_tpms_order() -> None:
    pcrs = {"sha384": {7: b"\7" * 48, 0: b"\0" * 48}, "sha1": {0: b"\1" * 20}, "sha256": {0: b"\2" * 32, 7: b"\7" * 32}}
    claims = judge(MAKER.evidence(REPORT, pcrs=pcrs))
    assert claims.registers["sha384:07"] == "07" * 48
    assert not claims.settings, "each is in a better bank as well"
    assert claims.measurement == registers_digest("tpm", claims.registers)
    assert judge(MAKER.evidence(REPORT)).measurement != claims.measurement


@pytest.mark.parametrize(
    ("pcrs", "error"),
    [
        ({}, EvidenceMalformed),
        ({"sha256": {}}, EvidenceMalformed),
        ({"sha256": {**PCRS["sha256"], 15: bytes(32)}}, EvidenceMalformed),
        ({"sha256": dict(list(PCRS["sha256"].items())[1:])}, EvidenceMalformed),
        ({**PCRS, "sha1": {0: bytes(20)}}, EvidenceMalformed),
        ({"sha384": {number: bytes(48) for number in PCRS["sha256"]}}, EvidenceMalformed),
        ({"sha256": {**PCRS["sha256"], 0: bytes(20)}}, EvidenceMalformed),
        ({"sha256": {**PCRS["sha256"], 0: bytes(32)}}, EvidenceNotTrusted),
        ({"sha256": {**PCRS["sha256"], 0: PCRS["sha256"][1], 1: PCRS["sha256"][0]}}, EvidenceNotTrusted),
    ],
)
def test_pcrs_are_exactly_those_that_were_quoted(pcrs: dict[str, dict[int, bytes]], error: type[Exception]) -> None:
    with pytest.raises(error):
        judge(MAKER.evidence(REPORT, replaced={"pcrs": pcrs}))


def test_a_digest_of_another_length_than_the_signatures_hash_is_refused() -> None:
    values = b"".join(PCRS["sha256"][number] for number in sorted(PCRS["sha256"]))
    digest = hashes.Hash(hashes.SHA384())
    digest.update(values)
    with pytest.raises(EvidenceNotTrusted, match="other values"):
        judge(MAKER.evidence(REPORT, digest=digest.finalize()))


def test_the_signer_is_named_as_the_key_is() -> None:
    signer = b"\0\x0c" + bytes(48)
    with pytest.raises(EvidenceNotTrusted, match="names a signer"):
        judge(MAKER.evidence(REPORT, signer=signer))
    area = MAKER.public(name_hash=0x000C)
    evidence = MAKER.evidence(REPORT, signer=signer, replaced={"ak": area})
    judge(evidence, MAKER.policy(roots=[MAKER.fingerprint]))


def test_report_data_are_64_bytes_or_their_short_form() -> None:
    check_report_data(REPORT, judge(MAKER.evidence(REPORT)).report_data)
    check_report_data(REPORT, judge(MAKER.evidence(short_report_data(REPORT))).report_data)
    for other in (REPORT[:32], REPORT[:63], b"", REPORT + b"\0", REPORT + b"\0\0", short_report_data(REPORT) + b"\0"):
        with pytest.raises(BindingMismatch):
            check_report_data(REPORT, judge(MAKER.evidence(other)).report_data)


def test_settings_are_reported() -> None:
    allowed = MAKER.policy(allow=["sha1-bank", "clock-unsafe"])
    weak = judge(MAKER.evidence(REPORT, pcrs={"sha1": {0: bytes(20)}}, safe=0), allowed)
    assert weak.settings == {"sha1-bank", "clock-unsafe"}


# --- certificates -----------------------------------------------------------------------------------------------


def test_an_authority_of_an_authority_is_led_to_the_root() -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "between")])
    key = ec.derive_private_key(12345, ec.SECP256R1())
    between = certificate(name, MAKER.authority.subject, key.public_key(), MAKER.authority_key, ca=True)
    purpose = x509.ObjectIdentifier("2.23.133.8.3")
    leaf = certificate(x509.Name([]), name, MAKER.key.public_key(), key, purpose=purpose, alternative=True)
    root = MAKER.authority
    leaf_der, between_der, root_der = (each.public_bytes(serialization.Encoding.DER) for each in (leaf, between, root))
    for chain in ([leaf_der, between_der], [leaf_der, between_der, root_der]):
        judge(MAKER.evidence(REPORT, certificates=chain), MAKER.certified_policy())
    for chain in ([leaf_der], [leaf_der, root_der, between_der], [leaf_der, root_der], [between_der, leaf_der]):
        with pytest.raises((CertificateRefused, EvidenceNotTrusted)):
            judge(MAKER.evidence(REPORT, certificates=chain), MAKER.certified_policy())


def test_a_certificate_for_another_purpose_does_not_certify_an_attestation_key() -> None:
    server = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.1")
    for der in (MAKER.certificate(purpose=server), MAKER.certificate(sign=False)):
        with pytest.raises(CertificateRefused, match="not for what it is used for"):
            judge(MAKER.evidence(REPORT, certificates=[der]), MAKER.certified_policy())
    judge(MAKER.evidence(REPORT, certificates=[MAKER.certificate(purpose=None)]), MAKER.certified_policy())


def test_revocation_is_looked_at_where_lists_are_at_hand() -> None:
    claims = judge(
        MAKER.evidence(REPORT, certified=True),
        MAKER.certified_policy(require_revocation=True),
        collateral=MAKER.collateral(NOW),
    )
    assert claims.collateral == ("tpm/crl/tpm/p256",)
    assert claims.collateral_issued == NOW
    none = judge(
        MAKER.evidence(REPORT, certified=True), MAKER.certified_policy(), collateral=matrix.RSASSA.collateral(NOW)
    )
    assert none.collateral == ()


# --- the event log ----------------------------------------------------------------------------------------------


def test_a24_a_log_counts_only_where_it_gives_what_was_quoted() -> None:
    machine = SoftwareRegisters()
    machine.extend(4, b"boot loader")
    pcrs = {"sha256": {**UNEXTENDED, **machine.values["sha256"]}}
    claims = judge(MAKER.evidence(REPORT, pcrs=pcrs, event_log=machine.log))
    assert claims.details["event_log_records"] == 1
    assert "event_log" not in judge(MAKER.evidence(REPORT, pcrs=pcrs)).details
    for log in (
        machine.log + record(4, b"more"),
        machine.log + record(10, b"not quoted"),
        machine.log.replace(b"\4\0\0\0\x0d", b"\5\0\0\0\x0d"),
    ):
        with pytest.raises(EvidenceNotTrusted):
            judge(MAKER.evidence(REPORT, pcrs=pcrs, event_log=log))
    for log in (b"", machine.log + b"\xff" * 8, machine.log[:-1]):
        with pytest.raises(EvidenceMalformed):
            judge(MAKER.evidence(REPORT, pcrs=pcrs, event_log=log))


# --- the body ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"version": "paddock/tpm-quote/v2"},
        {"quote": None},
        {"quote": "AA"},
        {"quote": "AA=A"},
        {"certificates": None},
        {"certificates": [""] * 8},
        {"certificates": ["AAAA"]},
        {"event_log": 1},
        {"event_log": "!"},
        {"pcrs": {"md5": {"0": "00" * 32}}},
        {"pcrs": {"sha256": {"00": "00" * 32}}},
        {"pcrs": {"sha256": {"100": "00" * 32}}},
        {"pcrs": {"sha256": {"0": "AA" * 32}}},
        {"pcrs": {"sha256": {"0": "0" * 63}}},
        {"pcrs": {"sha256": ["00" * 32]}},
    ],
)
def test_a_body_in_another_form_is_refused(change: dict[str, Any]) -> None:
    evidence = MAKER.evidence(REPORT)
    body = {**json.loads(evidence.body), **change}
    with pytest.raises(EvidenceMalformed):
        judge(replace(evidence, body=canonical({name: value for name, value in body.items() if value is not None})))


def test_a_body_has_one_form() -> None:
    evidence = MAKER.evidence(REPORT)
    body = json.loads(evidence.body)
    for other in (json.dumps(body).encode(), json.dumps(body, separators=(",", ":"), sort_keys=False).encode() + b" "):
        with pytest.raises(EvidenceMalformed):
            judge(replace(evidence, body=other))
    unpadded = evidence.body.replace(
        b64(MAKER.public()).encode(), base64.urlsafe_b64encode(MAKER.public()).rstrip(b"=")
    )
    with pytest.raises(EvidenceMalformed):
        judge(replace(evidence, body=unpadded))


def test_it_is_recognised_and_needs_nothing() -> None:
    provider, evidence = TpmProvider(), MAKER.evidence(REPORT)
    assert provider.recognises(evidence.body)
    assert not provider.recognises(b"{}")
    assert provider.needs(evidence.body) == ()
    with pytest.raises(EvidenceMalformed):
        provider.needs(b"{}")
