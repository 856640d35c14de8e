"""JSON Web Tokens: one algorithm (EdDSA over Ed25519), one type per purpose, one form per token.

PyJWT splits and joins; signatures are made and checked by our own keys (`signing`), and a token is read only if it is,
character for character, what `sign_jwt` would have written for its claims.

Source: RFC 7515 (JWS), RFC 7519 (JWT), RFC 8037 (EdDSA), RFC 8725 (best current practices); docs/spec/attestation.md (A-18).
"""

from __future__ import annotations

import base64
from typing import Any, NoReturn

from jwt import PyJWS
from jwt.algorithms import Algorithm
from jwt.exceptions import InvalidSignatureError, PyJWTError

from paddock.crypto.canonical import Json, canonical, parse_canonical
from paddock.crypto.signing import SigningKey, VerifyKey
from paddock.errors import EncodingRefused, SignatureRefused

ALGORITHM = "EdDSA"
MAX_TOKEN_CHARACTERS = 1 << 18


class _Ed25519(Algorithm):
    """Our keys, as PyJWT asks for them."""

    def prepare_key(self, key: Any) -> Any:
        return key

    def sign(self, msg: bytes, key: SigningKey) -> bytes:
        return key.sign(msg)

    def verify(self, msg: bytes, key: VerifyKey, sig: bytes) -> bool:
        try:
            key.verify(sig, msg)
        except SignatureRefused:
            return False
        return True

    @staticmethod
    def to_jwk(key_obj: Any, as_dict: bool = False) -> NoReturn:  # noqa: ARG004 - keys are never exchanged
        raise RuntimeError("keys of tokens are not exchanged as JWK")

    @staticmethod
    def from_jwk(jwk: Any) -> NoReturn:  # noqa: ARG004 - as above
        raise RuntimeError("keys of tokens are not exchanged as JWK")


def _strict() -> PyJWS:
    jws = PyJWS(algorithms=[])  # no algorithm of the library's own: nothing to be confused with
    jws.register_algorithm(ALGORITHM, _Ed25519())
    return jws


_JWS = _strict()


def sign_jwt(claims: Json, key: SigningKey, *, typ: str) -> str:
    """A signed token over the canonical JSON of `claims`.

    Args:
        claims: JSON values.
        key: who signs.
        typ: the header's explicit type, so that a token for one purpose never serves another (RFC 8725 §3.11).

    Raises:
        EncodingRefused: the claims cannot be written as JSON.
    """
    return _JWS.encode(canonical(claims), key, algorithm=ALGORITHM, headers={"typ": typ})  # type: ignore[arg-type]


def read_jwt(token: str, key: VerifyKey, *, typ: str) -> Json:
    """The claims, if `key` signed exactly this token as one of this type.

    Raises:
        SignatureRefused: another signer, or another algorithm.
        EncodingRefused: not such a token, another type, a header member more, or claims in another form than `sign_jwt`
            writes.
    """
    if len(token) > MAX_TOKEN_CHARACTERS or not token.isascii():
        raise EncodingRefused("It is not a token.")
    try:
        read = _JWS.decode_complete(token, key, algorithms=[ALGORITHM])  # type: ignore[arg-type]
    except InvalidSignatureError:
        raise SignatureRefused("The token is not signed by the expected key.") from None
    except PyJWTError as error:
        raise EncodingRefused("It is not a token of the one algorithm that is read.") from error
    if read["header"] != {"alg": ALGORITHM, "typ": typ}:
        raise EncodingRefused("The token is of another type.")
    claims = parse_canonical(read["payload"])
    # One spelling: the signature holds header and claims, but base64url has several forms of its own bytes.
    header = canonical({"alg": ALGORITHM, "typ": typ})
    if ".".join(_b64url(part) for part in (header, read["payload"], read["signature"])) != token:
        raise EncodingRefused("The token is not in its one form.")
    return claims


def _b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
