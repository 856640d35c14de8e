"""What SGX and TDX share: the form of quotes, collateral, and the way to the root."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from paddock.crypto.canonical import canonical
from paddock.crypto.x509 import Certificate
from paddock.errors import (
    CertificateExpired,
    CertificateRefused,
    CollateralInvalid,
    CollateralMissing,
    CollateralStale,
    EvidenceMalformed,
    EvidenceNotTrusted,
    SignatureRefused,
    TcbRefused,
)
from paddock.evidence import Claims, Collateral, TrustPolicy, verify_evidence
from paddock.evidence.provider import installed_providers
from paddock.evidence.providers.intel import assemble_pcs
from paddock.evidence.providers.intel_quote import read_quote
from paddock.evidence.providers.intel_verify import check_signatures
from paddock.evidence.trust import VendorTrust
from tests.evidence.intel import RECORDED_NOW, recorded_collateral, recorded_evidence, recorded_quote
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.intel import BEGIN, END, PCK_NAME, IntelMaker, enclave_report

REPORT = bytes(range(64))
SGX, TDX_4, TDX_5 = IntelMaker("sgx", 3), IntelMaker("tdx", 4), IntelMaker("tdx", 5)
MAKERS = [SGX, TDX_4, TDX_5]
every_maker = pytest.mark.parametrize("maker", MAKERS, ids=["sgx 3", "tdx 4", "tdx 5"])


def judge(maker: IntelMaker, *, collateral: Collateral | None = None, trust: Any = None, **changes: Any) -> Claims:
    policy = trust or maker.policy()
    found = maker.collateral(NOW) if collateral is None else collateral
    return verify_evidence(maker.evidence(REPORT, **changes), policy=policy, collateral=found, now=NOW)


# --- the form of a quote (A-6) ------------------------------------------------------------------------------------


@every_maker
@pytest.mark.parametrize(
    "changes",
    [
        {"header": {"version": b"\2\0"}},
        {"header": {"version": b"\6\0"}},
        {"header": {"key_type": b"\3\0"}},
        {"header": {"tee_type": b"\x82\0\0\0"}},
        {"header": {"vendor": bytes(16)}},
        {"certification": b"\4\0"},
        {"certification": b"\1\0"},
        {"behind": {"authentication": b"\0"}},
        {"behind": {"certification": b"\0"}},
        {"qe": {"reserved1": b"\1" + bytes(11)}},
        {"qe": {"reserved4": bytes(41) + b"\1"}},
        {"authentication": bytes(1025)},
    ],
)
def test_another_form_is_refused(maker: IntelMaker, changes: dict[str, Any]) -> None:
    with pytest.raises(EvidenceMalformed):
        judge(maker, **changes)


@pytest.mark.parametrize("maker", [TDX_4, TDX_5], ids=["tdx 4", "tdx 5"])
@pytest.mark.parametrize(
    "changes",
    [
        {"header": {"reserved": b"\1\0\0\0"}},
        {"header": {"reserved": b"\0\0\0\1"}},
        {"nested": b"\5\0"},
        {"behind": {"nested": b"\0"}},
        {"seam_attributes": b"\1" + bytes(7)},
        {"header": {"version": b"\3\0"}},
    ],
)
def test_another_form_of_a_tdx_quote_is_refused(maker: IntelMaker, changes: dict[str, Any]) -> None:
    with pytest.raises(EvidenceMalformed):
        judge(maker, **changes)


@pytest.mark.parametrize("field", ["reserved1", "reserved2", "reserved3", "reserved4"])
def test_a_reserved_field_of_an_enclaves_report_is_zero(field: str) -> None:
    length = {"reserved1": 12, "reserved2": 32, "reserved3": 32, "reserved4": 42}[field]
    with pytest.raises(EvidenceMalformed):
        judge(SGX, report=enclave_report(REPORT, **{field: bytes(length - 1) + b"\1"}))


@pytest.mark.parametrize(
    "kind", [b"\1\0\x80\1\0\0", b"\4\0\x75\3\0\0", b"\2\0\x88\2\0\0", b"\3\0\x48\2\0\0", b"\3\0\x87\2\0\0"]
)
def test_the_kind_of_report_and_its_length_belong_together(kind: bytes) -> None:
    with pytest.raises(EvidenceMalformed):
        judge(TDX_5, body_kind=kind)


def test_version_5_also_holds_reports_of_module_1_0() -> None:
    claims = judge(TDX_5, report=TDX_4.report(REPORT))
    assert claims.registers == judge(TDX_4).registers
    assert "mr_service_td" not in claims.registers


def test_behind_version_4_stand_no_zeros_or_seventy() -> None:
    evidence = TDX_4.evidence(REPORT)
    for length in range(1, 200):
        padded = replace(evidence, body=evidence.body + bytes(length))
        if length == 70:
            verify_evidence(padded, policy=TDX_4.policy(), collateral=TDX_4.collateral(NOW), now=NOW)
            continue
        with pytest.raises(EvidenceMalformed):
            verify_evidence(padded, policy=TDX_4.policy(), collateral=TDX_4.collateral(NOW), now=NOW)
    dirty = replace(evidence, body=evidence.body + bytes(69) + b"\1")
    with pytest.raises(EvidenceMalformed):
        verify_evidence(dirty, policy=TDX_4.policy(), collateral=TDX_4.collateral(NOW), now=NOW)
    for maker in (SGX, TDX_5):
        with pytest.raises(EvidenceMalformed):
            read_quote(maker.quote(REPORT) + bytes(70), maker.tee)


@every_maker
def test_certificates_have_one_form_but_for_line_breaks(maker: IntelMaker) -> None:
    pem = maker.chain[:-1]
    for same in (pem, pem[:-1], pem + b"\0", pem.replace(b"\n", b"\r\n")):
        judge(maker, chain=same)
    blocks = [b"-----BEGIN" + each for each in pem.split(b"-----BEGIN")[1:]]
    first = blocks[0]
    for other in (
        b"",
        b"\0",
        first,
        first + blocks[1],
        pem + blocks[2],
        b" " + pem,
        pem + b"\0\0",
        pem + b"more",
        first + b"text\n" + blocks[1] + blocks[2],
        first.replace(b"MII", b"MI ") + blocks[1] + blocks[2],
        first.replace(b"-----END", b"=\n-----END") + blocks[1] + blocks[2],
        first.replace(b"-----END", b"AAAA\n-----END") + blocks[1] + blocks[2],
        first.replace(b"-----END", b"AAAAA\n-----END") + blocks[1] + blocks[2],
        _unlike(first) + blocks[1] + blocks[2],
    ):
        with pytest.raises(EvidenceMalformed):
            judge(maker, chain=other)


def _unlike(block: bytes) -> bytes:
    """The same bytes in a base64 that nobody writes: bits set that mean nothing."""
    lines = block.split(b"\n")
    text = lines[-3]
    if text.endswith(b"=="):
        lines[-3] = text[:-3] + bytes([text[-3] + 1]) + b"=="
    elif text.endswith(b"="):
        lines[-3] = text[:-2] + bytes([text[-2] + 1]) + b"="
    else:
        lines[-3] = text + b"="
    return b"\n".join(lines)


@every_maker
def test_certificates_in_another_order_are_refused(maker: IntelMaker) -> None:
    blocks = [b"-----BEGIN" + each for each in maker.chain[:-1].split(b"-----BEGIN")[1:]]
    for order in ((1, 0, 2), (0, 2, 1), (2, 1, 0), (0, 0, 2), (0, 2, 2), (1, 1, 2)):
        with pytest.raises((EvidenceMalformed, EvidenceNotTrusted)):
            judge(maker, chain=b"".join(blocks[place] for place in order))


def test_a_platforms_certificate_says_which_platform() -> None:
    pck = SGX.certificate(PCK_NAME, SGX.ca_name, "pck", "ca")
    with pytest.raises(EvidenceMalformed):
        judge(SGX, chain=_chain(SGX, pck))
    other = SGX.certificate("Intel SGX PCK Something", SGX.ca_name, "pck", "ca")
    with pytest.raises(EvidenceMalformed):
        judge(SGX, chain=_chain(SGX, other))


@every_maker
def test_the_issuer_of_platforms_stands_between(maker: IntelMaker) -> None:
    """A platform's certificate by the root itself, with an issuer beside it that nobody needs."""
    named = [each for each in maker.pck.extensions if isinstance(each.value, x509.UnrecognizedExtension)]
    leaf = maker.certificate(PCK_NAME, "Intel SGX Root CA", "pck", "root", extensions=[named[0].value])
    with pytest.raises(EvidenceMalformed):
        judge(maker, chain=_chain(maker, leaf))
    with pytest.raises(EvidenceNotTrusted):
        check_signatures(read_quote(maker.quote(REPORT, chain=_chain(maker, leaf)), maker.tee), maker.trust, NOW)


