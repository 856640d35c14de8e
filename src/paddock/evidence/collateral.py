"""What vendors publish that a verifier needs beside the evidence: certificates, revocation lists, states of firmware.

Collateral is data: it is signed by the vendor, a verifier checks that up to its own roots, and it can therefore come
from anywhere. Fetching it is not the business of this room.

Source: docs/spec/attestation.md §7 (A-14, A-15).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from paddock.crypto.canonical import canonical, parse_canonical
from paddock.crypto.digest import b64, sha256_id, unb64
from paddock.crypto.moment import Moment
from paddock.crypto.x509 import Certificate, RevocationList
from paddock.errors import CollateralInvalid, CryptoRefused

VERSION = "paddock/collateral/v1"
MAX_COLLATERAL_BYTES = 4 << 20
CERTIFICATE, REVOCATION_LIST, INTEL_PCS = "certificate", "crl", "intel-pcs"


@dataclass(frozen=True)
class CollateralItem:
    """One thing that a vendor published.

    Args:
        kind: `certificate` (DER), `crl` (DER or PEM), `intel-pcs` (JSON of one platform), or a plug-in's own.
        key: what it is about; unique, e.g. `amd/vcek/Milan/<chip id>/<tcb>`.
        fetched: when this copy was got, as a moment. Informs people; ages are judged by the vendor's signed times.
        body: as the vendor published it.
    """

    kind: str
    key: str
    fetched: str
    body: bytes


@dataclass(frozen=True)
class CollateralNeed:
    """What a piece of evidence needs, and where its vendor publishes it.

    Args:
        kind: as in `CollateralItem`.
        key: as in `CollateralItem`.
        urls: addresses by part; a kind made of one answer has the part `body`.
    """

    kind: str
    key: str
    urls: Mapping[str, str]


class Collateral:
    """A collection of items by key."""

    def __init__(self, items: Iterable[CollateralItem] = ()) -> None:
        self._items: Mapping[str, CollateralItem] = MappingProxyType({item.key: item for item in items})

    def __iter__(self) -> Iterator[CollateralItem]:
        return iter(self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: str) -> CollateralItem | None:
        """The item with this key."""
        return self._items.get(key)

    def certificates(self, under: str = "") -> list[tuple[str, Certificate]]:
        """Certificates whose key begins with `under`, with their keys; one that cannot be read is left out."""
        return [(item.key, read) for item in self._of(CERTIFICATE, under) if (read := _certificate(item.body))]

    def revocation_lists(self, under: str = "") -> list[tuple[str, RevocationList]]:
        """Revocation lists whose key begins with `under`, with their keys; one that cannot be read is left out."""
        return [(item.key, read) for item in self._of(REVOCATION_LIST, under) if (read := _revocation_list(item.body))]

    def only(self, keys: Iterable[str]) -> Collateral:
        """Those with these keys: what a verifier says that it used."""
        wanted = set(keys)
        return Collateral(item for item in self if item.key in wanted)

    def merged(self, newer: Collateral) -> Collateral:
        """Both; where a key is in both, the other's item."""
        return Collateral([*self, *newer])

    def to_bytes(self) -> bytes:
        """The file form: canonical JSON."""
        items = {item.key: {"kind": item.kind, "fetched": item.fetched, "body": b64(item.body)} for item in self}
        return canonical({"version": VERSION, "items": items})

    def digest(self) -> str:
        """`sha256:` of the file form."""
        return sha256_id(self.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> Collateral:
        """Read the file form strictly.

        Raises:
            CollateralInvalid: anything that `to_bytes` could not have written.
        """
        try:
            parse_canonical(data, max_bytes=MAX_COLLATERAL_BYTES)
            file = _File.model_validate_json(data)
            return cls(CollateralItem(row.kind, key, row.fetched, unb64(row.body)) for key, row in file.items.items())
        except (CryptoRefused, ValidationError) as error:
            raise CollateralInvalid("It is not a file of collateral in canonical form.") from error

    def _of(self, kind: str, under: str) -> Iterator[CollateralItem]:
        return (item for item in self if item.kind == kind and item.key.startswith(under))


def certificate_item(der: bytes, fetched: str, key: str | None = None) -> CollateralItem:
    """A certificate as an item; without a key of its own it is known by its digest."""
    return CollateralItem(CERTIFICATE, key or f"certificate/{sha256_id(der)}", fetched, der)


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    fetched: Moment
    body: str


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal["paddock/collateral/v1"]
    items: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9:/._+-]{0,399}$")], _Row]


def _certificate(body: bytes) -> Certificate | None:
    try:
        return Certificate.from_der(body)
    except CryptoRefused:
        return None


def _revocation_list(body: bytes) -> RevocationList | None:
    try:
        return RevocationList.from_bytes(body)
    except CryptoRefused:
        return None


def as_json(collateral: Collateral) -> list[dict[str, Any]]:
    """Its items without their bodies, for people and scripts."""
    return [
        {"key": item.key, "kind": item.kind, "fetched": item.fetched, "bytes": len(item.body)}
        for item in sorted(collateral, key=lambda each: each.key)
    ]
