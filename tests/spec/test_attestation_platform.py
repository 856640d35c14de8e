"""Rules about the platform: what a provider reports, the core holds against the policy (A-10 to A-12, A-14)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from paddock.crypto.canonical import canonical
from paddock.crypto.digest import sha256_id
from paddock.errors import (
    CertificateExpired,
    CertificateRevoked,
    DebugRefused,
    EncodingRefused,
    EvidenceMalformed,
    EvidenceNotTrusted,
    PaddockError,
    RevocationUnknown,
    SettingRefused,
    SignatureRefused,
    TcbRefused,
    TrustPolicyInvalid,
)
from paddock.evidence import Claims, Collateral, TrustPolicy, read_trust_policy, verify_evidence
from paddock.evidence.claims import registers_digest
from paddock.evidence.providers.simulated import SimulatedProvider
from paddock.evidence.roots import anchors, named_root, root_names
from tests.fixtures.cast import NOW, SIMULATOR
from tests.fixtures.proof import evidence

REPORT = bytes(range(64))
KEY = SIMULATOR.verify_key.raw.hex()
_KNOWN = {
    "amd-genoa": "sha256:429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831",
    "amd-milan": "sha256:9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9",
    "amd-turin": "sha256:4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08",
    "aws-nitro-g1": "sha256:f2caf5ecc6190b4a8399b78bc58a2bbcd0382375db8a1bfd78a82743874fd225",
    "intel-sgx": "sha256:a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e",
    "nvidia-device": "sha256:a90c4eb5acfd3e3d03a25db6a26b84f720ad0503196c627c21ddd48dd85b06a4",
}


def _judge(monkeypatch: pytest.MonkeyPatch, section: str = "", /, **reported: Any) -> Claims:
    """What the core makes of claims that a provider reports."""
    honest = SimulatedProvider.verify

    def verify(self: SimulatedProvider, body: bytes, **given: Any) -> Claims:
        return replace(honest(self, body, **given), **reported)

    monkeypatch.setattr(SimulatedProvider, "verify", verify)
    policy = read_trust_policy(f"[simulated]\nkeys = ['{KEY}']\n{section}")
    try:
        return verify_evidence(evidence(REPORT), policy=policy, collateral=Collateral(), now=NOW)
    finally:
        monkeypatch.setattr(SimulatedProvider, "verify", honest)


def test_a10_the_measurement_is_one_digest_over_provider_and_registers() -> None:
    registers = {"mrtd": "aa", "rtmr0": "bb"}
    body = {"version": "paddock/registers/v1", "provider": "tdx", "registers": registers}
    assert registers_digest("tdx", registers) == sha256_id(canonical(body))
    assert registers_digest("tdx", dict(reversed(registers.items()))) == registers_digest("tdx", registers)
    others = [
        registers_digest("sgx", registers),
        registers_digest("tdx", {**registers, "rtmr0": "bc"}),
        registers_digest("tdx", {"mrtd": "aa"}),
        registers_digest("tdx", {**registers, "rtmr1": ""}),
        registers_digest("tdx", {"mrtd": "bb", "rtmr0": "aa"}),
    ]
    assert len({registers_digest("tdx", registers), *others}) == 6


def test_a11_the_vendors_word_must_be_one_that_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _judge(monkeypatch, tcb_status="UpToDate").tcb_status == "UpToDate"
    assert _judge(monkeypatch, tcb_status=None).tcb_status is None
    for status in ("OutOfDate", "Revoked", "", "uptodate", "UpToDate "):
        with pytest.raises(TcbRefused):
            _judge(monkeypatch, tcb_status=status)
    accepted = "tcb_statuses = ['UpToDate', 'SWHardeningNeeded']"
    assert _judge(monkeypatch, accepted, tcb_status="SWHardeningNeeded")
    with pytest.raises(TcbRefused):
        _judge(monkeypatch, "tcb_statuses = ['SWHardeningNeeded']", tcb_status="UpToDate")
    with pytest.raises(TrustPolicyInvalid):
        _judge(monkeypatch, "tcb_statuses = []")


def test_a11_every_advisory_that_applies_must_be_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ("INTEL-SA-00289", "INTEL-SA-00615")
    assert _judge(monkeypatch, f"advisories = {list(found)}", advisories=found)
    for listed in ("[]", "['INTEL-SA-00289']", "['INTEL-SA-00615', 'INTEL-SA']", "['*']"):
        with pytest.raises(TcbRefused, match="INTEL-SA"):
            _judge(monkeypatch, f"advisories = {listed}", advisories=found)


def test_a11_version_numbers_are_not_below_the_least_nor_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    least = "min_svn = { microcode = 8, isv_svn = 0 }"
    assert _judge(monkeypatch, least, svns={"microcode": 8, "isv_svn": 0})
    for svns in ({"microcode": 7, "isv_svn": 0}, {"microcode": 8}, {}):
        with pytest.raises(TcbRefused):
            _judge(monkeypatch, least, svns=svns)


def test_a12_a_setting_is_refused_unless_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingRefused, match="smt"):
        _judge(monkeypatch, settings=frozenset({"smt"}))
    assert _judge(monkeypatch, "allow = ['smt']", settings=frozenset({"smt"}))
    with pytest.raises(SettingRefused, match="migration"):
        _judge(monkeypatch, "allow = ['smt']", settings=frozenset({"smt", "migration"}))


def test_a12_no_policy_allows_an_environment_that_can_be_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DebugRefused):
        _judge(monkeypatch, "allow = ['debug']", debug=True, settings=frozenset({"debug"}))


@pytest.mark.parametrize(
    ("raised", "refused"),
    [
        (SignatureRefused(), EvidenceNotTrusted),
        (EncodingRefused("x"), EvidenceMalformed),
        (CertificateRevoked("x"), CertificateRevoked),
        (CertificateExpired("x"), CertificateExpired),
        (RevocationUnknown("x"), RevocationUnknown),
    ],
)
def test_a14_what_a_certificate_or_a_signature_is_refused_for_is_said(
    raised: PaddockError, refused: type[PaddockError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def verify(_self: SimulatedProvider, _body: bytes, *, trust: Any, collateral: Collateral, now: datetime) -> Claims:
        raise raised

    monkeypatch.setattr(SimulatedProvider, "verify", verify)
    with pytest.raises(refused):
        verify_evidence(
            evidence(REPORT),
            policy=read_trust_policy(f"[simulated]\nkeys = ['{KEY}']\n"),
            collateral=Collateral(),
            now=NOW,
        )


def test_a2_roots_that_come_with_paddock_are_those_of_their_vendors() -> None:
    # Public facts: the digests of the vendors' root keys (SubjectPublicKeyInfo), as their certificates hold them.
    known = {name: named_root(name)[-1].public_key().fingerprint() for name in root_names()}
    assert known == _KNOWN
    for name in root_names():
        root = named_root(name)[-1]
        assert root.is_issued_by(root)
        root.check_time(NOW)


def test_a2_a_root_is_a_name_a_certificate_a_key_or_a_digest() -> None:
    digest = "sha256:" + "0" * 64
    both = anchors(["intel-sgx", digest])
    assert (len(both.certificates), len(both.keys), both.intermediates) == (1, 2, ())
    assert len(anchors(["amd-milan"]).intermediates) == 1
    for root in ("", "unknown", "../roots/intel-sgx", "sha256:00", "-----BEGIN CERTIFICATE-----\nAA==\n", "INTEL-SGX"):
        with pytest.raises(TrustPolicyInvalid):
            read_trust_policy(f"[sgx]\nroots = ['''{root}''']\n")
    with pytest.raises(TrustPolicyInvalid):
        read_trust_policy("[sgx]\nroots = []\n")


def test_a13_a_policy_cannot_wait_for_ever() -> None:
    assert TrustPolicy().max_collateral_age_seconds == timedelta(days=30).total_seconds()
    with pytest.raises(TrustPolicyInvalid):
        read_trust_policy("max_collateral_age_seconds = 1000000000")
