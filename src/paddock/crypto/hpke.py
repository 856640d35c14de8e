"""Sealing small secrets to a public key: HPKE (RFC 9180) over X-Wing.

Suite: KEM MLKEM768-X25519 (X-Wing, 0x647a), KDF HKDF-SHA256, AEAD AES-256-GCM, base mode. The sender is anonymous:
who sealed a thing is said by a signature elsewhere, never by HPKE.

Source: RFC 9180; draft-connolly-cfrg-xwing-kem; docs/keys.md.
"""

from __future__ import annotations

import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from paddock.errors import EncodingRefused, UnwrapRefused

SEED_BYTES = 32
PUBLIC_BYTES = 1216
ENCAPSULATED_BYTES = 1120
TAG_BYTES = 16
OVERHEAD_BYTES = ENCAPSULATED_BYTES + TAG_BYTES
_MLKEM_PUBLIC_BYTES = 1184
# A point of low order yields zero with every scalar: noticed as the key is read, not when something is sealed to it.
_PROBE = X25519PrivateKey.from_private_bytes(bytes(32))
_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class RecipientKey:
    """A public X-Wing key: 1184 bytes ML-KEM-768, then 32 bytes X25519."""

    __slots__ = ("_key", "raw")

    def __init__(self, raw: bytes) -> None:
        if len(raw) != PUBLIC_BYTES:
            raise EncodingRefused(f"A recipient key has {len(raw)} bytes, {PUBLIC_BYTES} were expected.")
        self.raw = bytes(raw)
        try:
            mlkem = MLKEM768PublicKey.from_public_bytes(self.raw[:_MLKEM_PUBLIC_BYTES])
        except ValueError as error:
            raise EncodingRefused("A recipient key is not a valid ML-KEM-768 key.") from error
        x25519 = X25519PublicKey.from_public_bytes(self.raw[_MLKEM_PUBLIC_BYTES:])
        try:
            _PROBE.exchange(x25519)
        except ValueError as error:
            raise EncodingRefused("A recipient key holds an X25519 point of low order.") from error
        self._key = MLKEM768X25519PublicKey(mlkem, x25519)

    def seal(self, secret: bytes, info: bytes) -> bytes:
        """Seal `secret` so that only the private half opens it, and only for the purpose `info`.

        Args:
            secret: what to seal; the result is `OVERHEAD_BYTES` longer.
            info: the purpose and what it is bound to; the opener must give the same bytes.

        Source: RFC 9180 §6.1 (SealBase, single shot; `info` carries the context, §8.1).
        """
        return _SUITE.encrypt(secret, self._key, info=info)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecipientKey) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"RecipientKey({hashlib.sha256(self.raw).hexdigest()[:16]}…)"


class OpeningKey:
    """A private X-Wing key, kept as its 32-byte seed. Its `repr` shows the public half only."""

    __slots__ = ("_key", "_seed", "recipient")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise EncodingRefused(f"An opening key has {len(seed)} bytes, {SEED_BYTES} were expected.")
        self._seed = bytes(seed)
        # X-Wing expandDecapsulationKey: 96 bytes of SHAKE-256, of which 64 seed ML-KEM and 32 are the X25519 scalar.
        expanded = hashlib.shake_256(self._seed).digest(96)
        mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
        self._key = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.recipient = RecipientKey(mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> OpeningKey:
        """A fresh key from the operating system's random source."""
        return cls(os.urandom(SEED_BYTES))

    def seed(self) -> bytes:
        """The 32 secret bytes, for the key file alone."""
        return self._seed

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Open what `RecipientKey.seal` made.

        Raises:
            UnwrapRefused: sealed to another key, for another purpose, or changed.
        """
        try:
            return _SUITE.decrypt(sealed, self._key, info=info)
        except (InvalidTag, ValueError):
            raise UnwrapRefused from None

    def __repr__(self) -> str:
        return f"OpeningKey(public={self.recipient!r})"
