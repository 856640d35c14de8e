"""Roots of hardware vendors, by name. That they come with Paddock trusts none of them: a policy names each.

Each file holds certificates in PEM, the root last; NOTICE says where each is from and how to compare it.

Source: docs/spec/attestation.md §4 (A-2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from paddock.crypto.public_key import PublicKey
from paddock.crypto.x509 import Certificate
from paddock.errors import CryptoRefused

_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Anchors:
    """What a policy trusts of one vendor: root certificates, public keys, and digests of public keys.

    Args:
        certificates: roots.
        intermediates: certificates that came with named roots; trusted for nothing by themselves.
        keys: digests of public keys (`PublicKey.fingerprint`).
        public_keys: those of them that were given as keys, for vendors whose platforms have no certificates.
    """

    certificates: frozenset[Certificate]
    intermediates: tuple[Certificate, ...]
    keys: frozenset[str]
    public_keys: tuple[PublicKey, ...] = ()

    def trusts_key(self, key: PublicKey) -> bool:
        """Whether this very key is trusted, by itself or as that of a root."""
        return key.fingerprint() in self.keys


def root_names() -> list[str]:
    """Names of the roots that come with Paddock."""
    return sorted(
        file.name.removesuffix(".pem") for file in resources.files(__name__).iterdir() if file.name.endswith(".pem")
    )


@cache
def named_root(name: str) -> tuple[Certificate, ...]:
    """The certificates under a name: intermediates, then the root.

    Raises:
        ValueError: no root of that name comes with Paddock.
    """
    if not _NAME.fullmatch(name) or name not in root_names():
        raise ValueError(f"no root comes with Paddock under that name; known are {', '.join(root_names())}")
    return Certificate.from_pem(resources.files(__name__).joinpath(f"{name}.pem").read_bytes())


@cache
def read_anchor(text: str) -> Anchors:
    """One entry of a section's `roots`.

    Raises:
        ValueError: not a known name, nor PEM, nor the digest of a key.
    """
    try:
        if _DIGEST.fullmatch(text):
            return Anchors(frozenset(), (), frozenset({text}))
        if "BEGIN PUBLIC KEY" in text:
            key = PublicKey.from_pem(text.strip())
            return Anchors(frozenset(), (), frozenset({key.fingerprint()}), (key,))
        chain = Certificate.from_pem(text) if "BEGIN CERTIFICATE" in text else named_root(text)
        return Anchors(frozenset(chain[-1:]), chain[:-1], frozenset({chain[-1].public_key().fingerprint()}))
    except CryptoRefused as error:
        raise ValueError("a root is a name, a certificate or public key in PEM, or sha256: of a public key") from error


@cache
def _anchors(roots: tuple[str, ...]) -> Anchors:
    read = [read_anchor(text) for text in roots]
    return Anchors(
        frozenset().union(*(each.certificates for each in read)),
        tuple(certificate for each in read for certificate in each.intermediates),
        frozenset().union(*(each.keys for each in read)),
        tuple(key for each in read for key in each.public_keys),
    )


def anchors(roots: Iterable[str]) -> Anchors:
    """All that a section's `roots` trust; read once."""
    return _anchors(tuple(roots))
