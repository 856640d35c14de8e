"""Reports of SEV-SNP: what recorded ones say, and every branch that refuses one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from paddock.errors import (
    CertificateExpired,
    CertificateRefused,
    CertificateRevoked,
    CollateralMissing,
    CollateralStale,
    EvidenceMalformed,
    EvidenceNotTrusted,
    EvidenceRefused,
    RevocationUnknown,
)
from paddock.evidence import Claims, Collateral, TrustPolicy, UnverifiedEvidence, verify_evidence
from paddock.evidence.collateral import CollateralItem, certificate_item
from paddock.evidence.providers.snp import MEDIA_TYPE, SnpProvider
from paddock.evidence.snp_report import (
    MAX_TABLE_BYTES,
    PRODUCTS,
    REPORT_BYTES,
    read_snp_report,
    read_table,
    table_of,
    tcb_parts,
    write_table,
)
from tests.evidence.snp import FETCHED, MAKERS, REPORT, SAMPLES, other, recorded, recorded_items, stranger
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.amd import BEGIN, PLAIN_POLICY, TCB, AmdMaker, der, der_number, der_text, sign

MILAN, GENOA, TURIN, CLOUD, TURIN_CLOUD = MAKERS
NOTHING = Collateral()


def verified(
    maker: AmdMaker,
    evidence: UnverifiedEvidence | None = None,
    collateral: Collateral = NOTHING,
    now: datetime = NOW,
    **section: Any,
) -> Claims:
    piece = evidence or maker.evidence(REPORT)
    return verify_evidence(piece, policy=maker.policy(**section), collateral=collateral, now=now)


def with_leaf(maker: AmdMaker, leaf: x509.Certificate, **fields: Any) -> UnverifiedEvidence:
    return maker.evidence(REPORT, table=write_table({**maker.parts(), maker.kind: der(leaf)}), **fields)


def digest_policy(maker: AmdMaker) -> TrustPolicy:
    digest = maker_key(maker)
    return TrustPolicy.model_validate({"snp": {"roots": [digest]}})


def maker_key(maker: AmdMaker) -> str:
    return verified(maker).signer


# --- what recorded reports say ----------------------------------------------------------------------------------------


def test_a_recorded_report_of_milan_is_read_as_it_is() -> None:
    claims = SAMPLES[0].genuine.judge()
    assert claims.registers["measurement"].startswith("a1f3930413247bb38cfc171579ea3c12")
    assert claims.registers["host_data"] == "00" * 32
    assert claims.settings == {"smt"}
    assert not claims.debug
    # Microcode runs in a newer version than was committed and is reported: what counts is the least.
    assert claims.svns == {
        "bl": 3,
        "tee": 0,
        "snp": 8,
        "microcode": 0x73,
        "guest_svn": 4,
        "abi_major": 1,
        "abi_minor": 52,
        "abi_build": 4,
    }
    assert claims.details["report_version"] == 2
    assert claims.details["product"] == "Milan-B0"
    assert claims.details["current_tcb"] == "03000000000008ce"
    assert (claims.tcb_status, claims.advisories, claims.issued, claims.collateral_issued) == (None, (), None, None)
    assert claims.collateral == tuple(item.key for item in SAMPLES[0].genuine.collateral)


def test_recorded_reports_of_genoa_and_turin_are_read_as_they_are() -> None:
    genoa, turin = (sample.genuine.judge() for sample in SAMPLES[1:3])
    assert genoa.details["report_version"] == turin.details["report_version"] == 5
    assert (genoa.details["product"], turin.details["product"]) == ("Genoa", "Turin")
    assert (genoa.svns["snp"], genoa.svns["microcode"], genoa.svns["abi_build"]) == (25, 84, 43)
    assert (turin.svns["fmc"], turin.svns["bl"], turin.svns["snp"], turin.svns["microcode"]) == (0, 1, 2, 71)
    assert genoa.details["platform"] == "alias_check_complete,ecc,smt"
    assert turin.details["platform"] == "alias_check_complete,ecc,iommu_write_safe,smt,tsme"
    assert turin.details["chip_id"] == "3b42092f69c656d3"
    assert genoa.details["mitigations"] == "0000000000000001"
    assert genoa.signer != turin.signer


def test_a_recorded_report_of_a_cloud_s_key_is_read_as_it_is() -> None:
    claims = SAMPLES[3].genuine.judge()
    assert claims.details["signing_key"] == "vlek"
    assert claims.details["cloud"] == "CN=cc-us-east-2.amazonaws.com"
    assert claims.settings == {"smt", "vmpl"}
    assert len(claims.collateral) == 3  # VLEK, ASVK and the ARK that the policy names


def test_a_recorded_certificate_of_turin_s_is_read() -> None:
    needs = SnpProvider().needs(recorded("report_turin.bin") + write_table({"vcek": recorded("vcek_turin.der")}))
    assert [need.key for need in needs] == ["amd/vcek/Turin/cert_chain", "amd/vcek/Turin/crl"]


@pytest.mark.parametrize("name", ["vcek_invalid_legacy.der", "vcek_invalid_new.der"])
def test_a_certificate_of_another_state_is_not_the_one(name: str) -> None:
    genuine = SAMPLES[0].genuine
    with pytest.raises(CollateralMissing, match="VCEK"):
        replace(genuine, collateral=Collateral(recorded_items(name))).judge()
    with pytest.raises(EvidenceNotTrusted, match="another chip"):
        SAMPLES[0].with_body(genuine.evidence.body + write_table({"vcek": recorded(name)})).judge()


# --- what reports made here say ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("maker", MAKERS)
def test_a_report_is_believed_with_its_table_and_with_collateral_alone(maker: AmdMaker) -> None:
    assert verified(maker).collateral == ()
    bare = maker.evidence(REPORT, table=b"")
    claims = verified(maker, bare, maker.collateral(NOW))
    assert len(claims.collateral) == 4  # leaf, issuer, root, list
    assert claims.collateral_issued is None  # the list was not demanded
    strict = verified(maker, bare, maker.collateral(NOW), require_revocation=True)
    assert strict.collateral_issued == NOW - timedelta(hours=1)
    assert strict.registers == verified(maker).registers


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_every_version_is_read(version: int) -> None:
    claims = verified(replace(GENOA, version=version))
    assert claims.details["report_version"] == version
    assert ("mitigations" in claims.details) == (version == 5)


@pytest.mark.parametrize(
    ("family", "model", "product"), [(0x19, 0x0F, MILAN), (0x19, 0xA0, GENOA), (0x1A, 0x11, TURIN)]
)
def test_products_are_known_by_family_and_model(family: int, model: int, product: AmdMaker) -> None:
    maker = replace(product, version=3)
    verified(maker, maker.evidence(REPORT, cpu=bytes([family, model, 0])))


@pytest.mark.parametrize("name", ["Genoa", "Bergamo-A0", "Siena"])
def test_products_of_one_line_share_a_root(name: str) -> None:
    assert verified(GENOA, with_leaf(GENOA, GENOA.leaf_with(name=name))).details["product"] == name


def test_the_least_version_number_counts() -> None:
    older = bytes([9, 0, 0, 0, 0, 0, 20, 84])
    fields: dict[str, Any] = {"launch_tcb": older, "committed": bytes([40, 55, 1])}
    claims = verified(GENOA, GENOA.evidence(REPORT, **fields), allow=["provisional-firmware"])
    assert (claims.svns["bl"], claims.svns["snp"], claims.svns["microcode"]) == (9, 20, 84)
    assert (claims.svns["abi_minor"], claims.svns["abi_build"]) == (55, 40)


def test_newer_microcode_is_no_provisional_firmware() -> None:
    newer = TCB["Genoa"][:-1] + b"\xff"
    assert verified(GENOA, GENOA.evidence(REPORT, current_tcb=newer)).settings == frozenset()


def test_facts_about_the_id_block_are_told() -> None:
    fields: dict[str, Any] = {
        "id_key_digest": b"\1" * 48,
        "author_key_digest": b"\2" * 48,
        "keys": 1,
        "family_id": b"\3" * 16,
    }
    details = verified(MILAN, MILAN.evidence(REPORT, **fields)).details
    assert (details["id_key_digest"], details["author_key_digest"]) == ("01" * 48, "02" * 48)
    assert details["family_id"] == "03" * 16


def test_a_masked_chip_is_known_by_its_signature() -> None:
    masked = MILAN.evidence(REPORT, table=b"", chip_id=bytes(64))
    both = Collateral([*other(MILAN).collateral(NOW), *MILAN.collateral(NOW)])
    assert verified(MILAN, masked, both).details["chip_id"] == "masked"
    with pytest.raises(EvidenceNotTrusted):
        verified(MILAN, masked, other(MILAN).collateral(NOW))


def test_of_several_keys_of_clouds_the_one_that_signed_is_meant() -> None:
    bare = CLOUD.evidence(REPORT, table=b"")
    items = [certificate_item(der(each.leaf), FETCHED) for each in (other(CLOUD), CLOUD, stranger(CLOUD))]
    rest = list(CLOUD.collateral(NOW))[1:]
    for rows in (items, items[::-1]):
        assert verified(CLOUD, bare, Collateral([*rows, *rest])).details["cloud"] == "CN=amd.cloud.example"
    with pytest.raises(EvidenceNotTrusted):
        verified(CLOUD, bare, Collateral([items[0], items[2], *rest]))


def test_of_a_key_s_certificates_a_valid_one_is_taken() -> None:
    bare = CLOUD.evidence(REPORT, table=b"")
    old = CLOUD.leaf_with(end=NOW - timedelta(days=1))
    soon = CLOUD.leaf_with(begin=NOW + timedelta(days=1))
    rest = list(CLOUD.collateral(NOW))[1:]
    rows = [certificate_item(der(each), FETCHED) for each in (old, soon, CLOUD.leaf)]
    verified(CLOUD, bare, Collateral([*rows, *rest]))
    with pytest.raises(CertificateExpired):
        verified(CLOUD, bare, Collateral([*rows[:2], *rest]))


def test_what_cannot_be_read_at_hand_is_passed_over() -> None:
    broken = MILAN.leaf_with(extensions={"1": None})
    rows = [certificate_item(der(broken), FETCHED), CollateralItem("certificate", "x", FETCHED, b"\x30\0")]
    verified(MILAN, MILAN.evidence(REPORT, table=b""), Collateral([*rows, *MILAN.collateral(NOW)]))


# --- reading a report -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"version": 1}, "version"),
        ({"version": 6}, "version"),
        ({"policy": 0}, "policy"),
        ({"policy": PLAIN_POLICY | 1 << 26}, "policy"),
        ({"policy": PLAIN_POLICY | 1 << 63}, "policy"),
        ({"vmpl": 4}, "privilege"),
        ({"algorithm": 0}, "algorithm"),
        ({"algorithm": 2}, "algorithm"),
        ({"keys": 1 << 5}, "reserved bit"),
        ({"keys": 0b10}, "not signed"),
        ({"keys": 7 << 2}, "not signed"),
        ({"keys": 2 << 2}, "unknown key"),
        ({"keys": 6 << 2}, "unknown key"),
        ({"author_key_digest": b"\1" * 48}, "author"),
        ({"reserved0": b"\0\0\0\1"}, "reserved"),
        ({"reserved1": bytes(20) + b"\1"}, "reserved"),
        ({"reserved2": b"\1"}, "reserved"),
        ({"reserved3": b"\1"}, "reserved"),
        ({"reserved4": bytes(151) + b"\1"}, "reserved"),
        ({"mitigations": bytes(15) + b"\1"}, "reserved"),
        ({"cpu": b"\x17\x31\0"}, "processor"),
        ({"cpu": b"\x19\x20\0"}, "processor"),
        ({"cpu": b"\x1a\x12\0"}, "processor"),
    ],
)
def test_a_report_of_another_form_is_refused(fields: dict[str, Any], reason: str) -> None:
    maker = replace(GENOA, version=3)
    read_snp_report(maker.report(REPORT))
    with pytest.raises(EvidenceMalformed, match=reason):
        read_snp_report(maker.report(REPORT, **fields))


def test_before_version_3_a_report_tells_no_processor() -> None:
    assert read_snp_report(MILAN.report(REPORT)).product is None
    with pytest.raises(EvidenceMalformed, match="reserved"):
        read_snp_report(MILAN.report(REPORT, cpu=b"\x19\1\1"))


@pytest.mark.parametrize("place", [48, 71, 72 + 48, 143, 144, 511])
def test_padding_of_a_signature_is_zero(place: int) -> None:
    report = bytearray(MILAN.report(REPORT))
    report[0x2A0 + place] = 1
    with pytest.raises(EvidenceMalformed):
        read_snp_report(bytes(report))


def test_a_signature_is_over_the_report_by_the_key_of_the_certificate() -> None:
    for signature in (bytes(512), sign(other(MILAN).key, MILAN.report(REPORT)[:0x2A0])):
        with pytest.raises(EvidenceNotTrusted):
            verified(MILAN, MILAN.evidence(REPORT, signature=signature))
    p256 = ec.derive_private_key(7, ec.SECP256R1())
    with pytest.raises(EvidenceNotTrusted, match="curve"):
        verified(MILAN, with_leaf(MILAN, MILAN.leaf_with(key=p256)))


@pytest.mark.parametrize("name", ["current_tcb", "committed_tcb", "launch_tcb"])
@pytest.mark.parametrize(("maker", "places"), [(GENOA, (2, 5)), (TURIN, (4, 6))])
def test_reserved_bytes_of_a_tcb_version_are_zero(maker: AmdMaker, places: tuple[int, ...], name: str) -> None:
    for place in places:
        tcb = bytearray(TCB[maker.product])
        tcb[place] = 1
        with pytest.raises(EvidenceMalformed, match="TCB"):
            verified(maker, maker.evidence(REPORT, **{name: bytes(tcb)}))


def test_bytes_of_a_tcb_version_mean_what_the_product_says() -> None:
    assert tcb_parts(PRODUCTS["Milan"], bytes([1, 2, 0, 0, 0, 0, 3, 4])) == {
        "bl": 1,
        "tee": 2,
        "snp": 3,
        "microcode": 4,
    }
    turin = tcb_parts(PRODUCTS["Turin"], bytes([1, 2, 3, 4, 0, 0, 0, 5]))
    assert turin == {"fmc": 1, "bl": 2, "tee": 3, "snp": 4, "microcode": 5}


# --- certificates of keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("oid", "value"),
    [
        ("1", None),
        ("1", der_number(1)),
        ("1", b"\x04\1\0"),
        ("1", b""),
        ("2", None),
        ("2", der_text("Rome-B0")),
        ("2", der_text("Genoa B0")),
        ("2", b"\x0c\x05Genoa"),
        ("2", b"\x16\0"),
        ("2", b"\x16\x05Geno\n"),
        ("3.1", None),
        ("3.1", b"\x02\0"),
        ("3.1", b"\x02\x02\0\x0a"),
        ("3.1", b"\x02\2\1\0"),
        ("3.1", b"\x02\1\x8a"),
        ("3.1", der_number(10) + b"\0"),
        ("3.8", None),
        ("4", None),
        ("4", b"\1" * 63),
        ("4", b"\x04\x3f" + b"\1" * 63),
        ("5", der_text("CN=cloud")),
    ],
)
def test_a_certificate_that_says_something_else_is_refused(oid: str, value: bytes | None) -> None:
    leaf = GENOA.leaf_with(extensions={oid: value})
    with pytest.raises(EvidenceMalformed):
        verified(GENOA, with_leaf(GENOA, leaf))
    items = [certificate_item(der(leaf), FETCHED), *list(GENOA.collateral(NOW))[1:]]
    with pytest.raises(CollateralMissing):
        verified(GENOA, GENOA.evidence(REPORT, table=b""), Collateral(items))


@pytest.mark.parametrize(("oid", "value"), [("5", None), ("4", b"\1" * 64), ("5", der_text("")), ("5", b"\x16\1\xff")])
def test_a_cloud_s_certificate_names_a_cloud_and_no_chip(oid: str, value: bytes | None) -> None:
    with pytest.raises(EvidenceMalformed):
        verified(CLOUD, with_leaf(CLOUD, CLOUD.leaf_with(extensions={oid: value})))


@pytest.mark.parametrize("oid", ["3.9", "3.3", "3.5"])
def test_turin_s_certificate_tells_turin_s_versions(oid: str) -> None:
    for value in (None, der_number(9)):
        with pytest.raises((EvidenceMalformed, EvidenceNotTrusted)):
            verified(TURIN, with_leaf(TURIN, TURIN.leaf_with(extensions={oid: value})))


@pytest.mark.parametrize("maker", [GENOA, TURIN])
def test_a_chip_s_id_may_stand_in_an_octet_string(maker: AmdMaker) -> None:
    raw = maker.extensions()["4"]
    verified(maker, with_leaf(maker, maker.leaf_with(extensions={"4": bytes([4, len(raw)]) + raw})))


def test_a_certificate_with_another_name_is_no_chip_s() -> None:
    with pytest.raises(EvidenceMalformed, match="neither"):
        verified(MILAN, with_leaf(MILAN, MILAN.leaf_with(common="SEV-OTHER")))


def test_a_chip_of_turin_uses_eight_bytes_of_its_id() -> None:
    longer = TURIN.chip_id[:8] + bytes(55) + b"\1"
    with pytest.raises(EvidenceNotTrusted, match="another chip"):
        verified(TURIN, TURIN.evidence(REPORT, chip_id=longer))


def test_a_certificate_of_another_product_is_refused_although_all_else_fits() -> None:
    maker = replace(MILAN, version=3)
    genoa = with_leaf(maker, maker.leaf_with(name="Genoa-B1"))
    with pytest.raises(EvidenceNotTrusted, match="another chip, product"):
        verified(maker, genoa)
    # Version 2 tells no product: then the chain does.
    with pytest.raises(EvidenceNotTrusted, match="root of Genoa"):
        verified(MILAN, with_leaf(MILAN, MILAN.leaf_with(name="Genoa-B1")))
    roots = [MILAN.root_pem, GENOA.root_pem]
    with pytest.raises(CollateralMissing, match="SEV-Genoa"):
        verified(MILAN, with_leaf(MILAN, MILAN.leaf_with(name="Genoa-B1")), roots=roots)


def test_a_critical_extension_is_not_passed_over() -> None:
    with pytest.raises(CertificateRefused, match="critical"):
        verified(MILAN, with_leaf(MILAN, MILAN.leaf_with(critical=True)))


# --- the way to the root ----------------------------------------------------------------------------------------------


def test_a_root_may_be_named_by_its_key() -> None:
    policy = digest_policy(MILAN)
    evidence = MILAN.evidence(REPORT)
    assert verify_evidence(evidence, policy=policy, collateral=NOTHING, now=NOW).signer == maker_key(MILAN)
    bare = MILAN.evidence(REPORT, table=b"")
    verify_evidence(bare, policy=policy, collateral=MILAN.collateral(NOW), now=NOW)
    with pytest.raises(EvidenceNotTrusted, match="root of Milan"):
        verify_evidence(bare, policy=policy, collateral=Collateral(list(MILAN.collateral(NOW))[:2]), now=NOW)


def test_a_root_that_is_named_by_its_key_signed_itself() -> None:
    policy = digest_policy(MILAN)
    ark = MILAN.ark
    builder = x509.CertificateBuilder().subject_name(ark.subject).issuer_name(ark.subject).serial_number(9)
    builder = builder.public_key(ark.public_key()).not_valid_before(BEGIN).not_valid_after(NOW + timedelta(days=9))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    forged = builder.sign(stranger(MILAN).signer("ark"), ark.signature_hash_algorithm)  # type: ignore[arg-type]
    evidence = MILAN.evidence(REPORT, table=write_table({**MILAN.parts(), "ark": der(forged)}))
    with pytest.raises(EvidenceNotTrusted, match="root of Milan"):
        verify_evidence(evidence, policy=policy, collateral=NOTHING, now=NOW)


def test_a_root_does_not_sign_chips() -> None:
    leaf = MILAN.leaf_with(issuer=MILAN.ark.subject, signer=MILAN.signer("ark"))
    with pytest.raises(EvidenceNotTrusted, match="as AMD issues"):
        verified(MILAN, with_leaf(MILAN, leaf))


def test_an_issuer_is_no_root() -> None:
    pem = MILAN.issuer.public_bytes(serialization.Encoding.PEM).decode("ascii")
    with pytest.raises(EvidenceNotTrusted, match="root of Milan"):
        verified(MILAN, roots=[pem])


def test_issuers_may_come_with_the_named_root() -> None:
    pem = MILAN.issuer.public_bytes(serialization.Encoding.PEM).decode("ascii") + MILAN.root_pem
    table = write_table({"vcek": der(MILAN.leaf)})
    verified(MILAN, MILAN.evidence(REPORT, table=table), roots=[pem])
    with pytest.raises(CollateralMissing, match="SEV-Milan"):
        verified(MILAN, MILAN.evidence(REPORT, table=table))


def test_the_issuer_of_clouds_keys_issues_no_chip_s() -> None:
    cloud = replace(MILAN, kind="vlek")
    leaf = MILAN.leaf_with(issuer=cloud.issuer.subject, signer=MILAN.signer("asvk"))
    table = write_table({"vcek": der(leaf), "ask": der(cloud.issuer), "ark": der(MILAN.ark)})
    with pytest.raises(CollateralMissing, match="SEV-Milan"):
        verified(MILAN, MILAN.evidence(REPORT, table=table))


def test_nothing_comes_along_that_is_not_used() -> None:
    cloud = replace(MILAN, kind="vlek")
    beside = MILAN.collateral(NOW)
    for part in ("ask", "ark"):
        parts = {"vcek": der(MILAN.leaf), part: der(stranger(MILAN).ark)}
        with pytest.raises(EvidenceMalformed, match="does not belong"):
            verified(MILAN, MILAN.evidence(REPORT, table=write_table(parts)), beside)
    table = write_table({**MILAN.parts(), "vlek": der(cloud.leaf)})
    with pytest.raises(EvidenceMalformed, match="did not sign"):
        verified(MILAN, MILAN.evidence(REPORT, table=table))


# --- revocation ---------------------------------------------------------------------------------------------------------


def test_a_list_may_come_along() -> None:
    table = write_table({**MILAN.parts(), "crl": MILAN.crl(NOW, "ark", [9])})
    evidence = MILAN.evidence(REPORT, table=table)
    assert verified(MILAN, evidence, require_revocation=True).collateral_issued == NOW - timedelta(hours=1)
    assert verified(MILAN, evidence).collateral_issued is None


def test_a_list_that_came_along_is_of_an_issuer_and_in_one_form() -> None:
    crl = MILAN.crl(NOW, "ark", [])
    pem = x509.load_der_x509_crl(crl).public_bytes(serialization.Encoding.PEM)
    with_bits = crl.replace(b"\x03\x82\x01\x01\x00", b"\x03\x82\x01\x01\x01")
    assert with_bits != crl
    for wrong in (stranger(MILAN).crl(NOW, "ark", []), pem, with_bits):
        table = write_table({**MILAN.parts(), "crl": wrong})
        with pytest.raises(EvidenceMalformed):
            verified(MILAN, MILAN.evidence(REPORT, table=table))


@pytest.mark.parametrize("maker", MAKERS)
def test_a_revoked_certificate_is_refused_whether_or_not_lists_are_demanded(maker: AmdMaker) -> None:
    parts: tuple[Literal["leaf", "issuer"], ...] = ("leaf", "issuer")
    for part in parts:
        for required in (False, True):
            with pytest.raises(CertificateRevoked):
                verified(maker, None, maker.collateral(NOW, part), require_revocation=required)


def test_a_demanded_list_is_current_and_as_young_as_the_policy_says() -> None:
    year_old = MILAN.collateral(NOW - timedelta(days=366))
    verified(MILAN, None, year_old)
    with pytest.raises(RevocationUnknown):
        verified(MILAN, None, year_old, require_revocation=True)
    older = MILAN.collateral(NOW - timedelta(days=31))
    verified(MILAN, None, older)
    with pytest.raises(CollateralStale):
        verified(MILAN, None, older, require_revocation=True)
    policy = MILAN.policy(require_revocation=True).model_copy(update={"max_collateral_age_seconds": 366 * 86_400})
    verify_evidence(MILAN.evidence(REPORT), policy=policy, collateral=older, now=NOW)


# --- the table ----------------------------------------------------------------------------------------------------------


def test_a_table_is_read_as_it_was_written() -> None:
    parts = {"ark": b"1", "vcek": b"22", "crl": b"333", "ask": b"4444", "vlek": b"5"}
    assert read_table(write_table(parts)) == parts
    assert write_table({}) == b""


def _row(name: str, offset: int, length: int) -> bytes:
    guid = write_table({name: b"x"})[:16]
    return guid + offset.to_bytes(4, "little") + length.to_bytes(4, "little")


@pytest.mark.parametrize(
    "table",
    [
        bytes(24),
        bytes(48),
        bytes(16) + b"\1" + bytes(7),
        bytes(23),
        _row("ask", 48, 1) + bytes(16) + b"\1" + bytes(7) + b"x",
        _row("ask", 48, 1) + bytes(20) + b"\1" + bytes(3) + b"x",
        _row("ask", 48, 1) + b"x",
        b"\1" * 16 + _row("ask", 48, 1)[16:] + bytes(24) + b"x",
        _row("ask", 72, 1) + _row("ask", 73, 1) + bytes(24) + b"xy",
        _row("ask", 72, 2) + _row("ark", 73, 1) + bytes(24) + b"xy",  # they overlap
        _row("ask", 72, 1) + _row("ark", 72, 1) + bytes(24) + b"x",
        _row("ask", 73, 1) + _row("ark", 72, 1) + bytes(24) + b"xy",
        _row("ask", 72, 1) + _row("ark", 74, 1) + bytes(24) + b"xyz",  # a gap
        _row("ask", 48, 0) + bytes(24),
        _row("ask", 48, 2) + bytes(24) + b"x",
        _row("ask", 48, (1 << 32) - 1) + bytes(24) + b"x",
        _row("ask", (1 << 32) - 1, 2) + bytes(24) + b"x",
        _row("ask", 0, 72) + bytes(24) + b"x",
        _row("ask", 49, 1) + bytes(24) + b"xy",
        _row("ask", 48, 1) + bytes(24) + b"xy",
        write_table({"ask": bytes(MAX_TABLE_BYTES)}),
    ],
)
def test_a_hostile_table_is_refused(table: bytes) -> None:
    with pytest.raises(EvidenceMalformed):
        read_table(table)
    with pytest.raises(EvidenceMalformed):
        verified(MILAN, MILAN.evidence(REPORT, table=table))


def test_a_table_holds_certificates() -> None:
    for wrong in (b"x", der(MILAN.issuer) + b"\0", MILAN.issuer.public_bytes(serialization.Encoding.PEM)):
        with pytest.raises(EvidenceMalformed):
            verified(MILAN, MILAN.evidence(REPORT, table=write_table({**MILAN.parts(), "ask": wrong})))


# --- what a host gave -----------------------------------------------------------------------------------------------------


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _given(*rows: tuple[bytes, bytes]) -> bytes:
    """A host's buffer: rows and a page for each, wherever."""
    head, pages = b"", b""
    for number, (guid, value) in enumerate(rows):
        head += guid + (4096 * (number + 1)).to_bytes(4, "little") + len(value).to_bytes(4, "little")
        pages += value.ljust(4096, b"\0")
    return head.ljust(4096, b"\0") + pages


