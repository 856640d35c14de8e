"""Arm CCA: attestation tokens of realms.

A token holds two others. The platform's is signed by the platform's attestation key (CPAK), which is born in the hardware
and known to its owner or maker: there are no certificates, so a policy's section names CPAKs as public keys in PEM, one for
each platform. The realm's is signed by the realm management monitor with a key (RAK) that it made for this boot; the
platform's token carries the hash of that key as its challenge, and thereby vouches for the monitor that holds it.

This reads version 1.0 of the specification in both of its forms: the beta's (profile `http://arm.com/CCA-SSD/1.0.0`; a
realm token without a profile, whose key is a bare point) and the release's (`tag:arm.com,2023:…#1.0.0`; a COSE_Key). A
platform's firmware and a monitor are released apart, so each part goes by its own profile. Profiles of version 2.0, which
is a draft, are refused. Claims that a profile does not have are refused too, other than EAT's rule for receivers: what
is not understood cannot be appraised.

**Report data** is the realm's challenge. **Debug** is every state of the platform's life but `secured`: where its
firmware can be looked into, so can its realms.

Source: Arm DEN0137 (Realm Management Monitor specification 1.0) A7.2 (attestation token); draft-ffm-rats-cca-token-01 §4
(claims), §4.10 (binding), §7 (verification); docs/spec/attestation.md (A-2, A-3, A-5, A-6, A-10).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from paddock.crypto.canonical import canonical
from paddock.crypto.digest import sha256
from paddock.crypto.public_key import HashName, PublicKey
from paddock.errors import CryptoRefused, EvidenceMalformed, EvidenceNotTrusted, RevocationUnknown, SignatureRefused
from paddock.evidence.cbor import Members, Tagged, read_cbor
from paddock.evidence.claims import Claims, registers_digest
from paddock.evidence.collateral import Collateral, CollateralNeed
from paddock.evidence.cose import Sign1, read_key, read_sign1
from paddock.evidence.roots import anchors
from paddock.evidence.trust import VendorTrust

MEDIA_TYPE = "application/vnd.paddock.cca-token.v1"
TOKEN_TAG, PLATFORM, REALM = 399, 44234, 44241
PLATFORM_PROFILES = ("http://arm.com/CCA-SSD/1.0.0", "tag:arm.com,2023:cca_platform#1.0.0")
REALM_PROFILE = "tag:arm.com,2023:realm#1.0.0"
MAX_BODY_BYTES = 1 << 16
CHALLENGE_BYTES, EXTENSIBLE = 64, 4
SECURED = range(0x3000, 0x3100)

_PROFILE, _CHALLENGE = 265, 10
_INSTANCE, _IMPLEMENTATION, _CONFIG, _LIFECYCLE, _SOFTWARE, _SERVICE, _HASH = 256, 2396, 2401, 2395, 2399, 2400, 2402
_TYPE, _MEASUREMENT, _VERSION, _SIGNER, _COMPONENT_HASH = 1, 2, 4, 5, 6
_RPV, _REALM_HASH, _RAK, _RIM, _REMS, _RAK_HASH = 44235, 44236, 44237, 44238, 44239, 44240
_HASHES: Mapping[str, tuple[HashName, int]] = MappingProxyType(
    {"sha-256": ("sha256", 32), "sha-384": ("sha384", 48), "sha-512": ("sha512", 64)}
)
_DIGEST_BYTES = frozenset({32, 48, 64})
_INSTANCE_BYTES, _RANDOM = 33, b"\1"
_POINT_BYTES, _UNCOMPRESSED = 97, b"\4"
_LIFE = MappingProxyType(
    {
        0x00: "unknown",
        0x10: "assembly-and-test",
        0x20: "provisioning",
        0x30: "secured",
        0x40: "monitor-debug",
        0x50: "recoverable-debug",
        0x60: "decommissioned",
    }
)


@dataclass(frozen=True)
class PlatformToken:
    """What the platform says, read but not verified.

    Args:
        signed: the token.
        challenge: the hash of the key that signs realm tokens.
        lifecycle: the state of the platform's life, major in the high byte.
        register: `platform`: a digest over what the platform is and which firmware runs on it, as hex.
        details: further facts, for people.
    """

    signed: Sign1
    challenge: bytes
    lifecycle: int
    register: str
    details: Mapping[str, str]


@dataclass(frozen=True)
class RealmToken:
    """What the realm management monitor says of a realm, read but not verified.

    Args:
        signed: the token.
        challenge: what the realm asked to have bound, 64 bytes.
        key: the key that must have signed it.
        key_hash: the hash of the key's encoding in the token, by the algorithm that the token names.
        registers: `rim`, `rem0` to `rem3`, `rpv`.
        details: further facts, for people.
    """

    signed: Sign1
    challenge: bytes
    key: PublicKey
    key_hash: bytes
    registers: Mapping[str, str]
    details: Mapping[str, str]


class CcaProvider:
    """Verifies attestation tokens of Arm CCA realms."""

    name = "cca"
    media_type = MEDIA_TYPE
    simulated = False
    trust_type = VendorTrust

    def recognises(self, body: bytes) -> bool:
        """See `EvidenceProvider.recognises`."""
        return body.startswith(b"\xd9\x01\x8f\xa2\x19")

    def needs(self, body: bytes) -> tuple[CollateralNeed, ...]:
        """Nothing: the policy has the platform's key; see `EvidenceProvider.needs`."""
        read_token(body)
        return ()

    def verify(self, body: bytes, *, trust: VendorTrust, collateral: Collateral, now: datetime) -> Claims:  # noqa: ARG002 - no certificates, no collateral, no times
        """Verify an attestation token; see `EvidenceProvider.verify`.

        1. Read both tokens strictly. 2. A platform key that the policy names signed the platform's. 3. Its challenge is
        the hash of the realm token's key. 4. That key signed the realm's. 5. Report what they say.
        """
        # 1. A-6
        platform, realm = read_token(body)
        # 2. A-2
        signer = _signer(platform.signed, trust)
        # 3. A-2: otherwise the realm's token is signed by whoever made the key.
        if not hmac.compare_digest(platform.challenge, realm.key_hash):
            raise EvidenceNotTrusted("The platform does not vouch for the key of the realm's token.")
        # 4. A-2
        realm.signed.verify(realm.key)
        # 5. A-10: the platform's firmware could read the realm, and no vendor publishes its state.
        registers = {**realm.registers, "platform": platform.register}
        return Claims(
            provider=self.name,
            tee="confidential-vm",
            measurement=registers_digest(self.name, registers),
            report_data=realm.challenge,
            debug=platform.lifecycle not in SECURED,
            simulated=False,
            signer=signer.fingerprint(),
            issued=None,
            registers=registers,
            details={**platform.details, **realm.details},
        )


