"""Arm's rows of the refusal matrix: tokens of an emulated platform, of both profiles, and tokens made here."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from paddock.errors import (
    BindingMismatch,
    DebugRefused,
    EvidenceMalformed,
    EvidenceNotTrusted,
    RevocationUnknown,
    TcbRefused,
)
from paddock.evidence import Collateral, TrustPolicy, UnverifiedEvidence
from paddock.evidence.cbor import read_cbor, write_cbor
from paddock.evidence.providers.cca import MEDIA_TYPE, REALM, TOKEN_TAG
from tests.evidence.matrix import Attempt, Sample
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.arm import CcaMaker
from tests.fixtures.vendors.cose import over_long, public_pem

VECTORS = Path(__file__).parent / "vectors" / "cca"
REPORT = bytes(range(64))
RELEASED, LEGACY = CcaMaker(), CcaMaker("arm/legacy", released=False)
STRANGER, OTHER = CcaMaker("stranger"), CcaMaker("arm/other")
SIGNATURE_BYTES = 96


def recorded(name: str) -> bytes:
    return (VECTORS / name).read_bytes()


def recorded_key() -> str:
    """The key of the platform that made the recorded tokens, as a policy names it."""
    jwk = json.loads(recorded("cpak_pub.json"))
    x, y = (int.from_bytes(base64.urlsafe_b64decode(jwk[part] + "=="), "big") for part in ("x", "y"))
    return public_pem(ec.EllipticCurvePublicNumbers(x, y, ec.SECP384R1()).public_key())


RECORDED_POLICY = TrustPolicy.model_validate({"cca": {"roots": [recorded_key()]}})


def parts(body: bytes) -> dict[int, bytes]:
    """The two tokens in a token."""
    found: dict[int, bytes] = read_cbor(body, "token", tags=(TOKEN_TAG,)).value
    return found


def _sample(name: str, genuine: Attempt, **more: Any) -> Sample:
    body = genuine.evidence.body
    ends = [body.index(token) + len(token) for token in parts(body).values()]
    signatures = [range(end - SIGNATURE_BYTES, end) for end in ends]
    signed = [range(signatures[0].start), range(ends[0], signatures[1].start)]
    more |= {"too_early": None, "too_late": None}  # keys without certificates
    return Sample(name, "cca", genuine, signed=signed, signatures=signatures, step=11, **more)


def _recorded_sample(name: str) -> Sample:
    claims = read_cbor(read_cbor(parts(recorded(name))[REALM], "realm", tags=(18,)).value[2], "realm")
    evidence = UnverifiedEvidence(MEDIA_TYPE, recorded(name))
    genuine = Attempt(evidence, RECORDED_POLICY, Collateral(), NOW, claims[10])
    return _sample(name, genuine, other_root=RELEASED.policy())


def _made(maker: CcaMaker, evidence: UnverifiedEvidence) -> Attempt:
    return Attempt(evidence, maker.policy(), Collateral(), NOW, REPORT)


def _tokens(maker: CcaMaker) -> tuple[bytes, bytes]:
    return maker.signed("platform", maker.platform()), maker.signed("realm", maker.realm(REPORT))


def _over_long(maker: CcaMaker, sample: Sample) -> Iterator[Attempt]:
    """Every length in both tokens made larger, and signed so; every length around them."""
    platform, realm = _tokens(maker)
    for payload in over_long(write_cbor(maker.platform())):
        yield _made(maker, maker.token(maker.signed("platform", payload), realm))
    for payload in over_long(write_cbor(maker.realm(REPORT))):
        yield _made(maker, maker.token(platform, maker.signed("realm", payload)))
    for body in over_long(sample.genuine.evidence.body):
        yield sample.with_body(body)


def _debug(maker: CcaMaker, sample: Sample) -> Iterator[Attempt]:
    for lifecycle in (0x0000, 0x00FF, 0x1000, 0x20FF, 0x4000, 0x4003, 0x5000, 0x6000, 0x60FF):
        yield _made(maker, maker.evidence(REPORT, platform={2395: lifecycle}))


def _svn(maker: CcaMaker, sample: Sample) -> Iterator[Attempt]:
    yield replace(sample.genuine, policy=maker.policy(min_svn={"rmm": 0}))


def _no_collateral(maker: CcaMaker, sample: Sample) -> Iterator[Attempt]:
    yield replace(sample.genuine, policy=maker.policy(require_revocation=True))


def _foreign_chain(maker: CcaMaker, sample: Sample) -> Iterator[Attempt]:
    """One platform's token with another's realm, both genuine."""
    platform, realm = _tokens(maker)
    other = OTHER.signed("platform", OTHER.platform()), OTHER.signed("realm", OTHER.realm(REPORT))
    yield _made(maker, maker.token(platform, other[1]))
    yield _made(maker, maker.token(other[0], realm))
    yield _made(maker, maker.evidence(REPORT, platform={10: bytes(32)}))
    policy = TrustPolicy.model_validate({"cca": {"roots": [maker.root_pem, OTHER.root_pem]}})
    yield replace(_made(maker, maker.token(platform, other[1])), policy=policy)
    yield replace(_made(maker, maker.token(other[0], realm)), policy=policy)


def _self_signed(maker: CcaMaker, sample: Sample) -> Iterator[Attempt]:
    platform, realm = _tokens(maker)
    yield _made(maker, STRANGER.evidence(REPORT))
    yield _made(maker, maker.token(platform, STRANGER.signed("realm", STRANGER.realm(REPORT))))
    yield _made(maker, maker.token(platform, STRANGER.signed("realm", maker.realm(REPORT))))
    yield _made(maker, maker.token(STRANGER.signed("platform", maker.platform()), realm))
    # The realm's own key is vouched for and vouches for nobody else.
    yield _made(maker, maker.token(maker.signed("realm", maker.platform()), realm))
    yield _made(maker, maker.token(realm, platform))


def _made_sample(maker: CcaMaker, name: str) -> Sample:
    spoilers: dict[str, Callable[[CcaMaker, Sample], Iterator[Attempt]]] = {
        "over-long": _over_long,
        "debug": _debug,
        "svn": _svn,
        "no-collateral": _no_collateral,
        "foreign-chain": _foreign_chain,
        "self-signed": _self_signed,
    }
    return _sample(
        name,
        _made(maker, maker.evidence(REPORT)),
        other_root=STRANGER.policy(),
        spoilers={kind: partial(each, maker) for kind, each in spoilers.items()},
    )


SAMPLES = [
    _recorded_sample("token.cbor"),
    _recorded_sample("cca-token-draft-ffm-00.cbor"),
    _made_sample(RELEASED, "made here"),
    _made_sample(LEGACY, "made here, of the beta's profile"),
]
_SPOILT = (EvidenceMalformed, EvidenceNotTrusted)
REFUSALS = {
    "signed-bit": _SPOILT,
    "signature-bit": (EvidenceNotTrusted,),
    "wrong-root": (EvidenceNotTrusted,),
    "no-section": (EvidenceNotTrusted,),
    "too-early": "a platform's key has no certificate and no times",
    "too-late": "a platform's key has no certificate and no times",
    "wrong-nonce": (BindingMismatch,),
    "truncated": (EvidenceMalformed,),
    "trailing": (EvidenceMalformed,),
    "empty": (EvidenceMalformed,),
    "other-type": (EvidenceNotTrusted,),
    "over-long": (EvidenceMalformed,),
    "debug": (DebugRefused,),
    "tcb": "a token has no word for the state of its firmware: it lists each part's digest",
    "advisory": "a token names no advisories",
    "svn": (TcbRefused,),
    "setting": "version 1.0 of the token has no settings but the state of the platform's life",
    "revoked": "a platform's key has no certificate that could be revoked: it is taken out of the policy",
    "no-collateral": (RevocationUnknown,),
    "stale-collateral": "no collateral is used",
    "foreign-chain": _SPOILT,
    "self-signed": _SPOILT,
}
