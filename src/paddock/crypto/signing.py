"""Ed25519 signatures (RFC 8032)."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from paddock.errors import EncodingRefused, SignatureRefused

_PRIME = (1 << 255) - 19
# The y of points whose order is 1, 2, 4 or 8: with such a key one signature holds for many messages, or for all.
_LOW_ORDER = frozenset(
    {
        0,
        1,
        _PRIME - 1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7,
    }
)
SIGNATURE_BYTES = 64
KEY_BYTES = 32


class VerifyKey:
    """A public Ed25519 key; equal and hashable by its 32 bytes."""

    __slots__ = ("_key", "raw")

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_BYTES:
            raise EncodingRefused(f"A signature key has {len(raw)} bytes, {KEY_BYTES} were expected.")
        self.raw = bytes(raw)
        y = int.from_bytes(self.raw, "little") & ((1 << 255) - 1)
        if y >= _PRIME or y in _LOW_ORDER:  # RFC 8032 §5.1.3 for the first; the library checks neither
            raise EncodingRefused("A signature key is a point of low order, or not in its one form.")
        self._key = Ed25519PublicKey.from_public_bytes(self.raw)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Return if `signature` was made over `message` with this key's private half.

        Raises:
            SignatureRefused: it was not.
        """
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            raise SignatureRefused from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyKey) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"VerifyKey({self.raw.hex()[:16]}…)"


class SigningKey:
    """A private Ed25519 key. Its `repr` shows the public half only."""

    __slots__ = ("_key", "verify_key")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_BYTES:
            raise EncodingRefused(f"A signing key has {len(seed)} bytes, {KEY_BYTES} were expected.")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verify_key = VerifyKey(self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> SigningKey:
        """A fresh key from the operating system's random source."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    def seed(self) -> bytes:
        """The 32 secret bytes, for the key file alone."""
        return self._key.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """A 64-byte signature over `message`."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey(public={self.verify_key!r})"
