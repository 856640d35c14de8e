"""Azure's paravisor: what the recorded evidence is known to say, and every rejection branch."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from paddock.crypto.canonical import canonical
from paddock.crypto.digest import sha256_id
from paddock.errors import (
    BindingMismatch,
    CollateralMissing,
    EvidenceMalformed,
    EvidenceNotTrusted,
    EvidenceRefused,
    SettingRefused,
)
from paddock.evidence import Claims, Collateral, TrustPolicy, UnverifiedEvidence, verify_evidence
from paddock.evidence.binding import check_report_data, short_report_data
from paddock.evidence.claims import registers_digest
from paddock.evidence.collateral import certificate_item
from paddock.evidence.providers.azure import (
    MAX_RUNTIME_BYTES,
    MEDIA_TYPE,
    AzureProvider,
    read_hcl_report,
)
from paddock.evidence.providers.intel_quote import read_quote
from paddock.evidence.providers.intel_verify import check_signatures
from paddock.evidence.trust import VendorTrust
from tests.evidence.azure import RECORDED_NOW, REPORT, VECTORS, base64url, evidence_of, policy, recorded
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.amd import MEASUREMENT
from tests.fixtures.vendors.azure import AzureMaker, hcl_report, jwk, over
from tests.fixtures.vendors.tpm import PCRS, UNEXTENDED, SoftwareRegisters, TpmMaker

SNP, TDX = AzureMaker("snp"), AzureMaker("tdx")
RUNTIME = TDX.runtime()


def judged(evidence: UnverifiedEvidence, maker: AzureMaker = TDX, **section: Any) -> Claims:
    return verify_evidence(evidence, policy=maker.policy(**section), collateral=maker.collateral(NOW), now=NOW)


def refused(
    kind: type[EvidenceRefused], text: str | None, evidence: UnverifiedEvidence, maker: AzureMaker = TDX
) -> None:
    with pytest.raises(kind, match=text):
        judged(evidence, maker)


# --- recorded -----------------------------------------------------------------------------------------------------


def test_the_recorded_machine_on_sev_snp_is_what_it_is_known_to_be() -> None:
    evidence, trust = evidence_of(recorded("snp")), policy("amd-milan", allow=["smt"])
    claims = verify_evidence(evidence, policy=trust, collateral=Collateral(), now=RECORDED_NOW)
    assert (claims.provider, claims.tee, claims.debug, claims.simulated) == ("azure", "confidential-vm", False, False)
    assert claims.report_data == b"challenge"
    assert claims.settings == {"smt"}
    assert claims.tcb_status is None
    assert claims.svns["microcode"] == 219
    assert claims.svns["snp"] == 24
    assert claims.registers["measurement"].startswith("6a063be9dd79f637")
    assert set(claims.registers) == {"measurement", "host_data", *(f"sha256:{number:02}" for number in range(24))}
    assert claims.measurement == registers_digest("azure", claims.registers)
    assert claims.details["vmpl"] == 0
    assert claims.details["product"] == "Milan-B0"
    assert claims.details["vm_vmUniqueId"] == "26F8BC30-774E-4290-8E7A-535F3B672AEE"
    assert claims.details["vm_secure_boot"] is True
    assert claims.details["vtpm_clock_ms"] == "3513262"


def test_the_recorded_challenge_answers_no_question_of_ours() -> None:
    with pytest.raises(BindingMismatch):
        check_report_data(REPORT, b"challenge")


def test_the_recorded_vcek_serves_as_collateral_too_and_another_chips_does_not() -> None:
    parts = recorded("snp")
    bare = evidence_of({**parts, "report": parts["report"][:1184]})
    trust = policy("amd-milan", allow=["smt"])
    found = json.loads((VECTORS / "snp_vtpm_evidence.json").read_text("ascii"))
    own = certificate_item(base64url(found["vcek"]), "2025-06-20T00:00:00Z")
    claims = verify_evidence(bare, policy=trust, collateral=Collateral([own]), now=RECORDED_NOW)
    assert claims.collateral == (own.key,)
    (need, *_) = AzureProvider().needs(bare.body)
    assert need.key == f"amd/vcek/Milan/{claims.details['chip_id']}/04000000000018db"
    assert need.kind == "certificate"
    # Recorded beside it, of another chip.
    pem = (VECTORS / "snp_vtpm_vcek.pem").read_text("ascii").split("-----END")[0].split("-----\n")[1]
    foreign = certificate_item(base64.b64decode(pem), "2025-06-20T00:00:00Z")
    for collateral in (Collateral(), Collateral([foreign])):
        with pytest.raises(CollateralMissing):
            verify_evidence(bare, policy=trust, collateral=collateral, now=RECORDED_NOW)
    with pytest.raises(SettingRefused, match="smt"):
        verify_evidence(bare, policy=policy("amd-milan"), collateral=Collateral([own]), now=RECORDED_NOW)


def test_the_recorded_machine_on_tdx_is_genuine_and_lacks_its_collateral() -> None:
    parts = recorded("tdx")
    check_signatures(read_quote(parts["report"], "tdx"), VendorTrust(roots=["intel-sgx"]), RECORDED_NOW)
    with pytest.raises(CollateralMissing, match="intel/tdx/00806F050000/platform"):
        verify_evidence(evidence_of(parts), policy=policy("intel-sgx"), collateral=Collateral(), now=RECORDED_NOW)
    (need,) = AzureProvider().needs(evidence_of(parts).body)
    assert need.key == "intel/tdx/00806F050000/platform"


# --- made here ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hash_name", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("scheme", ["rsassa", "rsapss"])
def test_every_hash_of_run_time_data_and_both_schemes_of_the_key_serve(hash_name: Any, scheme: Any) -> None:
    maker = AzureMaker("tdx", f"azure/{hash_name}", hash_name, scheme)
    claims = judged(maker.evidence(REPORT), maker)
    assert claims.report_data == REPORT
    assert claims.tcb_status == "UpToDate"
    assert {"mrtd", "rtmr0", "sha256:00"} <= set(claims.registers)
    assert claims.details["hardware"] == "tdx"
    hcl = read_hcl_report(maker.hcl_report())
    assert (hcl.hardware, hcl.runtime) == ("tdx", maker.runtime())
    assert len(hcl.report) == 1024


def test_a_machine_on_sev_snp_is_judged_by_what_amd_publishes() -> None:
    claims = judged(SNP.evidence(REPORT), SNP, min_svn={"snp": 24})
    assert claims.registers["measurement"] == MEASUREMENT.hex()
    assert (claims.tcb_status, claims.details["hardware"]) == (None, "snp")
    bare = judged(SNP.evidence(REPORT, table=b""), SNP)
    assert bare.measurement == claims.measurement
    assert any(key.startswith("amd/vcek/Milan/") for key in bare.collateral)
    hcl = read_hcl_report(SNP.hcl_report(version=1))
    assert (hcl.hardware, hcl.runtime, len(hcl.report)) == ("snp", SNP.runtime(), 1184)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_report_that_the_guest_could_ask_for_is_refused_whatever_a_policy_allows(level: int) -> None:
    evidence = SNP.evidence(REPORT, vmpl=level)
    with pytest.raises(EvidenceNotTrusted, match="not the paravisor's own"):
        judged(evidence, SNP, allow=["vmpl"])
    # The same report stands for a guest without a paravisor, where a policy says so.
    report = UnverifiedEvidence(SNP.machine.media_type, SNP.parts(REPORT, vmpl=level)["report"])
    trust = TrustPolicy.model_validate({"snp": {"roots": SNP.trust.roots, "allow": ["vmpl"]}})
    assert verify_evidence(report, policy=trust, collateral=SNP.collateral(NOW), now=NOW).details["vmpl"] == level


def test_an_event_log_counts_where_it_gives_the_registers() -> None:
    log = SoftwareRegisters()
    log.extend(4, b"boot loader")
    pcrs = {"sha256": {**UNEXTENDED, **log.values["sha256"]}}
    claims = judged(TDX.evidence(REPORT, pcrs=pcrs, replaced={"event_log": log.log}))
    assert claims.details["event_log"] == sha256_id(log.log)
    refused(EvidenceNotTrusted, "PCR 4", TDX.evidence(REPORT, replaced={"event_log": log.log}))


def test_the_short_form_of_report_data_serves() -> None:
    claims = judged(TDX.evidence(short_report_data(REPORT)))
    check_report_data(REPORT, claims.report_data)


def test_facts_about_the_machine_are_told_as_far_as_they_can_be_shown() -> None:
    runtime = TDX.runtime(current_time=1700000000, note="x" * 201, bell="\a", root_cert_thumbprint="abc")
    claims = judged(TDX.evidence(REPORT, runtime=runtime))
    assert claims.details["vm_root_cert_thumbprint"] == "abc"
    assert not {"vm_current_time", "vm_note", "vm_bell"} & set(claims.details)


@pytest.mark.parametrize(
    "bound",
    [
        hashlib.sha256(RUNTIME).digest() + b"\1" * 32,
        hashlib.sha256(RUNTIME).digest() * 2,
        bytes(32) + hashlib.sha256(RUNTIME).digest(),
        hashlib.sha512(RUNTIME).digest()[:48] + bytes(16),
        hashlib.sha1(RUNTIME).digest() + bytes(44),
        hashlib.sha256(RUNTIME + b" ").digest() + bytes(32),
        bytes(64),
        REPORT,
    ],
)
def test_hardware_that_vouches_for_something_else_is_refused(bound: bytes) -> None:
    refused(EvidenceNotTrusted, "not over the paravisor's run-time data", TDX.evidence(REPORT, bound=bound))


def test_a_swapped_attestation_key_is_refused() -> None:
    other = TpmMaker("rsassa", "another vTPM")
    swapped = other.parts(REPORT)
    changed = {"quote": swapped["quote"], "signature": swapped["signature"]}
    refused(EvidenceNotTrusted, "signature", TDX.evidence(REPORT, replaced=changed))
    # Its public part in the run-time data: the hardware did not sign these.
    named = TDX.runtime(keys=[jwk(other.key.public_key())])  # type: ignore[arg-type]  # an RSA key by its kind
    refused(EvidenceNotTrusted, "not over", TDX.evidence(REPORT, replaced={**changed, "runtime": named}))


def test_another_machines_report_is_refused() -> None:
    other = AzureMaker("tdx", "azure/other")
    theirs = other.parts(REPORT)
    collateral = TDX.collateral(NOW).merged(other.collateral(NOW))
    for names in (("report",), ("runtime",), ("report", "runtime"), ("quote", "signature")):
        mixed = {**TDX.parts(REPORT), **{name: theirs[name] for name in names}}
        with pytest.raises(EvidenceNotTrusted):
            verify_evidence(evidence_of(mixed), policy=TDX.policy(), collateral=collateral, now=NOW)
    verify_evidence(evidence_of(theirs), policy=TDX.policy(), collateral=collateral, now=NOW)


def test_hardware_under_another_name_is_refused() -> None:
    with pytest.raises(EvidenceMalformed):
        judged(TDX.evidence(REPORT, replaced={"hardware": "snp"}))
    parts = recorded("snp")
    with pytest.raises(EvidenceMalformed):
        verify_evidence(
            evidence_of({**parts, "hardware": "tdx"}), policy=policy("amd-milan"), collateral=Collateral(), now=NOW
        )
    with pytest.raises(EvidenceMalformed):
        judged(TDX.evidence(REPORT, replaced={"hardware": "sgx"}))


def test_the_vtpm_signs_with_rsa_alone() -> None:
    other = TpmMaker("p256", "elliptic")
    quote = TDX.parts(REPORT)["quote"]
    refused(EvidenceNotTrusted, "another scheme", TDX.evidence(REPORT, replaced={"signature": other.sign(quote)}))


def _key(**changes: Any) -> dict[str, Any]:
    key = {**TDX.keys()[0], **changes}
    return {name: value for name, value in key.items() if value is not None}


@pytest.mark.parametrize(
    "runtime",
    [
        b"",
        b"[]",
        b"{}",
        b"not JSON",
        b'{"keys":[],"keys":[]}',
        TDX.runtime() + b"\0",
        TDX.runtime(keys={}),
        TDX.runtime(keys=[]),
        TDX.runtime(keys=["HCLAkPub"]),
        TDX.runtime(keys=[_key(kid="HCLEkPub")]),
        TDX.runtime(keys=[_key(), _key()]),
        TDX.runtime(keys=[_key(kty="EC")]),
        TDX.runtime(keys=[_key(kty=None)]),
        TDX.runtime(keys=[_key(key_ops=["encrypt"])]),
        TDX.runtime(keys=[_key(key_ops=["sign", "encrypt"])]),
        TDX.runtime(keys=[_key(key_ops=None)]),
        TDX.runtime(keys=[_key(n=None)]),
        TDX.runtime(keys=[_key(n=7)]),
        TDX.runtime(keys=[_key(n="")]),
        TDX.runtime(keys=[_key(n="A")]),
        TDX.runtime(keys=[_key(n="!!!!")]),
        TDX.runtime(keys=[_key(n="ööö")]),
        TDX.runtime(keys=[_key(n=_key()["n"][:128])]),
        TDX.runtime(keys=[_key(e="")]),
        TDX.runtime(keys=[_key(e="AA")]),
        TDX.runtime(keys=[_key(e="Ag")]),
        TDX.runtime(keys=[_key(e="A" * 400)]),
        TDX.runtime(machine=[]),
        TDX.runtime(machine="secure-boot"),
        TDX.runtime(machine={str(number): True for number in range(33)}),
        TDX.runtime(machine={"a": "x" * MAX_RUNTIME_BYTES}),
    ],
)
def test_run_time_data_of_another_form_are_refused(runtime: bytes) -> None:
    with pytest.raises(EvidenceMalformed):
        judged(TDX.evidence(REPORT, runtime=runtime))


@pytest.mark.parametrize(
    "changed",
    [
        {"version": "paddock/azure-paravisor/v2"},
        {"hardware": None},
        {"more": 1},
        {"report": "####"},
        {"report": ""},
        {"runtime": "AA"},
        {"quote": 7},
        {"signature": "AAAA"},
        {"pcrs": {}},
        {"pcrs": {"md5": {}}},
        {"pcrs": {"sha256": {"00": "00" * 32}}},
        {"pcrs": {"sha256": {"0": "00" * 31}}},
        {"event_log": ""},
        {"event_log": "AAAA"},
    ],
)
def test_a_body_of_another_form_is_refused(changed: dict[str, Any]) -> None:
    body = {**json.loads(TDX.evidence(REPORT).body), **changed}
    refused(EvidenceMalformed, None, UnverifiedEvidence(MEDIA_TYPE, canonical(body)))


def test_a_body_that_is_not_canonical_or_lacks_a_part_is_refused() -> None:
    whole = json.loads(TDX.evidence(REPORT).body)
    refused(EvidenceMalformed, "canonical", UnverifiedEvidence(MEDIA_TYPE, json.dumps(whole).encode()))
    for name in whole:
        less = {key: value for key, value in whole.items() if key != name}
        refused(EvidenceMalformed, "canonical", UnverifiedEvidence(MEDIA_TYPE, canonical(less)))
        with pytest.raises(EvidenceMalformed):
            AzureProvider().needs(canonical(less))
    with pytest.raises(EvidenceMalformed):
        AzureProvider().needs(canonical({**whole, "report": "####"}))


def test_a_body_is_recognised_and_no_other_vendors() -> None:
    assert AzureProvider().recognises(TDX.evidence(REPORT).body)
    for body in (b"", b"{}", TDX.parts(REPORT)["report"], TpmMaker().evidence(REPORT).body):
        assert not AzureProvider().recognises(body)


def test_pcrs_that_were_not_quoted_are_refused() -> None:
    parts = TDX.parts(REPORT)
    for pcrs in ({"sha256": {0: bytes(32)}}, {"sha256": {**PCRS["sha256"], 0: bytes(32)}}):
        with pytest.raises(EvidenceRefused, match="quoted"):
            judged(evidence_of({**parts, "pcrs": pcrs}))


# --- the paravisor's report as it stands in the vTPM ---------------------------------------------------------------

HARDWARE = bytes(128) + over(RUNTIME) + bytes(832)
GOOD = {"kind": 4}


def test_a_paravisors_report_is_read() -> None:
    for behind in (b"", b"\0", bytes(1000)):
        found = read_hcl_report(hcl_report(HARDWARE, RUNTIME, kind=4, behind=behind))
        assert (found.hardware, found.report, found.runtime) == ("tdx", HARDWARE, RUNTIME)
    snp = bytes(0x50) + over(RUNTIME) + bytes(1184 - 0x90)
    assert read_hcl_report(hcl_report(snp, RUNTIME, kind=2, version=1)).report == snp


@pytest.mark.parametrize(
    "changed",
    [
        {"magic": b"HCLB"},
        {"version": 0},
        {"version": 3},
        {"request": 1},
        {"status": 1},
        {"reserved": bytes(11) + b"\1"},
        {"data_version": 2},
        {"kind": 0},
        {"kind": 3},
        {"hash_kind": 0},
        {"hash_kind": 2},
        {"hash_kind": 4},
        {"length": len(RUNTIME) + 1},
        {"length": len(RUNTIME) - 1},
        {"length": 0xFFFFFFFF},
        {"length": 0xFFFFFFFF, "data_size": 19},
        {"data_size": len(RUNTIME)},
        {"size": 32 + 1184 + 20 + len(RUNTIME) + 1},
        {"size": 0},
        {"behind": b"\0\1"},
        {"kind": 2},
    ],
)
def test_a_paravisors_report_of_another_form_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(EvidenceMalformed):
        read_hcl_report(hcl_report(HARDWARE, RUNTIME, **{**GOOD, **changed}))


def test_a_paravisors_report_is_bounded_and_whole() -> None:
    long = b"{" + b" " * MAX_RUNTIME_BYTES + b"}"
    with pytest.raises(EvidenceMalformed, match="at most"):
        read_hcl_report(hcl_report(bytes(128) + over(long) + bytes(832), long, kind=4))
    with pytest.raises(EvidenceMalformed, match="behind the hardware's report"):
        read_hcl_report(hcl_report(HARDWARE + b"\1", RUNTIME, kind=4))
    whole = hcl_report(HARDWARE, RUNTIME, kind=4, behind=b"")
    for length in range(0, len(whole), 7):
        with pytest.raises(EvidenceMalformed):
            read_hcl_report(whole[:length])
