"""Who is who: the public keys of a participant and their fingerprint."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cached_property

from paddock.crypto.canonical import canonical
from paddock.crypto.digest import b64, sha256, unb64
from paddock.crypto.hpke import OpeningKey, RecipientKey
from paddock.crypto.signing import SigningKey, VerifyKey
from paddock.errors import EncodingRefused


@dataclass(frozen=True)
class PublicKeys:
    """The two public keys of a participant: one verifies, one is sealed to."""

    sign: VerifyKey
    seal: RecipientKey

    def fingerprint(self) -> str:
        """SHA-256 over both keys as 13 groups of four base32 characters, the form people compare.

        Source: docs/spec/contract.md (C-2).
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        # C-2: over both keys, so that neither is exchanged behind a fingerprint that people compared.
        digest = sha256(b"paddock/fingerprint/v1\0" + canonical(self.to_dict()))
        text = base64.b32encode(digest).decode("ascii").rstrip("=")
        return "-".join(text[i : i + 4] for i in range(0, len(text), 4))

    def to_dict(self) -> dict[str, str]:
        """The keys as JSON values."""
        return {"seal": b64(self.seal.raw), "sign": b64(self.sign.raw)}

    @classmethod
    def from_dict(cls, value: object) -> PublicKeys:
        """Read keys from JSON values.

        Raises:
            EncodingRefused: not exactly the two keys.
        """
        if not isinstance(value, dict) or set(value) != {"seal", "sign"}:
            raise EncodingRefused("Public keys are not well formed.")
        return cls(VerifyKey(unb64(value["sign"])), RecipientKey(unb64(value["seal"])))


@dataclass(frozen=True)
class PrivateKeys:
    """The two private keys of a participant. Neither `repr` nor any message shows them."""

    sign: SigningKey
    seal: OpeningKey

    @classmethod
    def generate(cls) -> PrivateKeys:
        """Fresh keys."""
        return cls(SigningKey.generate(), OpeningKey.generate())

    def public(self) -> PublicKeys:
        """The public halves."""
        return PublicKeys(self.sign.verify_key, self.seal.recipient)

    def to_secret_dict(self) -> dict[str, str]:
        """The secret seeds, for the key file alone."""
        return {"seal": b64(self.seal.seed()), "sign": b64(self.sign.seed())}

    @classmethod
    def from_secret_dict(cls, value: object) -> PrivateKeys:
        """Read the key file's content.

        Raises:
            EncodingRefused: not exactly the two seeds.
        """
        if not isinstance(value, dict) or set(value) != {"seal", "sign"}:
            raise EncodingRefused("The key file is not well formed.")
        return cls(SigningKey(unb64(value["sign"], 32)), OpeningKey(unb64(value["seal"], 32)))


def normal_fingerprint(text: str) -> str:
    """Bring a typed fingerprint (any case, with or without dashes or spaces) to the written form.

    Raises:
        EncodingRefused: not 52 base32 characters.
    """
    plain = text.upper().replace("-", "").replace(" ", "")
    if len(plain) != 52 or any(ch not in "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" for ch in plain):
        raise EncodingRefused("A fingerprint has 13 groups of four letters A-Z or digits 2-7.")
    return "-".join(plain[i : i + 4] for i in range(0, 52, 4))