def read_token(body: bytes) -> tuple[PlatformToken, RealmToken]:
    """Read a token strictly.

    Raises:
        EvidenceMalformed: anything that the specification's version 1.0 does not have (A-6).
    """
    if len(body) > MAX_BODY_BYTES:
        raise EvidenceMalformed(f"It has {len(body)} bytes; at most {MAX_BODY_BYTES} are read.")
    value = read_cbor(body, "CCA token", tags=(TOKEN_TAG,))
    if type(value) is not Tagged:
        raise EvidenceMalformed("The CCA token has no tag.")
    members = Members(value.value, "CCA token")
    platform, realm = (members.octets(key, range(1, MAX_BODY_BYTES)) for key in (PLATFORM, REALM))
    members.end()
    return _platform(platform), _realm(realm)


def _platform(token: bytes) -> PlatformToken:
    signed = read_sign1(token, "platform token", tagged=True, key_id=True)
    members = Members(read_cbor(signed.payload, "platform token"), "platform token")
    profile = members.text(_PROFILE, 128)
    if profile not in PLATFORM_PROFILES:
        raise EvidenceMalformed(f"The platform token is of a profile that is not known here: {profile[:80]}.")
    challenge = members.octets(_CHALLENGE, _DIGEST_BYTES)
    instance = members.octets(_INSTANCE, (_INSTANCE_BYTES,))
    if instance[:1] != _RANDOM:
        raise members.refuse(_INSTANCE)
    lifecycle = members.number(_LIFECYCLE, range(1 << 16))
    if lifecycle >> 8 not in _LIFE:
        raise members.refuse(_LIFECYCLE)
    details = {
        "platform_profile": profile,
        "implementation_id": members.octets(_IMPLEMENTATION, (32,)).hex(),
        "instance_id": instance.hex(),
        "platform_config": members.octets(_CONFIG, range(257)).hex(),
        "platform_hash": members.text(_HASH, 32),
        "lifecycle": f"{_LIFE[lifecycle >> 8]} (0x{lifecycle:04x})",
    }
    if _SERVICE in members:
        details["verification_service"] = members.text(_SERVICE, 256)
    software = [_component(component) for component in members.array(_SOFTWARE, range(1, 65))]
    members.end()
    platform = {name: details[name] for name in ("implementation_id", "platform_config")} | {"software": software}
    details |= {f"software_{n:02}": " ".join([*each[:-1], "signed by", each[-1]]) for n, each in enumerate(software)}
    return PlatformToken(signed, challenge, lifecycle, sha256(canonical(platform)).hex(), details)


