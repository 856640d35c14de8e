"""CCA tokens: what recorded ones are known to say, and every way in which a token can break the format."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from paddock.errors import DebugRefused, EvidenceMalformed, EvidenceNotTrusted, PaddockError, RevocationUnknown
from paddock.evidence import Claims, Collateral, TrustPolicy, UnverifiedEvidence, verify_evidence
from paddock.evidence.cbor import Tagged, read_cbor, write_cbor
from paddock.evidence.claims import registers_digest
from paddock.evidence.provider import installed_providers
from paddock.evidence.providers.cca import MAX_BODY_BYTES, MEDIA_TYPE, PLATFORM, REALM, CcaProvider, read_token
from paddock.evidence.roots import anchors, read_anchor
from tests.evidence.cca import LEGACY, OTHER, RECORDED_POLICY, RELEASED, REPORT, STRANGER, recorded, recorded_key
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.arm import CcaMaker, component
from tests.fixtures.vendors.cose import ES256, ES512, cose_key, public_pem

BETA, RELEASE = "token.cbor", "cca-token-draft-ffm-00.cbor"


def judge(body: bytes, policy: TrustPolicy = RECORDED_POLICY) -> Claims:
    evidence = UnverifiedEvidence(MEDIA_TYPE, body)
    return verify_evidence(evidence, policy=policy, collateral=Collateral(), now=NOW)


def made(maker: CcaMaker = RELEASED, **changes: Any) -> Claims:
    return judge(maker.evidence(REPORT, **changes).body, maker.policy())


def test_the_recorded_tokens_say_what_is_known_of_them() -> None:
    beta, release = judge(recorded(BETA)), judge(recorded(RELEASE))
    for claims in (beta, release):
        assert (claims.tee, claims.debug, claims.simulated, claims.issued) == ("confidential-vm", False, False, None)
        assert set(claims.registers) == {"rim", "rem0", "rem1", "rem2", "rem3", "rpv", "platform"}
        assert claims.measurement == registers_digest("cca", claims.registers)
        assert claims.signer == read_anchor(recorded_key()).public_keys[0].fingerprint()
        assert claims.details["lifecycle"] == "secured (0x3003)"
        assert claims.details["instance_id"] == "0107060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918"
        assert str(claims.details["implementation_id"]).startswith("7f454c46")
        assert str(claims.details["software_08"]).startswith("RMM - sha-256 a1fb50e6c86fae16")
        assert (claims.tcb_status, claims.svns, claims.settings, claims.collateral) == (None, {}, frozenset(), ())
    assert beta.registers["rim"].startswith("ae87fbf7f105e71a")
    assert beta.report_data.hex().startswith("57e979ae2618de0c")
    assert len(beta.registers["rim"]) == 128
    assert beta.details["realm_hash"] == "sha-512"
    assert release.registers["rem2"].startswith("dac46a58415dc3a0")
    assert release.registers["rpv"].startswith(b"The quick brown fox".hex())
    assert len(release.registers["rim"]) == 64
    assert release.details["platform_profile"] == "tag:arm.com,2023:cca_platform#1.0.0"


@pytest.mark.parametrize("maker", [RELEASED, LEGACY])
def test_both_profiles_are_read(maker: CcaMaker) -> None:
    claims = made(maker)
    assert claims.report_data == REPORT
    assert claims.registers["rem3"] == "03" * 64
    assert (
        claims.details["software_00"] == f"BL1 1.0 sha-256 {hashlib.sha256(b'BL1').hexdigest()} signed by {'00' * 32}"
    )
    assert str(claims.details["software_01"]).startswith("RMM - sha-256 ")


def test_a_platform_and_a_monitor_may_be_of_different_profiles() -> None:
    old = replace(RELEASED, released=False)
    for platform, realm in ((RELEASED, old), (old, RELEASED)):
        bound = {**platform.platform(), 10: hashlib.sha256(realm.public("realm")).digest()}
        evidence = RELEASED.token(platform.signed("platform", bound), realm.signed("realm", realm.realm(REPORT)))
        assert judge(evidence.body, RELEASED.policy()).report_data == REPORT


def test_the_key_of_a_platform_must_be_named_as_a_key() -> None:
    body = RELEASED.evidence(REPORT).body
    digest = anchors([RELEASED.root_pem]).public_keys[0].fingerprint()
    for roots in ([digest], ["aws-nitro-g1"], [STRANGER.root_pem]):
        with pytest.raises(EvidenceNotTrusted):
            judge(body, TrustPolicy.model_validate({"cca": {"roots": roots}}))
    several = [digest, public_pem(cose_key("b", "P-256").public_key()), OTHER.root_pem, RELEASED.root_pem]
    claims = judge(body, TrustPolicy.model_validate({"cca": {"roots": several}}))
    assert claims.signer == digest


def test_keys_that_a_policy_names_are_kept_as_keys() -> None:
    found = anchors([RELEASED.root_pem, "aws-nitro-g1", OTHER.root_pem])
    assert [key.fingerprint() in found.keys for key in found.public_keys] == [True, True]
    assert len(found.keys) == 3


def test_revocation_cannot_be_required_of_keys() -> None:
    with pytest.raises(RevocationUnknown):
        judge(RELEASED.evidence(REPORT).body, RELEASED.policy(require_revocation=True))


@pytest.mark.parametrize(("name", "size"), [("sha-256", 32), ("sha-384", 48), ("sha-512", 64)])
def test_every_hash_is_read(name: str, size: int) -> None:
    realm = {44236: name, 44238: bytes(size), 44239: [bytes(size)] * 4, 44240: name}
    hashed = hashlib.new(name.replace("-", ""), RELEASED.public("realm")).digest()
    claims = made(realm=realm, platform={10: hashed, 2402: name})
    assert len(claims.registers["rim"]) == size * 2
    assert claims.details["realm_hash"] == name


@pytest.mark.parametrize(("algorithm", "curve"), [(ES256, "P-256"), (ES512, "P-521")])
def test_a_realm_s_key_may_be_over_another_curve(algorithm: int, curve: str) -> None:
    key = cose_key("rak", curve)
    form = serialization.PublicFormat.UncompressedPoint
    point = key.public_key().public_bytes(serialization.Encoding.X962, form)[1:]
    half = len(point) // 2
    encoded = write_cbor({1: 2, -1: {"P-256": 1, "P-521": 3}[curve], -2: point[:half], -3: point[half:]})
    platform = RELEASED.signed("platform", {**RELEASED.platform(), 10: hashlib.sha256(encoded).digest()})
    realm = {**RELEASED.realm(REPORT), 44237: encoded}
    good = RELEASED.token(platform, RELEASED.signed("realm", realm, key=key, algorithm=algorithm))
    assert judge(good.body, RELEASED.policy()).report_data == REPORT


def test_a_key_s_id_is_not_read() -> None:
    platform = RELEASED.signed("platform", RELEASED.platform(), unprotected={4: b"any"})
    evidence = RELEASED.token(platform, RELEASED.signed("realm", RELEASED.realm(REPORT)))
    assert judge(evidence.body, RELEASED.policy()).report_data == REPORT


def test_what_is_optional_may_be_missing() -> None:
    bare = {2: bytes(48), 5: bytes(64)}
    claims = made(platform={2400: None, 2399: [bare]})
    assert claims.details["software_00"] == f"- - - {'00' * 48} signed by {'00' * 64}"
    assert "verification_service" not in claims.details
    assert str(made(platform={2399: [component("x", "")]}).details["software_00"]).startswith("x - sha-256")


def test_the_form_of_a_realm_s_key_is_its_profile_s() -> None:
    with pytest.raises(EvidenceMalformed):
        made(realm={265: None})
    with pytest.raises(EvidenceMalformed):
        made(LEGACY, realm={265: RELEASED.realm(REPORT)[265]})


@pytest.mark.parametrize("lifecycle", [0x3000, 0x30FF])
def test_every_secured_state_is_accepted(lifecycle: int) -> None:
    assert made(platform={2395: lifecycle}).details["lifecycle"] == f"secured (0x{lifecycle:04x})"


@pytest.mark.parametrize("lifecycle", [0x2FFF, 0x3100, 0x0100, 0x7000, -1, 0x13003, "secured", None, True])
def test_a_state_that_does_not_exist_is_refused(lifecycle: Any) -> None:
    with pytest.raises(EvidenceMalformed):
        made(platform={2395: lifecycle})


def test_a_platform_in_debug_is_refused() -> None:
    with pytest.raises(DebugRefused):
        made(platform={2395: 0x4000})


@pytest.mark.parametrize(
    "change",
    [
        {265: None},
        {265: "tag:arm.com,2024:cca_platform#2.0.0"},
        {265: "http://arm.com/psa/2.0.0"},
        {265: 1},
        {10: None},
        {10: bytes(31)},
        {10: bytes(65)},
        {10: [bytes(32)]},
        {2396: None},
        {2396: bytes(31)},
        {2396: "0" * 32},
        {256: None},
        {256: bytes(33)},
        {256: b"\2" + bytes(32)},
        {256: b"\1" + bytes(31)},
        {2401: None},
        {2401: bytes(257)},
        {2401: 1},
        {2402: None},
        {2402: 1},
        {2402: "x" * 33},
        {2400: "x" * 257},
        {2400: "a\x1b"},
        {2400: b"url"},
        {2399: None},
        {2399: []},
        {2399: {}},
        {2399: [component("x")] * 65},
        {2399: [None]},
        {2399: [{}]},
        {2399: [{2: bytes(32)}]},
        {2399: [{5: bytes(32)}]},
        {2399: [{2: bytes(31), 5: bytes(32)}]},
        {2399: [{2: bytes(32), 5: bytes(33)}]},
        {2399: [{**component("x"), 1: "y" * 65}]},
        {2399: [{**component("x"), 4: 1}]},
        {2399: [{**component("x"), 6: None}]},
        {2399: [{**component("x"), 3: "more"}]},
        {9999: 0},
        {"more": 0},
    ],
)
def test_a_platform_s_claim_of_another_form_is_refused(change: dict[Any, Any]) -> None:
    with pytest.raises(EvidenceMalformed):
        made(platform=change)


@pytest.mark.parametrize(
    "change",
    [
        {265: "tag:arm.com,2024:realm#2.0.0"},
        {265: 0},
        {10: None},
        {10: bytes(63)},
        {10: bytes(32)},
        {10: "0" * 64},
        {44235: None},
        {44235: bytes(63)},
        {44236: None},
        {44236: "sha-1"},
        {44236: "SHA-512"},
        {44236: "sha-256"},
        {44236: 1},
        {44240: None},
        {44240: "md5"},
        {44238: None},
        {44238: bytes(32)},
        {44238: b""},
        {44239: None},
        {44239: []},
        {44239: [bytes(64)] * 3},
        {44239: [bytes(64)] * 5},
        {44239: [bytes(64)] * 3 + [bytes(63)]},
        {44239: [bytes(64)] * 3 + ["0" * 64]},
        {44239: bytes(64)},
        {44237: None},
        {44237: b""},
        {44237: bytes(257)},
        {44237: b"\x04" + bytes(96)},
        {44237: write_cbor({})},
        {44237: LEGACY.public("realm")},
        {44237: write_cbor({1: 2, -1: 2, -2: bytes(48), -3: bytes(48)})},
        {44243: 0},
        {9999: 0},
    ],
)
def test_a_realm_s_claim_of_another_form_is_refused(change: dict[Any, Any]) -> None:
    with pytest.raises(EvidenceMalformed):
        made(realm=change)


@pytest.mark.parametrize("spoil", [lambda key: b"\2" + key[1:49], lambda key: b"\5" + key[1:], lambda key: key + b"\0"])
def test_a_bare_point_has_one_form(spoil: Any) -> None:
    encoded = spoil(LEGACY.public("realm"))
    with pytest.raises(EvidenceMalformed, match="no point"):
        made(LEGACY, realm={44237: encoded}, platform={10: hashlib.sha256(encoded).digest()})
    off = LEGACY.public("realm")[:-1] + b"\0"
    with pytest.raises(EvidenceMalformed):
        made(LEGACY, realm={44237: off}, platform={10: hashlib.sha256(off).digest()})


def test_a_token_of_another_form_is_refused() -> None:
    platform, realm = RELEASED.signed("platform", RELEASED.platform()), RELEASED.signed("realm", RELEASED.realm(REPORT))
    bare = [RELEASED.signed(part, b"\xa0", tagged=False) for part in ("platform", "realm")]
    for value in (
        {PLATFORM: platform, REALM: realm},
        Tagged(18, {PLATFORM: platform, REALM: realm}),
        Tagged(907, {PLATFORM: [263, platform], REALM: [263, realm]}),
        Tagged(399, {PLATFORM: platform}),
        Tagged(399, {REALM: realm}),
        Tagged(399, {PLATFORM: platform, REALM: realm, 0: b""}),
        Tagged(399, {PLATFORM: platform, REALM: b""}),
        Tagged(399, {PLATFORM: platform, REALM: read_cbor(realm, "realm", tags=(18,))}),
        Tagged(399, [platform, realm]),
        Tagged(399, {PLATFORM: bare[0], REALM: realm}),
        Tagged(399, {PLATFORM: platform, REALM: bare[1]}),
        Tagged(399, {PLATFORM: RELEASED.signed("platform", b"\x80"), REALM: realm}),
        Tagged(399, {PLATFORM: platform, REALM: RELEASED.signed("realm", b"\xf6")}),
        Tagged(
            399, {PLATFORM: platform, REALM: RELEASED.signed("realm", RELEASED.realm(REPORT), unprotected={1: -35})}
        ),
    ):
        with pytest.raises(EvidenceMalformed):
            judge(write_cbor(value), RELEASED.policy())
    with pytest.raises(EvidenceMalformed, match="at most"):
        read_token(bytes(MAX_BODY_BYTES + 1))


def test_the_provider_is_installed_and_recognises_its_own() -> None:
    provider = installed_providers()["cca"]
    assert type(provider).__name__ == CcaProvider.__name__
    for body in (recorded(BETA), recorded(RELEASE), RELEASED.evidence(REPORT).body):
        assert provider.recognises(body)
        assert provider.needs(body) == ()
    for body in (b"", b"\xd9\x01\x8f", b"{}"):
        assert not provider.recognises(body)
        with pytest.raises(PaddockError):
            provider.needs(body)
