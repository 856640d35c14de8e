"""Addresses that say whom to expect: `https://host:port#FINGERPRINT`.

Source: docs/spec/attestation.md §8 (A-20).
"""

from __future__ import annotations

from paddock.channel.client import ClientTls
from paddock.crypto.identity import normal_fingerprint
from paddock.errors import EncodingRefused, PeerRefused
from paddock.evidence.tls import ExpectedServer, Kind

SECURE = "https://"


def split_address(address: str) -> tuple[str, str]:
    """The address that is connected to, and the fingerprint behind the `#`; empty where there is none.

    Raises:
        PeerRefused: what stands there is no fingerprint.
    """
    url, mark, text = address.partition("#")
    try:
        return url, normal_fingerprint(text) if mark else ""
    except EncodingRefused as error:
        raise PeerRefused(f"What stands behind the # of {url} is no fingerprint.") from error


def pinned(address: str, kind: Kind) -> ClientTls | None:
    """How to reach whoever has the keys that the address names, over attested TLS; None where it is not secure.

    Raises:
        PeerRefused: it begins with https and names nobody.
    """
    url, fingerprint = split_address(address)
    if not url.lower().startswith(SECURE):
        return None
    return ClientTls(pinned_server(url, fingerprint, kind))


def pinned_server(url: str, fingerprint: str, kind: Kind) -> ExpectedServer:
    """Whom an address names. Raises PeerRefused: nobody."""
    if not fingerprint:
        raise PeerRefused(f"Nothing says whom to expect at {url}: write {url}#FINGERPRINT, as the {kind} printed it.")
    return ExpectedServer(kind, fingerprint)
