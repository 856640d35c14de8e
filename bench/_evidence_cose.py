"""A Nitro document and two CCA tokens as they were recorded, beside the signatures in them alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from paddock.evidence import Collateral, TrustPolicy, UnverifiedEvidence, verify_evidence
from paddock.evidence.cbor import Tagged, read_cbor, write_cbor
from paddock.evidence.providers import cca, nitro

_VECTORS = Path(__file__).resolve().parents[1] / "tests" / "evidence" / "vectors"
_AT = datetime(2022, 10, 13, 8, 58, 3, tzinfo=UTC)
_Signature = tuple[ec.EllipticCurvePublicKey, bytes, bytes]
Case = tuple[str, Callable[[], object], Callable[[], object]]


def cases() -> list[Case]:
    """Name, verification, signature operations alone."""
    return [_nitro(), _cca("beta", "token.cbor"), _cca("release", "cca-token-draft-ffm-00.cbor")]


def _nitro() -> Case:
    body = (_VECTORS / "nitro" / "attestation_doc.cbor").read_bytes()
    members = read_cbor(read_cbor(body, "envelope")[2], "document")
    chain = [x509.load_der_x509_certificate(der) for der in [members["certificate"], *members["cabundle"][::-1]]]
    links = [
        (_public(issuer.public_key()), below.signature, below.tbs_certificate_bytes)
        for below, issuer in pairwise(chain)
    ]
    policy = TrustPolicy.model_validate({"nitro": {"roots": ["aws-nitro-g1"]}})
    return _case(
        "nitro document", nitro.MEDIA_TYPE, body, policy, [_sign1(_public(chain[0].public_key()), body), *links]
    )


def _cca(profile: str, file: str) -> Case:
    folder = _VECTORS / "cca"
    jwk = json.loads((folder / "cpak_pub.json").read_text("ascii"))
    x, y = (int.from_bytes(base64.urlsafe_b64decode(jwk[part] + "=="), "big") for part in ("x", "y"))
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP384R1()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = key.public_bytes(serialization.Encoding.PEM, form).decode("ascii")
    body = (folder / file).read_bytes()
    _, realm = cca.read_token(body)
    parts = read_cbor(body, "token", tags=(cca.TOKEN_TAG,)).value
    monitor = _public(serialization.load_der_public_key(realm.key.der))
    signatures = [_sign1(key, parts[cca.PLATFORM]), _sign1(monitor, parts[cca.REALM])]
    return _case(
        f"cca token, {profile}", cca.MEDIA_TYPE, body, TrustPolicy.model_validate({"cca": {"roots": [pem]}}), signatures
    )


def _case(name: str, media_type: str, body: bytes, policy: TrustPolicy, signatures: list[_Signature]) -> Case:
    evidence = UnverifiedEvidence(media_type, body)
    verify = partial(verify_evidence, evidence, policy=policy, collateral=Collateral(), now=_AT)
    return name, verify, partial(_verify, signatures)


def _sign1(key: ec.EllipticCurvePublicKey, token: bytes) -> _Signature:
    value = read_cbor(token, "token", tags=(18,))
    protected, _, payload, signature = value.value if isinstance(value, Tagged) else value
    r, s = (int.from_bytes(part, "big") for part in (signature[:48], signature[48:]))
    return key, encode_dss_signature(r, s), write_cbor(["Signature1", protected, b"", payload])


def _verify(signatures: list[_Signature]) -> None:
    for key, signature, message in signatures:
        key.verify(signature, message, ec.ECDSA(hashes.SHA256() if key.curve.key_size == 256 else hashes.SHA384()))


def _public(key: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("these keys are ECDSA keys")
    return key
