"""Tokens: one algorithm, one type, one form."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from paddock.crypto.jwt import MAX_TOKEN_CHARACTERS, read_jwt, sign_jwt
from paddock.crypto.signing import SigningKey
from paddock.errors import CryptoRefused, EncodingRefused, SignatureRefused
from tests.fixtures.cast import secret

KEY, OTHER = SigningKey(secret("token")), SigningKey(secret("another token"))
CLAIMS = {"b": [1, 2], "a": "x", "iat": 1}
TYP = "eat+jwt"


def _encode(header: bytes, payload: bytes, key: SigningKey = KEY) -> str:
    """A token of any header and payload, with a good signature."""
    parts = [base64.urlsafe_b64encode(each).rstrip(b"=") for each in (header, payload)]
    signature = base64.urlsafe_b64encode(key.sign(b".".join(parts))).rstrip(b"=")
    return b".".join([*parts, signature]).decode()


def _header(**changes: Any) -> bytes:
    value = {"alg": "EdDSA", "typ": TYP} | changes
    return json.dumps({k: v for k, v in value.items() if v is not None}, separators=(",", ":"), sort_keys=True).encode()


def test_a_token_is_read_as_it_was_signed_and_has_one_form() -> None:
    token = sign_jwt(CLAIMS, KEY, typ=TYP)
    assert read_jwt(token, KEY.verify_key, typ=TYP) == CLAIMS
    assert (
        token
        == sign_jwt({"iat": 1, "a": "x", "b": [1, 2]}, KEY, typ=TYP)
        == _encode(_header(), b'{"a":"x","b":[1,2],"iat":1}')
    )


def test_another_library_reads_it() -> None:
    public = Ed25519PrivateKey.from_private_bytes(KEY.seed()).public_key()
    assert pyjwt.decode(sign_jwt(CLAIMS, KEY, typ=TYP), public, algorithms=["EdDSA"]) == CLAIMS


def test_another_signer_is_refused() -> None:
    with pytest.raises(SignatureRefused):
        read_jwt(sign_jwt(CLAIMS, OTHER, typ=TYP), KEY.verify_key, typ=TYP)


def test_no_bit_can_be_changed() -> None:
    token = sign_jwt({"a": 1}, KEY, typ=TYP)
    for place in range(len(token)):
        for other in {"A", "B", "-", ".", "=", chr(ord(token[place]) ^ 1)} - {token[place]}:
            with pytest.raises(CryptoRefused):
                read_jwt(token[:place] + other + token[place + 1 :], KEY.verify_key, typ=TYP)


@pytest.mark.parametrize(
    "header",
    [
        _header(typ="JWT"),
        _header(typ=None),
        _header(alg="none"),
        _header(alg="HS256"),
        _header(alg="ES256"),
        _header(alg="Ed25519"),
        _header(alg="EdDSA", kid="1"),
        _header(crit=["b64"], b64=True),
        _header(jwk={"kty": "OKP"}),
        b'{"typ":"eat+jwt","alg":"EdDSA"}',
        b'{"alg":"EdDSA", "typ":"eat+jwt"}',
        b'{"alg":"EdDSA","alg":"EdDSA","typ":"eat+jwt"}',
        b"[]",
        b"",
        b"\xff",
    ],
)
def test_another_header_is_refused_although_its_signature_holds(header: bytes) -> None:
    with pytest.raises(EncodingRefused):
        read_jwt(_encode(header, b"{}"), KEY.verify_key, typ=TYP)


@pytest.mark.parametrize(
    "payload", [b'{"b":1,"a":2}', b'{ "a":1}', b'{"a":1,"a":1}', b"[]", b"1", b"", b'{"a":NaN}', b'{"a":1.0}', b"\xff"]
)
def test_claims_in_another_form_are_refused_although_their_signature_holds(payload: bytes) -> None:
    with pytest.raises(EncodingRefused):
        read_jwt(_encode(_header(), payload), KEY.verify_key, typ=TYP)


def test_a_symmetric_signature_with_the_public_key_is_refused() -> None:
    raw = KEY.verify_key.raw
    public = Ed25519PrivateKey.from_private_bytes(KEY.seed()).public_key()
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    for secret_key in (raw, spki):
        token = pyjwt.encode(CLAIMS, secret_key.hex(), algorithm="HS256", headers={"typ": TYP})
        with pytest.raises(EncodingRefused):
            read_jwt(token, KEY.verify_key, typ=TYP)


@pytest.mark.parametrize("text", ["", ".", "..", "a.b", "a.b.c.d", "é.é.é", "x" * (MAX_TOKEN_CHARACTERS + 1)])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(EncodingRefused):
        read_jwt(text, KEY.verify_key, typ=TYP)


def test_padding_and_spaces_are_another_form() -> None:
    token = sign_jwt(CLAIMS, KEY, typ=TYP)
    for other in (token + "=", token + "\n", " " + token, token.replace(".", "=.", 1)):
        with pytest.raises(CryptoRefused):
            read_jwt(other, KEY.verify_key, typ=TYP)


def test_keys_are_never_exchanged_in_tokens() -> None:
    from paddock.crypto.jwt import _Ed25519

    with pytest.raises(RuntimeError):
        _Ed25519.to_jwk(KEY)
    with pytest.raises(RuntimeError):
        _Ed25519.from_jwk("{}")


def test_claims_that_json_cannot_hold_are_refused() -> None:
    with pytest.raises(EncodingRefused):
        sign_jwt({"a": float("nan")}, KEY, typ=TYP)