def _component(value: object) -> list[str]:
    """A part of the platform's firmware: type, version, name of the hash, digest, signer; what is missing is `-`."""
    members = Members(value, "platform's software component")
    texts = {key: members.text(key, 64) for key in (_TYPE, _VERSION, _COMPONENT_HASH) if key in members}
    measurement, signer = members.octets(_MEASUREMENT, _DIGEST_BYTES), members.octets(_SIGNER, _DIGEST_BYTES)
    members.end()
    words = [texts.get(_TYPE, "-"), texts.get(_VERSION) or "-", texts.get(_COMPONENT_HASH, "-")]
    return [*words, measurement.hex(), signer.hex()]


def _realm(token: bytes) -> RealmToken:
    signed = read_sign1(token, "realm token", tagged=True, key_id=True)
    members = Members(read_cbor(signed.payload, "realm token"), "realm token")
    released = _PROFILE in members
    if released and members.text(_PROFILE, 128) != REALM_PROFILE:
        raise EvidenceMalformed("The realm token is of a profile that is not known here.")
    challenge = members.octets(_CHALLENGE, (CHALLENGE_BYTES,))
    name, key_name = _hash(members, _REALM_HASH), _hash(members, _RAK_HASH)
    length = _HASHES[name][1]
    rems = members.array(_REMS, (EXTENSIBLE,))
    if any(type(value) is not bytes or len(value) != length for value in rems):
        raise members.refuse(_REMS)
    registers = {
        "rim": members.octets(_RIM, (length,)).hex(),
        **{f"rem{number}": value.hex() for number, value in enumerate(rems)},
        "rpv": members.octets(_RPV, (64,)).hex(),
    }
    encoded = members.octets(_RAK, range(1, 257))
    members.end()
    try:
        key = read_key(encoded, "realm token's key") if released else _point(encoded)
    except CryptoRefused as error:
        raise EvidenceMalformed(error.detail) from error
    key_hash = hashlib.new(_HASHES[key_name][0], encoded).digest()
    details = {"realm_hash": name, "realm_profile": REALM_PROFILE if released else "none"}
    return RealmToken(signed, challenge, key, key_hash, registers, details)


def _hash(members: Members, key: int) -> str:
    name = members.text(key, 32)
    if name not in _HASHES:
        raise members.refuse(key)
    return name


def _point(encoded: bytes) -> PublicKey:
    # SEC 1 §2.3.3, uncompressed, over P-384.
    if len(encoded) != _POINT_BYTES or encoded[:1] != _UNCOMPRESSED:
        raise EvidenceMalformed("The realm token's key is no point of P-384.")
    return PublicKey.from_point("P-384", encoded[1:49], encoded[49:])


def _signer(token: Sign1, trust: VendorTrust) -> PublicKey:
    if trust.require_revocation:
        raise RevocationUnknown("A platform's key has no certificate, and nobody publishes lists of such keys.")
    for key in anchors(trust.roots).public_keys:
        try:
            token.verify(key)
        except (SignatureRefused, EvidenceNotTrusted):
            continue
        return key
    raise EvidenceNotTrusted("No platform key that the trust policy names, in PEM, signed the platform token.")
