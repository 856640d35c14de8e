"""Public keys of vendors, and the signatures they make: ECDSA and RSA, for verification alone.

Paddock's own signatures are Ed25519 (`signing`). Hardware vendors sign with what is here.

Source: FIPS 186-5 (ECDSA), RFC 8017 (RSA), RFC 5280 (SubjectPublicKeyInfo).
"""

from __future__ import annotations

import hashlib
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from paddock.errors import EncodingRefused, SignatureRefused

HashName = Literal["sha256", "sha384", "sha512"]
_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
_CURVES: dict[str, type[ec.EllipticCurve]] = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}
_RSA_BITS = range(2048, 8193)


class PublicKey:
    """An ECDSA key over P-256, P-384 or P-521, or an RSA key of 2048 to 8192 bits; equal by its DER form."""

    __slots__ = ("_key", "der", "kind")

    def __init__(self, key: object) -> None:
        if isinstance(key, ec.EllipticCurvePublicKey):
            names = [name for name, curve in _CURVES.items() if isinstance(key.curve, curve)]
            if not names:
                raise EncodingRefused("A public key is over a curve that is not used here.")
            self.kind = names[0]
        elif isinstance(key, rsa.RSAPublicKey):
            if key.key_size not in _RSA_BITS or key.public_numbers().e < 65537:
                raise EncodingRefused("An RSA key is too small, too large, or has too small an exponent.")
            self.kind = "RSA"
        else:
            raise EncodingRefused("A public key is of a kind that is not used here.")
        self._key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey = key
        self.der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def from_der(cls, der: bytes) -> PublicKey:
        """Read a SubjectPublicKeyInfo. Raises EncodingRefused."""
        try:
            return cls(serialization.load_der_public_key(der))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise EncodingRefused("A public key is not well formed.") from error

    @classmethod
    def from_pem(cls, pem: str) -> PublicKey:
        """Read a SubjectPublicKeyInfo in PEM. Raises EncodingRefused."""
        try:
            return cls(serialization.load_pem_public_key(pem.encode("ascii")))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise EncodingRefused("A public key is not well formed.") from error

    @classmethod
    def from_point(cls, curve: str, x: bytes, y: bytes) -> PublicKey:
        """An ECDSA key from its big-endian affine coordinates, checked to be on the curve.

        Args:
            curve: `P-256`, `P-384` or `P-521`.
            x: at most the size of the field.
            y: as x.

        Raises:
            EncodingRefused: no such curve, or not a point of it.
        """
        if curve not in _CURVES:
            raise EncodingRefused("A public key is over a curve that is not used here.")
        try:
            numbers = ec.EllipticCurvePublicNumbers(
                int.from_bytes(x, "big"), int.from_bytes(y, "big"), _CURVES[curve]()
            )
            return cls(numbers.public_key())
        except ValueError as error:
            raise EncodingRefused("A public key is no point of its curve.") from error

    @classmethod
    def from_rsa(cls, modulus: bytes, exponent: int) -> PublicKey:
        """An RSA key from its big-endian modulus. Raises EncodingRefused."""
        try:
            return cls(rsa.RSAPublicNumbers(exponent, int.from_bytes(modulus, "big")).public_key())
        except ValueError as error:
            raise EncodingRefused("An RSA key is not well formed.") from error

    def rsa_modulus(self) -> bytes:
        """An RSA key's modulus, big-endian, of the key's size. Raises EncodingRefused: it is of another kind."""
        if not isinstance(self._key, rsa.RSAPublicKey):
            raise EncodingRefused("The key is no RSA key.")
        return self._key.public_numbers().n.to_bytes(self._key.key_size // 8, "big")

    def fingerprint(self) -> str:
        """`sha256:` and the SHA-256 of the SubjectPublicKeyInfo in DER."""
        return "sha256:" + hashlib.sha256(self.der).hexdigest()

    def verify_ecdsa(self, signature: bytes, message: bytes, hash_name: HashName) -> None:
        """Return if the DER signature holds. Raises SignatureRefused."""
        if not isinstance(self._key, ec.EllipticCurvePublicKey):
            raise SignatureRefused("The key is no ECDSA key.")
        try:
            self._key.verify(signature, message, ec.ECDSA(_HASHES[hash_name]()))
        except (InvalidSignature, ValueError):
            raise SignatureRefused from None

    def verify_ecdsa_raw(self, signature: bytes, message: bytes, hash_name: HashName) -> None:
        """Return if the signature r || s, each big-endian and of the field's size, holds. Raises SignatureRefused."""
        if not isinstance(self._key, ec.EllipticCurvePublicKey):
            raise SignatureRefused("The key is no ECDSA key.")
        size = (self._key.curve.key_size + 7) // 8
        if len(signature) != 2 * size:
            raise SignatureRefused("A signature has another length than its key makes.")
        r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
        self.verify_ecdsa(encode_dss_signature(r, s), message, hash_name)

    def verify_rsa_pkcs1(self, signature: bytes, message: bytes, hash_name: HashName) -> None:
        """Return if the RSASSA-PKCS1-v1_5 signature holds. Raises SignatureRefused."""
        self._verify_rsa(signature, message, padding.PKCS1v15(), hash_name)

    def verify_rsa_pss(
        self, signature: bytes, message: bytes, hash_name: HashName, salt_bytes: int | None = None
    ) -> None:
        """Return if the RSASSA-PSS signature (MGF1 with the same hash) holds. Raises SignatureRefused.

        Args:
            signature: of the modulus' size.
            message: what was signed.
            hash_name: of message and mask.
            salt_bytes: length of the salt; None takes whatever length the signature has.
        """
        digest = _HASHES[hash_name]()
        salt = padding.PSS.AUTO if salt_bytes is None else salt_bytes
        self._verify_rsa(signature, message, padding.PSS(padding.MGF1(digest), salt), hash_name)

    def _verify_rsa(
        self, signature: bytes, message: bytes, scheme: padding.AsymmetricPadding, hash_name: HashName
    ) -> None:
        if not isinstance(self._key, rsa.RSAPublicKey):
            raise SignatureRefused("The key is no RSA key.")
        try:
            self._key.verify(signature, message, scheme, _HASHES[hash_name]())
        except (InvalidSignature, ValueError):
            raise SignatureRefused from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.der == self.der

    def __hash__(self) -> int:
        return hash(self.der)

    def __repr__(self) -> str:
        return f"PublicKey({self.kind}, {self.fingerprint()[:23]}…)"