def _guid(name: str) -> bytes:
    return write_table({name: b"x"})[:16]


@pytest.mark.parametrize("maker", MAKERS)
def test_a_host_s_table_is_brought_into_its_form(maker: AmdMaker) -> None:
    report = maker.report(REPORT)
    given = _given(
        (_guid("ark"), _pem(maker.ark)),
        (b"\7" * 16, b"the host's own"),
        (_guid(maker.kind), _pem(maker.leaf)),
        (_guid("ask"), der(maker.issuer)),
        (_guid("crl"), b"whatever"),
    )
    assert table_of(report, given) == write_table(maker.parts())
    verified(maker, UnverifiedEvidence(MEDIA_TYPE, report + table_of(report, given)))


def test_what_a_host_gave_that_is_of_no_use_is_left_out() -> None:
    report, leaf = MILAN.report(REPORT), der(MILAN.leaf)
    alone = write_table({"vcek": leaf})
    for given in (b"", bytes(1 << 16), b"\1", _guid("vcek") + b"\xff" * 8 + bytes(24), b"\1" * 100):
        assert table_of(report, given) == b""
    assert table_of(b"no report", write_table(MILAN.parts())) == b""
    for wrong in (der(other(MILAN).leaf), b"x"):
        assert table_of(report, _given((_guid("vcek"), wrong), (_guid("ask"), der(MILAN.issuer)))) == b""
    assert table_of(report, _given((_guid("ask"), der(MILAN.issuer)))) == b""
    for wrong in (der(stranger(MILAN).issuer), b"x"):
        assert table_of(report, _given((_guid("vcek"), leaf), (_guid("ask"), wrong))) == alone
    assert table_of(report, _given((_guid("vcek"), leaf), (_guid("ark"), der(MILAN.ark)))) == alone