def _chain(maker: IntelMaker, leaf: x509.Certificate, root: x509.Certificate | None = None) -> bytes:
    pem = serialization.Encoding.PEM
    return b"".join(each.public_bytes(pem) for each in (leaf, maker.ca, root or maker.root))


@every_maker
def test_recognising_and_needing_never_fail_otherwise(maker: IntelMaker) -> None:
    provider = installed_providers()[maker.tee]
    quote = maker.quote(REPORT)
    assert provider.recognises(quote)
    others = [each for each in installed_providers().values() if each.name != maker.tee]
    assert not any(each.recognises(quote) for each in others)
    for body in (b"", quote[:27], bytes(5000), b"\3\0\2\0", b"{}"):
        assert not provider.recognises(body)
        with pytest.raises(EvidenceMalformed):
            provider.needs(body)


# --- roots and signatures (A-2) -----------------------------------------------------------------------------------


@every_maker
def test_a_root_is_named_by_certificate_or_key(maker: IntelMaker) -> None:
    root = Certificate.from_pem(maker.root_pem)[0].public_key()
    pem = (
        maker.key("root")
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    for name in (maker.root_pem, root.fingerprint(), pem.decode()):
        trust = TrustPolicy.model_validate({maker.tee: {"roots": [name]}})
        assert judge(maker, trust=trust).signer == root.fingerprint()


def test_a_certificate_of_the_roots_name_is_not_the_root() -> None:
    stranger = replace(SGX, label="stranger")
    forged = stranger.certificate("Intel SGX Root CA", "Intel SGX Root CA", "root", "ca", ca=1)
    with pytest.raises(EvidenceNotTrusted):
        judge(SGX, chain=_chain(SGX, SGX.pck, forged))
    # The trusted key in a certificate that it did not sign.
    reissued = SGX.certificate("Intel SGX Root CA", "Intel SGX Root CA", "root", "signer", ca=1)
    with pytest.raises(EvidenceNotTrusted):
        judge(SGX, chain=_chain(SGX, SGX.pck, reissued))


@every_maker
def test_signatures_are_verified_without_collateral_too(maker: IntelMaker) -> None:
    trust = maker.trust

    def check(**changes: Any) -> None:
        check_signatures(read_quote(maker.quote(REPORT, **changes), maker.tee), trust, NOW)

    check()
    check(debug=True)
    other = replace(maker, label="intel/other")
    with pytest.raises(SignatureRefused):
        check(chain=other.chain)
    with pytest.raises(EvidenceNotTrusted):
        check(qe={"report_data": bytes(64)})
    with pytest.raises(CertificateRefused):
        check(chain=_chain(maker, other.certificate(PCK_NAME, maker.ca_name, "pck", "signer")))
    quote = read_quote(maker.quote(REPORT), maker.tee)
    with pytest.raises(SignatureRefused):
        check_signatures(replace(quote, signed=quote.signed[:-1] + b"\1"), trust, NOW)
    with pytest.raises(EvidenceNotTrusted):
        check_signatures(quote, replace(maker, label="stranger").trust, NOW)
    for moment in (BEGIN - timedelta(days=1), END + timedelta(days=1)):
        with pytest.raises(CertificateExpired):
            check_signatures(quote, trust, moment)


@every_maker
def test_the_quoting_enclave_binds_the_attestation_key_and_nothing_else(maker: IntelMaker) -> None:
    bound = maker.qe_report()[-64:]
    for report_data in (bytes(64), bound[:63] + b"\1", bound[:31] + b"\1" + bound[32:]):
        with pytest.raises(EvidenceNotTrusted):
            judge(maker, qe={"report_data": report_data})


@every_maker
@pytest.mark.parametrize(
    "fields",
    [{"mrsigner": bytes(32)}, {"attributes": 0x17}, {"isv_prod_id": 99}, {"misc_select": 1}, {"attributes": 0x05}],
)
def test_a_quoting_enclave_that_is_not_intels_is_refused(maker: IntelMaker, fields: dict[str, Any]) -> None:
    with pytest.raises(EvidenceNotTrusted):
        judge(maker, qe=fields)


# --- collateral (A-13, A-14) --------------------------------------------------------------------------------------


@every_maker
def test_what_is_needed_has_addresses_of_intel_for_this_platform(maker: IntelMaker) -> None:
    (need,) = installed_providers()[maker.tee].needs(maker.quote(REPORT))
    pcs = "https://api.trustedservices.intel.com"
    assert (need.kind, need.key) == ("intel-pcs", f"intel/{maker.tee}/00A06F100000/platform")
    assert need.urls == {
        "tcb": f"{pcs}/{maker.tee}/certification/v4/tcb?fmspc=00A06F100000",
        "qe_identity": f"{pcs}/{maker.tee}/certification/v4/qe/identity",
        "pck_crl": f"{pcs}/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
        "root_ca_crl": "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
    }


@every_maker
def test_intels_answers_become_collateral(maker: IntelMaker) -> None:
    answers = maker.answers(NOW)
    body = assemble_pcs(answers)
    published = maker.published(NOW)
    assert set(json.loads(body)) == set(published)
    assert json.loads(body) == published
    judge(maker, collateral=maker.collateral_of(body, NOW))
    # Spaces and line breaks around what is signed are not part of it.
    headers, text = answers["tcb"]
    spaced = text.replace(b'{"tcbInfo":', b'\n{ "tcbInfo" : ').replace(b',"signature":', b' ,\n"signature": ') + b"\n"
    assert assemble_pcs({**answers, "tcb": (headers, spaced)}) == body


@pytest.mark.parametrize("name", ["sgx/quote_v3", "tdx/quote_v4"])
def test_recorded_answers_become_the_recorded_collateral(name: str) -> None:
    (item,) = recorded_collateral(name)
    recorded = json.loads(item.body)
    made = SGX.answers(NOW)  # for the names of the headers alone
    signed = {
        "tcb": ("tcbInfo", "tcb_info"),
        "qe_identity": ("enclaveIdentity", "qe_identity"),
    }
    answers = {}
    for part, (headers, _) in made.items():
        if part in signed:
            member, key = signed[part]
            text = f'{{"{member}":{recorded[key]},"signature":"{recorded[f"{key}_signature"]}"}}'.encode()
            chain = recorded[f"{key}_issuer_chain"]
        else:
            text, chain = bytes.fromhex(recorded[part]), recorded.get(f"{part}_issuer_chain", "")
        encoded = chain.replace("%", "%25").replace("\n", "%0A").replace(" ", "%20").replace("+", "%2B")
        answers[part] = (dict.fromkeys(headers, encoded), text)
    assert json.loads(assemble_pcs(answers)) == recorded


def test_other_answers_are_refused() -> None:
    answers = SGX.answers(NOW)
    tcb_headers, tcb = answers["tcb"]
    for part in answers:
        with pytest.raises(CollateralInvalid):
            assemble_pcs({name: answer for name, answer in answers.items() if name != part})
        with pytest.raises(CollateralInvalid):
            assemble_pcs({**answers, part: (answers[part][0], b"<html>busy</html>")})
    for headers in ({}, {"TCB-Info-Issuer-Chain": "%00"}, {**tcb_headers, "tcb-info-issuer-chain": "x"}):
        with pytest.raises(CollateralInvalid):
            assemble_pcs({**answers, "tcb": (headers, tcb)})
    for body in (
        tcb.replace(b"tcbInfo", b"tcbInf"),
        tcb.replace(b'"signature"', b'"sig"'),
        tcb[:-3] + b'"}',
        tcb[:-1] + b',"more":1}',
        b"[" * 100_000,
        b'{"tcbInfo":1,"tcbInfo":1}',
    ):
        with pytest.raises(CollateralInvalid):
            assemble_pcs({**answers, "tcb": (tcb_headers, body)})


@every_maker
def test_collateral_by_another_signer_is_refused(maker: IntelMaker) -> None:
    # A key that the root certified for something else: a platform's, or its own under another name.
    for name, key in ((PCK_NAME, "pck"), ("Intel SGX Something", "signer")):
        signer = maker.certificate(name, "Intel SGX Root CA", key, "root")
        with pytest.raises(CollateralMissing):
            judge(maker, collateral=maker.collateral(NOW, signer=signer, signing_key=key))
    # The right name, by whom the root certified.
    below = maker.certificate("Intel SGX TCB Signing", maker.ca_name, "signer", "ca")
    with pytest.raises(EvidenceNotTrusted):
        judge(maker, collateral=maker.collateral(NOW, signer=below))
    expired = maker.certificate("Intel SGX TCB Signing", "Intel SGX Root CA", "signer", "root", end=NOW - timedelta(1))
    with pytest.raises(CertificateExpired):
        judge(maker, collateral=maker.collateral(NOW, signer=expired))


@every_maker
def test_a_bit_changed_in_collateral_is_refused(maker: IntelMaker) -> None:
    published = maker.published(NOW)
    for name in ("tcb_info", "qe_identity"):
        changed = {**published, name: published[name].replace('"tcbStatus":"UpToDate"', '"tcbStatus":"UpToDate" ')}
        with pytest.raises(EvidenceNotTrusted):
            judge(maker, collateral=maker.collateral_of(canonical(changed), NOW))
    for name in ("tcb_info_signature", "qe_identity_signature", "pck_crl", "root_ca_crl"):
        text = published[name]
        changed = {**published, name: text[:-2] + f"{int(text[-2:], 16) ^ 1:02x}"}
        with pytest.raises((EvidenceNotTrusted, CollateralMissing)):
            judge(maker, collateral=maker.collateral_of(canonical(changed), NOW))


@every_maker
def test_collateral_has_nine_members_and_no_more(maker: IntelMaker) -> None:
    published: dict[str, Any] = maker.published(NOW)
    # dcap-qvl would take a chain from here in place of the quote's own.
    other = {"pck_certificate_chain": replace(maker, label="intel/other").chain[:-1].decode()}
    bodies = [
        {**published, **other},
        {name: value for name, value in published.items() if name != "pck_crl"},
        {**published, "pck_crl": "zz"},
        {**published, "pck_crl": ""},
        {**published, "tcb_info": 1},
        {**published, "tcb_info": "[]"},
        {**published, "tcb_info": maker.tcb_info(NOW, issueDate="yesterday")},
        {**published, "tcb_info": maker.tcb_info(NOW, issueDate=None)},
        {**published, "tcb_info": maker.tcb_info(NOW, pceId="zero")},
        {**published, "tcb_info_issuer_chain": "none"},
        {**published, "tcb_info_issuer_chain": maker.root_pem},
    ]
    for body in bodies:
        with pytest.raises(CollateralMissing):
            judge(maker, collateral=maker.collateral_of(canonical(body), NOW))
    twice = canonical(published)[:-1] + b',"tcb_info":""}'
    with pytest.raises(CollateralMissing):
        judge(maker, collateral=maker.collateral_of(twice, NOW))


def test_a_revocation_list_says_until_when_it_is_good() -> None:
    published = SGX.published(NOW)
    der = bytes.fromhex(published["pck_crl"])
    signed = x509.load_der_x509_crl(der).tbs_certlist_bytes
    head = 4 if signed[1] == 0x82 else 3
    body = signed[head:]
    end = body.index(b"\x17\x0d", body.index(b"\x17\x0d") + 15)
    shorter = _sequence(_sequence(body[:end] + body[end + 15 :]) + der[der.index(signed) + len(signed) :])
    assert x509.load_der_x509_crl(shorter).next_update_utc is None
    with pytest.raises(CollateralMissing):
        judge(SGX, collateral=SGX.collateral_of(canonical({**published, "pck_crl": shorter.hex()}), NOW))


def _sequence(body: bytes) -> bytes:
    return (
        b"\x30\x82" + len(body).to_bytes(2, "big") + body
        if len(body) > 255
        else b"\x30\x81" + bytes([len(body)]) + body
    )


@every_maker
def test_collateral_is_for_this_platform(maker: IntelMaker) -> None:
    for changes in ({"fmspc": "00A06F100001"}, {"pceId": "0001"}, {"id": "XXX"}, {"version": 1}):
        with pytest.raises(EvidenceNotTrusted):
            judge(maker, collateral=maker.collateral(NOW, **changes))
    other = TDX_4 if maker.tee == "sgx" else SGX
    (item,) = other.collateral(NOW)
    with pytest.raises(EvidenceNotTrusted):
        judge(maker, collateral=maker.collateral_of(item.body, NOW))


@every_maker
def test_revocation_lists_are_by_their_issuers(maker: IntelMaker) -> None:
    published = maker.published(NOW)
    stranger = replace(maker, label="stranger").published(NOW)
    for name in ("pck_crl", "root_ca_crl"):
        body = canonical({**published, name: stranger[name]})
        with pytest.raises(EvidenceNotTrusted):
            judge(maker, collateral=maker.collateral_of(body, NOW))


@every_maker
def test_a13_the_roots_list_is_as_old_as_it_says_it_may_be(maker: IntelMaker) -> None:
    published = maker.published(NOW)

    def with_list(issued: timedelta, days: int) -> Collateral:
        listed = maker.revocation_list("root", NOW - issued, days=days).hex()
        return maker.collateral_of(canonical({**published, "root_ca_crl": listed}), NOW)

    claims = judge(maker, collateral=with_list(timedelta(days=300), 365))
    assert claims.collateral_issued == NOW
    assert claims.details["root_list_issued"] == "2026-01-05T12:00:00Z"
    for outside in (with_list(timedelta(days=366), 365), with_list(timedelta(days=-1), 365)):
        with pytest.raises(CollateralStale):
            judge(maker, collateral=outside)


@every_maker
def test_a13_the_oldest_of_the_rest_tells_the_age(maker: IntelMaker) -> None:
    old = NOW - timedelta(days=20)
    listed = maker.revocation_list("ca", old).hex()
    lists = maker.collateral_of(canonical({**maker.published(NOW), "pck_crl": listed}), NOW)
    identity = maker.collateral(NOW, qe_identity=maker.qe_identity(old))
    info = maker.collateral(NOW, tcb_info=maker.tcb_info(old))
    for collateral in (lists, identity, info):
        assert judge(maker, collateral=collateral).collateral_issued == old


@every_maker
def test_states_are_reported_in_the_vendors_words(maker: IntelMaker) -> None:
    for status in ("SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate"):
        accepted = maker.policy(tcb_statuses=[status], advisories=["INTEL-SA-00289", "INTEL-SA-00615"])
        advised = maker.collateral(NOW, status=status, advisories=("INTEL-SA-00615", "INTEL-SA-00289"))
        claims = judge(maker, collateral=advised, trust=accepted)
        assert claims.tcb_status == status
        assert claims.advisories == ("INTEL-SA-00289", "INTEL-SA-00615")
    with pytest.raises(TcbRefused):
        judge(maker, collateral=maker.collateral(NOW, status="Revoked"), trust=maker.policy(tcb_statuses=["Revoked"]))
    with pytest.raises(EvidenceNotTrusted):
        judge(maker, collateral=maker.collateral(NOW, status="Splendid"), trust=maker.policy(tcb_statuses=["Splendid"]))


@every_maker
def test_an_advisory_of_the_quoting_enclave_counts(maker: IntelMaker) -> None:
    rows = [
        {
            "tcb": {"isvsvn": 1},
            "tcbDate": "2024-03-13T00:00:00Z",
            "tcbStatus": "OutOfDate",
            "advisoryIDs": ["INTEL-SA-00999"],
        }
    ]
    collateral = maker.collateral(NOW, qe_identity=maker.qe_identity(NOW, tcbLevels=rows))
    with pytest.raises(TcbRefused):
        judge(maker, collateral=collateral, trust=maker.policy(tcb_statuses=["OutOfDate"]))
    accepted = maker.policy(tcb_statuses=["OutOfDate"], advisories=["INTEL-SA-00999"])
    assert judge(maker, collateral=collateral, trust=accepted).details["qe_tcb_status"] == "OutOfDate"


@every_maker
def test_any_report_data_and_any_time(maker: IntelMaker) -> None:
    for place in range(3):
        moment = NOW + timedelta(days=700 * place)
        report_data = bytes([place]) * 64
        evidence, collateral = maker.evidence(report_data), maker.collateral(moment)
        claims = verify_evidence(evidence, policy=maker.policy(), collateral=collateral, now=moment)
        assert claims.report_data == report_data
        assert claims.collateral == (maker.collateral_key,)


def test_recorded_quotes_lead_to_intels_root_alone() -> None:
    for name in ("sgx/quote_v3", "sgx/occlum_quote_v3", "tdx/quote_v4", "tdx/quote_v5"):
        quote = read_quote(recorded_quote(name), name.split("/", maxsplit=1)[0])
        chain = check_signatures(quote, VendorTrust(roots=["intel-sgx"]), RECORDED_NOW)
        assert "CN=Intel SGX Root CA" in chain.root.subject
        for roots in (["amd-milan"], [SGX.root_pem], ["sha256:" + "0" * 64]):
            with pytest.raises(EvidenceNotTrusted):
                check_signatures(quote, VendorTrust(roots=roots), RECORDED_NOW)


def test_collateral_of_one_recorded_platform_does_not_serve_another() -> None:
    (item,) = recorded_collateral("tdx/quote_v4")
    (need,) = installed_providers()["tdx"].needs(recorded_quote("tdx/quote_v5"))
    policy = TrustPolicy.model_validate({"tdx": {"roots": ["intel-sgx"]}})
    with pytest.raises(EvidenceNotTrusted):
        verify_evidence(
            recorded_evidence("tdx/quote_v5"),
            policy=policy,
            collateral=Collateral([replace(item, key=need.key)]),
            now=RECORDED_NOW,
        )
