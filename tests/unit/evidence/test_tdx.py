"""TDX quotes: what is known of the recorded ones, and what a report says."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from paddock.errors import CollateralMissing, DebugRefused, SettingRefused
from paddock.evidence import Collateral, TrustPolicy, verify_evidence
from paddock.evidence.claims import registers_digest
from paddock.evidence.providers.intel_quote import TD_1_0, TD_1_5, read_quote
from paddock.evidence.providers.intel_verify import check_signatures
from paddock.evidence.providers.tdx import read_td_report, td_settings
from paddock.evidence.trust import VendorTrust
from tests.evidence.intel import RECORDED_NOW, recorded_collateral, recorded_evidence, recorded_quote
from tests.evidence.tdx import RECORDED
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.intel import SEPT_VE_DISABLE, TEE_TCB_SVN, IntelMaker, td_report

INTEL = VendorTrust(roots=["intel-sgx"])
REPORT = bytes(range(64))


def test_the_recorded_quote_says_what_is_known_of_it() -> None:
    policy = TrustPolicy.model_validate({"tdx": {"roots": ["intel-sgx"], **RECORDED}})
    claims = verify_evidence(
        recorded_evidence("tdx/quote_v4"),
        policy=policy,
        collateral=recorded_collateral("tdx/quote_v4"),
        now=RECORDED_NOW,
    )
    assert claims.tee == "confidential-vm"
    assert set(claims.registers) == {"mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_config_id"}
    assert claims.registers["mrtd"].startswith("91eb2b44d141d4ec")
    assert claims.registers["rtmr0"].startswith("44c0197b39157fdd")
    assert claims.registers["rtmr1"].startswith("0084452c01668329")
    assert claims.registers["rtmr2"].startswith("d833feef2cd94514")
    assert claims.registers["rtmr3"] == "0" * 96
    assert claims.measurement == registers_digest("tdx", claims.registers)
    assert claims.report_data.hex().startswith("9a9d48e7f6799642")
    assert claims.tcb_status == "UpToDate"
    assert claims.advisories == ()
    assert claims.svns == {
        "pce_svn": 11,
        "qe_svn": 6,
        "tcb_evaluation": 17,
        "tdx_module": 6,
        "tdx_module_version": 1,
        "seam": 3,
    }
    assert claims.settings == {"cached-keys", "dynamic-platform", "smt"}
    assert claims.collateral == ("intel/tdx/B0C06F000000/platform",)
    assert claims.collateral_issued == datetime(2025, 6, 19, 10, 0, 35, tzinfo=UTC)
    assert claims.details["quote_version"] == 4
    assert str(claims.details["mr_seam"]).startswith("5b38e33a6487958b")


def test_what_the_platform_has_switched_on_must_be_allowed() -> None:
    with pytest.raises(SettingRefused, match="cached-keys, dynamic-platform, smt"):
        verify_evidence(
            recorded_evidence("tdx/quote_v4"),
            policy=TrustPolicy(tdx=INTEL),
            collateral=recorded_collateral("tdx/quote_v4"),
            now=RECORDED_NOW,
        )


def test_the_recorded_quote_of_version_5_is_genuine_and_its_platform_unknown() -> None:
    quote = read_quote(recorded_quote("tdx/quote_v5"), "tdx")
    assert (quote.version, quote.kind) == (5, TD_1_5)
    check_signatures(quote, INTEL, RECORDED_NOW)
    report = read_td_report(quote.report, quote.kind)
    assert set(report.registers) == {"mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_config_id", "mr_service_td"}
    assert not report.attributes & 0xFF
    with pytest.raises(CollateralMissing, match="intel/tdx/90C06F000000/platform"):
        verify_evidence(
            recorded_evidence("tdx/quote_v5"), policy=TrustPolicy(tdx=INTEL), collateral=Collateral(), now=RECORDED_NOW
        )


@pytest.mark.parametrize("version", [4, 5])
def test_every_field_is_read_from_its_place(version: int) -> None:
    maker = IntelMaker("tdx", version)
    owner = {"mr_owner": b"\1" * 48, "mr_owner_config": b"\2" * 48}
    evidence = maker.evidence(REPORT, xfam=0x1234, **owner)
    claims = verify_evidence(evidence, policy=maker.policy(), collateral=maker.collateral(NOW), now=NOW)
    names = ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_config_id"]
    expected = {name: hashlib.sha384(name.encode()).hexdigest() for name in names}
    assert claims.registers == {**expected, **({"mr_service_td": "0" * 96} if version == 5 else {})}
    assert claims.report_data == REPORT
    assert claims.settings == frozenset()
    details = {
        "attributes": "0000000010000000",
        "mr_owner": "01" * 48,
        "mr_owner_config": "02" * 48,
        "mr_seam": hashlib.sha384(b"module").hexdigest(),
        "mr_signer_seam": "0" * 96,
        "quote_version": version,
        "tee_tcb_svn": TEE_TCB_SVN.hex(),
        "xfam": "0000000000001234",
    }
    assert {name: claims.details[name] for name in details} == details
    assert ("tee_tcb_svn2" in claims.details) == (version == 5)


def test_a_module_renewed_under_a_running_td_advises_to_start_it_again() -> None:
    maker = IntelMaker("tdx", 5)
    module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
    rows = [
        {"tcb": {"isvsvn": 5}, "tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": "UpToDate"},
        {
            "tcb": {"isvsvn": 4},
            "tcbDate": "2023-08-09T00:00:00Z",
            "tcbStatus": "OutOfDate",
            "advisoryIDs": ["INTEL-SA-01036"],
        },
    ]
    collateral = maker.collateral(NOW, tdxModuleIdentities=[{"id": "TDX_01", **module, "tcbLevels": rows}])
    policy = maker.policy(tcb_statuses=["TDRelaunchAdvised"], advisories=["INTEL-SA-01036"])
    launched = maker.evidence(REPORT, tee_tcb_svn=b"\4" + TEE_TCB_SVN[1:])
    claims = verify_evidence(launched, policy=policy, collateral=collateral, now=NOW)
    assert claims.tcb_status == "TDRelaunchAdvised"
    assert claims.advisories == ("INTEL-SA-01036",)
    # The other way round: launched under a good module, and running under one with an advisory.
    renewed = maker.evidence(REPORT, tee_tcb_svn2=b"\4" + TEE_TCB_SVN[1:])
    accepted = maker.policy(tcb_statuses=["UpToDate", "OutOfDate"], advisories=["INTEL-SA-01036"])
    claims = verify_evidence(renewed, policy=accepted, collateral=collateral, now=NOW)
    assert claims.advisories == ("INTEL-SA-01036",)


@pytest.mark.parametrize("version", [4, 5])
def test_a5_every_bit_of_the_debug_group_is_debug(version: int) -> None:
    maker = IntelMaker("tdx", version)
    for bit in range(8):
        evidence = maker.evidence(REPORT, attributes=SEPT_VE_DISABLE | 1 << bit)
        for collateral in (maker.collateral(NOW), Collateral()):
            with pytest.raises(DebugRefused):
                verify_evidence(evidence, policy=maker.policy(), collateral=collateral, now=NOW)


@pytest.mark.parametrize(
    ("attributes", "settings"),
    [
        (SEPT_VE_DISABLE, set()),
        (SEPT_VE_DISABLE | 1 << 16 | 1 << 27, set()),
        (0, {"sept-ve"}),
        (SEPT_VE_DISABLE | 1 << 17, {"service-td"}),
        (SEPT_VE_DISABLE | 1 << 29, {"migration"}),
        (SEPT_VE_DISABLE | 1 << 30, {"protection-keys"}),
        (SEPT_VE_DISABLE | 1 << 31, {"key-locker"}),
        (SEPT_VE_DISABLE | 1 << 62, {"provisioning-agent"}),
        (SEPT_VE_DISABLE | 1 << 63, {"perfmon"}),
        (SEPT_VE_DISABLE | 1 << 8, {"unknown-attribute"}),
        (SEPT_VE_DISABLE | 1 << 61, {"unknown-attribute"}),
    ],
)
def test_settings_of_a_td(attributes: int, settings: set[str]) -> None:
    report = read_td_report(td_report(REPORT, service=False, attributes=attributes), TD_1_0)
    assert td_settings(report) == settings
    bound = td_report(REPORT, service=True, attributes=attributes, mr_service_td=bytes(47) + b"\1")
    assert td_settings(read_td_report(bound, TD_1_5)) == settings | {"service-td"}


@pytest.mark.parametrize(
    ("bit", "name"), [(30, "protection-keys"), (31, "key-locker"), (62, "provisioning-agent"), (63, "perfmon")]
)
def test_what_a_policy_may_allow(bit: int, name: str) -> None:
    maker = IntelMaker("tdx", 5)
    evidence = maker.evidence(REPORT, attributes=SEPT_VE_DISABLE | 1 << bit)
    claims = verify_evidence(evidence, policy=maker.policy(allow=[name]), collateral=maker.collateral(NOW), now=NOW)
    assert claims.settings == {name}