# --- needs and guesses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("maker", [GENOA, TURIN])
def test_a_chip_s_certificate_is_asked_for_where_amd_publishes_it(maker: AmdMaker) -> None:
    needs = SnpProvider().needs(maker.report(REPORT))
    assert [(need.kind, need.key.rsplit("/", 1)[-1]) for need in needs] == [
        ("certificate", TCB[maker.product].hex()),
        ("certificate", "cert_chain"),
        ("crl", "crl"),
    ]
    url = urlsplit(needs[0].urls["body"])
    chip = maker.chip_id[: 64 if maker is GENOA else 8].hex()
    assert (url.netloc, url.path) == ("kdsintf.amd.com", f"/vcek/v1/{maker.product}/{chip}")
    older, turin = "blSPL=10&teeSPL=00&snpSPL=25&ucodeSPL=84", "fmcSPL=01&blSPL=01&teeSPL=00&snpSPL=02&ucodeSPL=71"
    assert url.query == (older if maker is GENOA else turin)
    assert needs[1].urls["body"] == f"https://kdsintf.amd.com/vcek/v1/{maker.product}/cert_chain"
    assert needs[2].urls["body"] == f"https://kdsintf.amd.com/vcek/v1/{maker.product}/crl"
    # What was fetched under these keys is what is looked for.
    assert needs[0].key == next(iter(maker.collateral(NOW))).key


