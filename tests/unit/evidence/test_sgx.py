"""SGX quotes: what is known of the recorded ones, and what a report says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from paddock.errors import DebugRefused, EvidenceNotTrusted, SignatureRefused, TcbRefused
from paddock.evidence import Collateral, TrustPolicy, verify_evidence
from paddock.evidence.claims import registers_digest
from paddock.evidence.providers.intel_quote import read_enclave_report, read_quote
from paddock.evidence.providers.intel_verify import check_signatures
from paddock.evidence.providers.sgx import SgxProvider, enclave_settings
from paddock.evidence.trust import SgxTrust
from tests.evidence.intel import RECORDED_NOW, recorded_collateral, recorded_evidence, recorded_quote
from tests.evidence.sgx import RECORDED
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.intel import MRENCLAVE, MRSIGNER, IntelMaker, enclave_report

INTEL = SgxTrust(roots=["intel-sgx"])
REPORT = bytes(range(64))


def test_the_recorded_quote_says_what_is_known_of_it() -> None:
    policy = TrustPolicy.model_validate({"sgx": {"roots": ["intel-sgx"], **RECORDED}})
    claims = verify_evidence(
        recorded_evidence("sgx/quote_v3"),
        policy=policy,
        collateral=recorded_collateral("sgx/quote_v3"),
        now=RECORDED_NOW,
    )
    mrenclave = "33d8736db756ed4997e04ba358d27833188f1932ff7b1d156904d3f560452fbb"
    assert claims.tee == "enclave"
    assert claims.registers == {"mrenclave": mrenclave}
    assert claims.measurement == registers_digest("sgx", {"mrenclave": mrenclave})
    assert claims.report_data == b"Hello, world!".ljust(64, b"\0")
    assert not claims.debug
    assert not claims.simulated
    assert claims.issued is None
    assert claims.tcb_status == "ConfigurationAndSWHardeningNeeded"
    assert claims.advisories == ("INTEL-SA-00289", "INTEL-SA-00615")
    assert claims.svns == {"isv_svn": 0, "config_svn": 0, "pce_svn": 13, "qe_svn": 10, "tcb_evaluation": 17}
    assert claims.settings == frozenset()
    assert claims.collateral == ("intel/sgx/00A067110000/processor",)
    assert claims.collateral_issued == datetime(2025, 6, 19, 10, 1, 18, tzinfo=UTC)
    assert claims.details["mrsigner"] == "815f42f11cf64430c30bab7816ba596a1da0130c3b028b673133a66cf9a3e0e6"
    assert claims.details["sgx_type"] == "standard"
    assert claims.details["smt"] == "not stated"


def test_the_recorded_platform_is_not_up_to_date() -> None:
    with pytest.raises(TcbRefused):
        verify_evidence(
            recorded_evidence("sgx/quote_v3"),
            policy=TrustPolicy(sgx=INTEL),
            collateral=recorded_collateral("sgx/quote_v3"),
            now=RECORDED_NOW,
        )


def test_a5_the_recorded_debug_enclave_is_genuine_and_refused() -> None:
    body = recorded_quote("sgx/occlum_quote_v3")
    quote = read_quote(body, "sgx")
    assert check_signatures(quote, INTEL, RECORDED_NOW).leaf == quote.chain[0]
    assert read_enclave_report(quote.report).attributes & 2
    everything = TrustPolicy.model_validate({"sgx": {"roots": ["intel-sgx"], "allow": ["debug"], **RECORDED}})
    for collateral in (Collateral(), recorded_collateral("sgx/quote_v3")):
        with pytest.raises(DebugRefused):
            verify_evidence(
                recorded_evidence("sgx/occlum_quote_v3"), policy=everything, collateral=collateral, now=RECORDED_NOW
            )


def test_a11_an_enclave_of_another_signer_is_refused_where_signers_are_named() -> None:
    maker, now = IntelMaker("sgx"), datetime.now(UTC)

    def judge(signers: list[str]) -> str:
        evidence, policy = maker.evidence(REPORT), maker.policy(signers=signers)
        return verify_evidence(evidence, policy=policy, collateral=maker.collateral(now), now=now).measurement

    measurement = judge([])
    assert judge([MRSIGNER.hex()]) == measurement
    assert judge(["00" * 32, MRSIGNER.hex()]) == measurement
    with pytest.raises(EvidenceNotTrusted, match=MRSIGNER.hex()):
        judge(["00" * 32])
    for text in (MRSIGNER.hex().upper(), "00", "", MRSIGNER.hex() + " "):
        with pytest.raises(ValidationError):
            judge([text])


def test_a_changed_debug_enclave_is_refused_for_the_change() -> None:
    body = bytearray(recorded_quote("sgx/occlum_quote_v3"))
    body[48 + 64] ^= 1  # MRENCLAVE
    with pytest.raises(SignatureRefused):
        SgxProvider().verify(bytes(body), trust=INTEL, collateral=Collateral(), now=RECORDED_NOW)


def test_the_debug_bit_cannot_be_taken_away() -> None:
    body = bytearray(recorded_quote("sgx/occlum_quote_v3"))
    body[48 + 48] ^= 2
    with pytest.raises(SignatureRefused):
        SgxProvider().verify(bytes(body), trust=INTEL, collateral=Collateral(), now=RECORDED_NOW)
    evidence = replace(recorded_evidence("sgx/occlum_quote_v3"), body=bytes(body))
    with pytest.raises(EvidenceNotTrusted):
        verify_evidence(evidence, policy=TrustPolicy(sgx=INTEL), collateral=Collateral(), now=RECORDED_NOW)


def test_every_field_is_read_from_its_place() -> None:
    maker = IntelMaker("sgx", 3, flags=("smt",))
    evidence = maker.evidence(
        REPORT,
        attributes=0xC5,
        misc_select=1,
        config_id=bytes(range(64)),
        config_svn=7,
        isv_svn=258,
        isv_prod_id=513,
        isv_ext_prod_id=bytes(range(16)),
        isv_family_id=bytes(range(16, 32)),
    )
    claims = verify_evidence(
        evidence, policy=maker.policy(allow=["config-id", "smt"]), collateral=maker.collateral(NOW), now=NOW
    )
    assert claims.registers == {"mrenclave": MRENCLAVE.hex()}
    assert claims.report_data == REPORT
    assert claims.svns["isv_svn"] == 258
    assert claims.svns["config_svn"] == 7
    assert claims.settings == {"config-id", "smt"}
    expected = {
        "attributes": "00000000000000c5",
        "config_id": bytes(range(64)).hex(),
        "isv_ext_prod_id": bytes(range(16)).hex(),
        "isv_family_id": bytes(range(16, 32)).hex(),
        "isv_prod_id": 513,
        "misc_select": "00000001",
        "mrsigner": MRSIGNER.hex(),
        "xfrm": "00000000000000e7",
        "smt": "on",
    }
    assert {name: claims.details[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("attributes", "settings"),
    [
        (0x05, set()),
        (0x4C5, set()),
        (0x15, {"provisioning-key"}),
        (0x25, {"launch-key"}),
        (0x35, {"provisioning-key", "launch-key"}),
        (0x0D, {"unknown-attribute"}),
        (0x105, {"unknown-attribute"}),
        (1 << 63 | 5, {"unknown-attribute"}),
    ],
)
def test_settings_of_an_enclave(attributes: int, settings: set[str]) -> None:
    assert enclave_settings(read_enclave_report(enclave_report(REPORT, attributes=attributes))) == settings
