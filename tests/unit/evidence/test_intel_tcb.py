"""The state of a TD's platform is told as dcap-qvl tells it, where both look, and refused where it refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from dcap_qvl import QuotePolicy, QuoteVerifier  # type: ignore[import-untyped]  # as in the provider

from paddock.crypto.canonical import canonical
from paddock.crypto.x509 import Certificate
from paddock.errors import (
    CertificateRevoked,
    CollateralMissing,
    CollateralStale,
    DebugRefused,
    EvidenceNotTrusted,
    PaddockError,
    SettingRefused,
    TcbRefused,
)
from paddock.evidence import Claims, Collateral, verify_evidence
from paddock.evidence.providers.intel import read_published
from paddock.evidence.providers.intel_quote import read_quote
from paddock.evidence.providers.intel_tcb import platform_claims
from tests.evidence.azure import evidence_of, policy, recorded
from tests.evidence.intel import RECORDED_NOW, recorded_collateral, recorded_quote
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.azure import AzureMaker
from tests.fixtures.vendors.intel import (
    CPU_SVN,
    PCE_SVN,
    QE_SIGNER,
    SEPT_VE_DISABLE,
    TEE_TCB_SVN,
    IntelMaker,
)

REPORT = bytes(range(64))
TD = IntelMaker("tdx", 4)
DATE = {"tcbDate": "2024-03-13T00:00:00Z"}
PARAVISOR = AzureMaker("tdx")
BARE = {"attributes": 0}


def root_of(maker: IntelMaker) -> Certificate:
    return Certificate.from_der(maker.root.public_bytes(serialization.Encoding.DER))


def theirs(maker: IntelMaker, quote: bytes, body: bytes) -> Any:
    """What dcap-qvl says: its claims, or None where it refuses."""
    seconds = int(NOW.timestamp())
    verifier = QuoteVerifier(root_of(maker).der)
    try:
        found = verifier.verify_with_policy(
            quote, read_published(body).whole, seconds, QuotePolicy.claims_only(seconds)
        )
    except ValueError:
        return None
    return json.loads(found.to_json())


def ours(maker: IntelMaker, quote: bytes, body: bytes) -> Any:
    try:
        return platform_claims(read_quote(quote, "tdx"), read_published(body), root_of(maker))
    except PaddockError:
        return None


def held_against(mine: Any, other: Any) -> None:
    """Every member of mine is in the other; advisories in any order."""
    if isinstance(mine, dict):
        for name, value in mine.items():
            if name == "advisory_ids":
                assert sorted(value) == sorted(other[name])
            else:
                held_against(value, other[name])
    else:
        assert mine == other


def level(
    status: str = "UpToDate", *advisories: str, sgx: bytes = CPU_SVN, tdx: bytes = TEE_TCB_SVN, pce: int = PCE_SVN
) -> Any:
    tcb = {
        "sgxtcbcomponents": [{"svn": each} for each in sgx],
        "pcesvn": pce,
        "tdxtcbcomponents": [{"svn": each} for each in tdx],
    }
    return {"tcb": tcb, **DATE, "tcbStatus": status, "advisoryIDs": list(advisories)}


def svn_level(svn: int, status: str = "UpToDate", *advisories: str) -> Any:
    return {"tcb": {"isvsvn": svn}, **DATE, "tcbStatus": status, "advisoryIDs": list(advisories)}


def module(name: str = "TDX_01", levels: Any = None, **changes: Any) -> Any:
    rest = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8, **changes}
    return {"id": name, **rest, "tcbLevels": [svn_level(4)] if levels is None else levels}


def higher(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] + 1]) + data[place + 1 :]


STATUSES = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
)
TCB_CASES: Mapping[str, Mapping[str, Any]] = {
    "as it is": {},
    **{f"platform {status}": {"tcbLevels": [level(status, "INTEL-SA-1")]} for status in STATUSES},
    **{f"module {status}": {"tdxModuleIdentities": [module(levels=[svn_level(3, status, "INTEL-SA-2")])]} for status in STATUSES},
    "an unknown word": {"tcbLevels": [level("Fine")]},
    "an unknown word of a level above": {"tcbLevels": [level("Fine", sgx=higher(CPU_SVN, 0)), level()]},
    "no levels": {"tcbLevels": []},
    **{f"CPU below {place}": {"tcbLevels": [level(sgx=higher(CPU_SVN, place))]} for place in range(16)},
    **{f"TD below {place}": {"tcbLevels": [level(tdx=higher(TEE_TCB_SVN, place))]} for place in range(16)},
    "PCE below": {"tcbLevels": [level(pce=PCE_SVN + 1)]},
    "the second fits": {"tcbLevels": [level(pce=PCE_SVN + 1), level("OutOfDate", "INTEL-SA-3")]},
    "in another order": {"tcbLevels": [level("OutOfDate", sgx=bytes(16)), level(), level("Revoked", pce=PCE_SVN + 1)]},
    "ties by TD": {"tcbLevels": [level("OutOfDate", tdx=bytes(16)), level("SWHardeningNeeded")]},
    "ties by PCE": {"tcbLevels": [level("OutOfDate", pce=1), level("SWHardeningNeeded")]},
    "too few components": {"tcbLevels": [level(sgx=CPU_SVN[:15])]},
    "too many components": {"tcbLevels": [level(tdx=TEE_TCB_SVN + b"\0")]},
    "no advisories": {"tcbLevels": [{k: v for k, v in level().items() if k != "advisoryIDs"}]},
    "another family": {"fmspc": "00A06F200000"},
    "of SGX": {"id": "SGX"},
    "version 2": {"version": 2},
    "no module": {"tdxModule": None},
    "no identities": {"tdxModuleIdentities": []},
    "no identity of it": {"tdxModuleIdentities": [module("TDX_03")]},
    "the second identity": {"tdxModuleIdentities": [module("TDX_03", [svn_level(1, "Revoked")]), module("tdx_01")]},
    "another module's signer": {"tdxModuleIdentities": [module(mrsigner="01" * 48)]},
    "other attributes": {"tdxModuleIdentities": [module(attributes="01" + "00" * 7)]},
    "other attributes behind the mask": {"tdxModuleIdentities": [module(attributes="01" + "00" * 7, attributesMask="00" * 8)]},
    "a module below": {"tdxModuleIdentities": [module(levels=[svn_level(6)])]},
    "a module's second level": {"tdxModuleIdentities": [module(levels=[svn_level(6), svn_level(5, "OutOfDate", "INTEL-SA-4")])]},
}  # fmt: skip
IDENTITY_CASES: Mapping[str, Mapping[str, Any]] = {
    **{f"enclave {status}": {"tcbLevels": [svn_level(8, status, "INTEL-SA-5")]} for status in STATUSES},
    "below": {"tcbLevels": [svn_level(9)]},
    "the second": {"tcbLevels": [svn_level(9), svn_level(7, "OutOfDate")]},
    "none": {"tcbLevels": []},
    "of SGX": {"id": "QE"},
    "version 3": {"version": 3},
    "version 1": {"version": 1},
    "another signer": {"mrsigner": "00" * 32},
    "another product": {"isvprodid": 1},
    "other features": {"miscselect": "01000000"},
    "other features behind the mask": {"miscselect": "01000000", "miscselectMask": "00000000"},
    "other attributes": {"attributes": "13000000000000000000000000000000"},
    "other attributes behind the mask": {"attributes": "1100000000000000FF00000000000000"},
}


@pytest.mark.parametrize("name", TCB_CASES)
def test_a_platform_is_told_as_dcap_qvl_tells_it(name: str) -> None:
    body = canonical(TD.published(NOW, **TCB_CASES[name]))
    mine, other = ours(TD, TD.quote(REPORT), body), theirs(TD, TD.quote(REPORT), body)
    if mine is None or other is None:
        # An unknown word is refused here where it matters, there anywhere.
        assert mine is other or name == "an unknown word of a level above"
    else:
        held_against(mine, other)


@pytest.mark.parametrize("platform", STATUSES)
@pytest.mark.parametrize("module_status", ["UpToDate", "OutOfDate", "Revoked"])
@pytest.mark.parametrize("enclave", ["UpToDate", "OutOfDate", "Revoked"])
def test_states_are_put_together_as_dcap_qvl_does(platform: str, module_status: str, enclave: str) -> None:
    modules = [module(levels=[svn_level(4, module_status, "INTEL-SA-2", "INTEL-SA-1")])]
    identity = TD.qe_identity(NOW, tcbLevels=[svn_level(8, enclave, "INTEL-SA-3")])
    levels = [level(platform, "INTEL-SA-1")]
    body = canonical(TD.published(NOW, qe_identity=identity, tcbLevels=levels, tdxModuleIdentities=modules))
    mine, other = ours(TD, TD.quote(REPORT), body), theirs(TD, TD.quote(REPORT), body)
    assert (mine is None) == (other is None) == ("Revoked" in {platform, module_status, enclave})
    if mine is not None:
        held_against(mine, other)


@pytest.mark.parametrize("name", IDENTITY_CASES)
def test_a_quoting_enclave_is_told_as_dcap_qvl_tells_it(name: str) -> None:
    body = canonical(TD.published(NOW, qe_identity=TD.qe_identity(NOW, **IDENTITY_CASES[name])))
    mine, other = ours(TD, TD.quote(REPORT), body), theirs(TD, TD.quote(REPORT), body)
    if mine is None or other is None:
        # Of an enclave Intel says no more than three words: another is refused here.
        assert mine is other or (mine is None and "Needed" in name)
    else:
        held_against(mine, other)


@pytest.mark.parametrize("flags", [(), ("smt",), ("cached_keys",), ("dynamic_platform", "cached_keys", "smt")])
def test_settings_of_the_platform_are_told_as_dcap_qvl_tells_them(flags: tuple[str, ...]) -> None:
    maker = replace(TD, flags=flags)
    body = canonical(maker.published(NOW))
    mine = ours(maker, maker.quote(REPORT), body)
    assert mine is not None
    held_against(mine, theirs(maker, maker.quote(REPORT), body))


def test_a_recorded_platform_is_told_as_dcap_qvl_tells_it() -> None:
    (item,) = recorded_collateral("tdx/quote_v4")
    quote = read_quote(recorded_quote("tdx/quote_v4"), "tdx")
    seconds = int(RECORDED_NOW.timestamp())
    published = read_published(item.body)
    found = QuoteVerifier(quote.chain[-1].der).verify_with_policy(
        quote.data, published.whole, seconds, QuotePolicy.claims_only(seconds)
    )
    held_against(platform_claims(quote, published, quote.chain[-1]), json.loads(found.to_json()))


@pytest.mark.parametrize(
    "fields",
    [
        {"tee_tcb_svn": bytes([5, 0, 3]) + bytes(13)},
        {"tee_tcb_svn": bytes([5, 2, 3]) + bytes(13)},
        {"tee_tcb_svn": bytes([3, 1, 3]) + bytes(13)},
        {"tee_tcb_svn": bytes([9, 1, 9]) + bytes([9] * 13)},
        {"mr_signer_seam": b"\1" * 48},
        {"qe": {"mrsigner": bytes(32)}},
        {"qe": {"isv_svn": 7}},
        {"qe": {"isv_prod_id": 1}},
        {"qe": {"attributes": 0x17}},
        {"qe": {"misc_select": 1}},
        {"qe": {"mrsigner": QE_SIGNER, "isv_svn": 20}},
    ],
)
def test_what_a_quote_says_is_judged_as_dcap_qvl_judges_it(fields: dict[str, Any]) -> None:
    zero = level(tdx=bytes(16))
    body = canonical(TD.published(NOW, tcbLevels=[zero]))
    quote = TD.quote(REPORT, **fields)
    mine, other = ours(TD, quote, body), theirs(TD, quote, body)
    if mine is None or other is None:
        assert mine is other
    else:
        held_against(mine, other)


def test_what_intel_did_not_sign_is_refused() -> None:
    good, other = TD.published(NOW), IntelMaker("tdx", 4, "stranger").published(NOW)
    quote = read_quote(TD.quote(REPORT), "tdx")
    for changes in (
        {"tcb_info_signature": "00" * 64},
        {"qe_identity_signature": good["tcb_info_signature"]},
        {"tcb_info": good["tcb_info"].replace("UpToDate", "OutOfDate", 1)},
        {"qe_identity": good["qe_identity"].replace(":8}", ":7}")},
        {"tcb_info_issuer_chain": other["tcb_info_issuer_chain"], "tcb_info_signature": other["tcb_info_signature"]},
        {"root_ca_crl": other["root_ca_crl"]},
        {"pck_crl": other["pck_crl"]},
    ):
        with pytest.raises(EvidenceNotTrusted):
            platform_claims(quote, read_published(canonical({**good, **changes})), root_of(TD))
    # Signed by a signer that a stranger's root issued, whose certificate stands there in place of the genuine one.
    stranger = IntelMaker("tdx", 4, "stranger")
    theirs_ = TD.published(NOW, signer=stranger.signer)
    with pytest.raises(EvidenceNotTrusted):
        platform_claims(quote, read_published(canonical(theirs_)), root_of(TD))
    with pytest.raises(EvidenceNotTrusted):
        platform_claims(quote, read_published(canonical(other)), root_of(TD))


def test_a_td_of_another_kind_is_left_to_dcap_qvl() -> None:
    maker = IntelMaker("tdx", 5)
    with pytest.raises(TcbRefused):
        platform_claims(
            read_quote(maker.quote(REPORT), "tdx"), read_published(canonical(maker.published(NOW))), root_of(maker)
        )


# --- behind a paravisor -------------------------------------------------------------------------------------------


def judged(*, collateral: Collateral | None = None, allow: tuple[str, ...] = ("sept-ve",), **changes: Any) -> Claims:
    known = PARAVISOR.collateral(NOW) if collateral is None else collateral
    evidence = PARAVISOR.evidence(REPORT, **{**BARE, **changes})
    return verify_evidence(evidence, policy=PARAVISOR.policy(allow=list(allow)), collateral=known, now=NOW)


def test_a_paravisors_td_may_lack_sept_ve_disable_where_the_policy_says_so() -> None:
    claims = judged()
    assert claims.settings == {"sept-ve"}
    assert claims.tcb_status == "UpToDate"
    usual = judged(attributes=SEPT_VE_DISABLE, allow=())
    differing = {"attributes"}
    assert {k: v for k, v in claims.details.items() if k not in differing} == {
        k: v for k, v in usual.details.items() if k not in differing
    }
    assert (claims.svns, claims.registers, claims.collateral) == (usual.svns, usual.registers, usual.collateral)
    assert claims.collateral_issued == usual.collateral_issued
    with pytest.raises(SettingRefused, match="sept-ve"):
        judged(allow=())


def test_without_a_paravisor_no_policy_can_allow_it() -> None:
    trust = TD.policy(allow=["sept-ve"])
    with pytest.raises(SettingRefused, match="No policy"):
        verify_evidence(TD.evidence(REPORT, **BARE), policy=trust, collateral=TD.collateral(NOW), now=NOW)


@pytest.mark.parametrize("bit", [8, 15, 17, 18, 26, 29, 30, 31, 32, 61, 62, 63])
def test_nothing_else_may_be_unusual(bit: int) -> None:
    everything = ("sept-ve", "migration", "service-td", "unknown-attribute", "perfmon", "key-locker", "protection-keys")
    with pytest.raises(SettingRefused, match="No policy"):
        judged(attributes=1 << bit, allow=(*everything, "provisioning-agent"))


def test_all_else_is_judged_as_of_every_td() -> None:
    with pytest.raises(DebugRefused):
        judged(attributes=1)
    for refusal, collateral in (
        (CollateralMissing, Collateral()),
        (CollateralStale, PARAVISOR.collateral(NOW - timedelta(days=31))),
        (CertificateRevoked, PARAVISOR.collateral(NOW, revoked="pck")),
        (CertificateRevoked, PARAVISOR.collateral(NOW, revoked="ca")),
        (TcbRefused, PARAVISOR.collateral(NOW, status="OutOfDate")),
        (TcbRefused, PARAVISOR.collateral(NOW, status="Revoked")),
        (TcbRefused, PARAVISOR.collateral(NOW, advisories=("INTEL-SA-00615",))),
        (TcbRefused, PARAVISOR.collateral(NOW, tcbLevels=[])),
        (EvidenceNotTrusted, PARAVISOR.collateral(NOW, pceId="0001")),
    ):
        with pytest.raises(refusal):
            judged(collateral=collateral)
    other = IntelMaker("tdx", 4, PARAVISOR.label, ("smt",))
    evidence = evidence_of({**PARAVISOR.parts(REPORT), "report": other.quote(REPORT, attributes=0)})
    with pytest.raises(EvidenceNotTrusted, match="run-time data"):
        verify_evidence(
            evidence, policy=PARAVISOR.policy(allow=["sept-ve", "smt"]), collateral=PARAVISOR.collateral(NOW), now=NOW
        )


def test_each_bit_of_it_is_signed() -> None:
    parts = PARAVISOR.parts(REPORT, attributes=0)
    trust, known = PARAVISOR.policy(allow=["sept-ve"]), PARAVISOR.collateral(NOW)
    quote = parts["report"]
    places = [*range(0, 8 * (48 + 584), 131), *range(8 * 636, 8 * (636 + 128 + 6 + 384 + 64 + 34), 61)]
    for place in places:
        changed = bytearray(quote)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(PaddockError):
            verify_evidence(evidence_of({**parts, "report": bytes(changed)}), policy=trust, collateral=known, now=NOW)


def test_the_recorded_machine_lacks_it() -> None:
    """As every TD of Azure's: no quote of a TD that Azure started was acceptable otherwise."""
    quote = read_quote(recorded("tdx")["report"], "tdx")
    assert int.from_bytes(quote.report[120:128], "little") == 0
    with pytest.raises(CollateralMissing):
        verify_evidence(
            evidence_of(recorded("tdx")),
            policy=policy("intel-sgx", allow=["sept-ve"]),
            collateral=Collateral(),
            now=RECORDED_NOW,
        )