def test_a_cloud_s_certificate_cannot_be_asked_for() -> None:
    needs = SnpProvider().needs(CLOUD.report(REPORT))
    assert [need.key for need in needs] == ["amd/vlek/Milan/cert_chain", "amd/vlek/Milan/crl"]
    assert needs[0].urls["body"] == "https://kdsintf.amd.com/vlek/v1/Milan/cert_chain"


def test_what_came_along_is_not_needed() -> None:
    whole = write_table({**MILAN.parts(), "crl": MILAN.crl(NOW, "ark", [])})
    assert SnpProvider().needs(MILAN.evidence(REPORT, table=whole).body) == ()
    # Before version 3 the certificate tells which product it is.
    leaf = write_table({"vcek": der(MILAN.leaf)})
    keys = [need.key for need in SnpProvider().needs(MILAN.evidence(REPORT, table=leaf).body)]
    assert keys == ["amd/vcek/Milan/cert_chain", "amd/vcek/Milan/crl"]


def test_an_old_report_may_be_of_two_products() -> None:
    keys = [need.key.split("/")[2] for need in SnpProvider().needs(MILAN.report(REPORT))]
    assert keys == ["Milan"] * 3 + ["Genoa"] * 3


def test_a_masked_chip_s_certificate_cannot_be_asked_for() -> None:
    needs = SnpProvider().needs(GENOA.report(REPORT, chip_id=bytes(64)))
    assert [need.kind for need in needs] == ["certificate", "crl"]
    assert "/vcek/v1/Genoa/cert_chain" in needs[0].urls["body"]


def test_what_cannot_be_read_needs_nothing() -> None:
    body = MILAN.report(REPORT)
    broken = MILAN.leaf_with(extensions={"1": None})
    for wrong in (
        b"",
        body[:-1],
        body + b"\0",
        body + write_table({"vcek": b"x"}),
        body + write_table({"vcek": der(broken)}),
        GENOA.report(REPORT, reported_tcb=b"\1" * 8),
    ):
        with pytest.raises(EvidenceRefused):
            SnpProvider().needs(wrong)


def test_reports_are_recognised() -> None:
    provider = SnpProvider()
    for maker in MAKERS:
        assert provider.recognises(maker.report(REPORT))
        assert provider.recognises(maker.evidence(REPORT).body)
    for wrong in (b"", MILAN.report(REPORT)[:-1], bytes(REPORT_BYTES), b"\2\0\0\0" + bytes(REPORT_BYTES)):
        assert not provider.recognises(wrong)


def test_the_makers_are_of_different_chips() -> None:
    for one, another in pairwise(MAKERS):
        assert one.report(REPORT) != another.report(REPORT)
    assert GENOA.chip_id != other(GENOA).chip_id
