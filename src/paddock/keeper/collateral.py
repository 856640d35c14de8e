"""What a keeper knows of platforms: the collateral in its folder, and the needs that it remembers.

Two files, each replaced whole and seen on disk: `collateral.json` in the one form of §7 (A-15), and `needs.json`, what
evidence needed, so that `paddock keeper collateral fetch` gets it without being told, and anew when it ages. Nothing here
is trusted: signatures are checked when evidence is judged (A-14).

Source: docs/spec/attestation.md §7 (A-13, A-15).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from paddock.crypto.canonical import canonical, parse_canonical
from paddock.crypto.digest import sha256_id
from paddock.crypto.moment import read_moment
from paddock.crypto.x509 import Certificate, RevocationList
from paddock.errors import CollateralInvalid, CryptoRefused, PaddockError
from paddock.evidence.claims import EvidenceSet
from paddock.evidence.collateral import (
    CERTIFICATE,
    INTEL_PCS,
    MAX_COLLATERAL_BYTES,
    REVOCATION_LIST,
    Collateral,
    CollateralItem,
    CollateralNeed,
    certificate_item,
)
from paddock.evidence.provider import installed_providers
from paddock.evidence.providers.intel import PlatformId

COLLATERAL, NEEDS = "collateral.json", "needs.json"
MAX_NEEDS = 128
_MAX_NEEDS_BYTES = 1 << 18
_Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9:/._+-]{0,399}$")]


class CollateralStore:
    """The collateral in a keeper's folder. Several processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self) -> Collateral:
        """All that is known; nothing where there is no file yet.

        Raises:
            CollateralInvalid: the file cannot be read; until it can, evidence that needs collateral is refused.
        """
        data = self._read(COLLATERAL, MAX_COLLATERAL_BYTES)
        return Collateral() if data is None else Collateral.from_bytes(data)

    def store(self, items: Iterable[CollateralItem]) -> Collateral:
        """Keep these; one with a key that is there already takes its place. Returns all that is known now.

        Raises:
            CollateralInvalid: there would be too much, or the folder cannot be written; what was there still is.
        """
        return self._change(lambda known: known.merged(Collateral(items)))

    def forget(self, keys: Iterable[str]) -> Collateral:
        """Drop the items with these keys, and the needs of the same name. Returns all that is known now.

        Raises:
            CollateralInvalid: as `store`.
        """
        gone = set(keys)
        with self._alone():
            self._write_needs([need for need in self.needs() if need.key not in gone])
        return self._change(lambda known: Collateral(item for item in known if item.key not in gone))

    def needs(self) -> tuple[CollateralNeed, ...]:
        """What evidence needed, oldest first.

        Raises:
            CollateralInvalid: the file cannot be read.
        """
        data = self._read(NEEDS, _MAX_NEEDS_BYTES)
        if data is None:
            return ()
        try:
            parse_canonical(data, max_bytes=_MAX_NEEDS_BYTES)
            file = _NeedsFile.model_validate_json(data)
        except (CryptoRefused, ValidationError) as error:
            raise CollateralInvalid(f"{self._folder / NEEDS} is damaged; it can be deleted.") from error
        return tuple(CollateralNeed(row.kind, row.key, row.urls) for row in file.needs)

    def remember(self, needs: Iterable[CollateralNeed]) -> None:
        """Note what is to be fetched. The newest are kept, since whoever shows evidence adds to them.

        Raises:
            CollateralInvalid: the folder cannot be written.
        """
        with self._alone():
            try:
                known = {need.key: need for need in self.needs()}
            except CollateralInvalid:  # rebuilt from what comes: it only says what to fetch
                known = {}
            for need in needs:
                known.pop(need.key, None)
                known[need.key] = need
            self._write_needs(list(known.values())[-MAX_NEEDS:])

    def _change(self, change: Callable[[Collateral], Collateral]) -> Collateral:
        with self._alone():
            known = change(self.load())
            data = known.to_bytes()
            if len(data) > MAX_COLLATERAL_BYTES:
                raise CollateralInvalid(
                    f"It would have {len(data)} bytes; at most {MAX_COLLATERAL_BYTES} are kept. "
                    "Drop what is not used: paddock keeper collateral forget."
                )
            Collateral.from_bytes(data)  # a key or kind that the form does not know would spoil all of it
            self._write(COLLATERAL, data)
        return known

    def _write_needs(self, needs: list[CollateralNeed]) -> None:
        rows = [{"kind": need.kind, "key": need.key, "urls": dict(need.urls)} for need in needs]
        data = canonical({"version": "paddock/needs/v1", "needs": rows})
        try:
            _NeedsFile.model_validate_json(data)
        except ValidationError as error:
            raise CollateralInvalid("What is needed is not well formed.") from error
        self._write(NEEDS, data)

    def _read(self, name: str, most: int) -> bytes | None:
        try:
            with (self._folder / name).open("rb") as file:
                data = file.read(most + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CollateralInvalid(f"{self._folder / name}: {error.strerror}.") from error
        if len(data) > most:
            raise CollateralInvalid(f"{self._folder / name} is too large.")
        return data

    def _write(self, name: str, data: bytes) -> None:
        try:
            descriptor, temporary = tempfile.mkstemp(dir=self._folder, prefix=f".{name}.")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                Path(temporary).replace(self._folder / name)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise CollateralInvalid(f"{self._folder / name}: {error.strerror}.") from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            descriptor = os.open(self._folder / f".{COLLATERAL}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CollateralInvalid(f"{self._folder}: {error.strerror}.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # let go of when it is closed, also by a crash
            yield
        finally:
            os.close(descriptor)


class KnownCollateral:
    """What a keeper's folder holds, read again whenever the file is another: a decision takes no restart to know it.

    Args:
        folder: the keeper's.
    """

    def __init__(self, folder: Path) -> None:
        self._store = CollateralStore(folder)
        self._file = folder / COLLATERAL
        self._read: tuple[tuple[int, int, int] | None, Collateral] = (None, Collateral())

    def __call__(self) -> Collateral:
        """All that is known. Raises CollateralInvalid: see `CollateralStore.load`."""
        seen = self._stamp()
        stamp, known = self._read
        if seen != stamp:
            known = self._store.load()
            self._read = (seen, known)
        return known

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self._file.stat()
        except OSError:  # none there, or none that can be read: `load` tells them apart
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


class _Need(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    key: _Key
    urls: Annotated[
        dict[
            Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")],
            Annotated[str, StringConstraints(pattern=r"^https?://[!-~]{1,1000}$")],
        ],
        Field(min_length=1, max_length=16),
    ]


class _NeedsFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal["paddock/needs/v1"]
    needs: Annotated[list[_Need], Field(max_length=MAX_NEEDS)]


def needs_of(evidence: EvidenceSet) -> tuple[CollateralNeed, ...]:
    """What collateral the pieces of evidence need, as far as their providers can tell; nothing is verified."""
    found: dict[str, CollateralNeed] = {}
    for piece in evidence.pieces.values():
        for provider in installed_providers().values():
            if provider.media_type == piece.media_type:
                with contextlib.suppress(Exception):  # the boundary to a plug-in: what it cannot read needs nothing
                    found |= {need.key: need for need in provider.needs(piece.body)}
    return tuple(found.values())


def remember_needs(folder: Path, evidence: EvidenceSet) -> None:
    """Note what refused evidence needed, so that `paddock keeper collateral fetch` gets it. Never raises a refusal.

    Args:
        folder: the keeper's.
        evidence: of a release that was refused with CollateralMissing, CollateralStale or RevocationUnknown.
    """
    with contextlib.suppress(PaddockError):
        needs = needs_of(evidence)
        if needs:
            CollateralStore(folder).remember(needs)


# --- files that people bring --------------------------------------------------------------------------------------

_PCS_MEMBERS = (
    "pck_crl",
    "pck_crl_issuer_chain",
    "qe_identity",
    "qe_identity_issuer_chain",
    "qe_identity_signature",
    "root_ca_crl",
    "tcb_info",
    "tcb_info_issuer_chain",
    "tcb_info_signature",
)
_PCK_CAS = (("Processor", "processor"), ("Platform", "platform"))


def recognise(data: bytes, fetched: str) -> list[CollateralItem]:
    """The items of a file: our own bundle, Intel collateral as JSON, certificates or revocation lists in DER or PEM.

    Args:
        data: the file.
        fetched: the moment that is noted for items which do not say theirs.

    Raises:
        CollateralInvalid: none of these.
    """
    if len(data) > MAX_COLLATERAL_BYTES:
        raise CollateralInvalid(f"It has {len(data)} bytes; at most {MAX_COLLATERAL_BYTES} are read.")
    start = data.lstrip()[:64]
    try:
        if start.startswith(b"{"):
            return _recognise_json(data, fetched)
        if start.startswith(b"-----BEGIN CERTIFICATE"):
            return [certificate_item(each.der, fetched) for each in Certificate.from_pem(data)]
        if start.startswith(b"-----BEGIN X509 CRL"):
            return [_list_item(RevocationList.from_bytes(data), fetched)]
        with contextlib.suppress(CryptoRefused):
            return [certificate_item(Certificate.from_der(data).der, fetched)]
        return [_list_item(RevocationList.from_bytes(data), fetched)]
    except CryptoRefused as error:
        raise CollateralInvalid(
            "It is no bundle of collateral, Intel collateral in JSON, certificate or revocation list."
        ) from error


def _recognise_json(data: bytes, fetched: str) -> list[CollateralItem]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CollateralInvalid("It begins like JSON and is not.") from error
    if isinstance(value, dict) and set(value) >= set(_PCS_MEMBERS):
        return [_pcs_item(value, fetched)]
    return list(Collateral.from_bytes(data))


def _pcs_item(value: dict[str, object], fetched: str) -> CollateralItem:
    """Intel's publications of one platform, as dcap-qvl writes them, under the key that evidence asks for."""
    try:
        tcb = json.loads(str(value["tcb_info"]))
        subject = Certificate.from_pem(str(value["pck_crl_issuer_chain"]))[0].subject
        (authority,) = (name for common, name in _PCK_CAS if f"CN=Intel SGX PCK {common} CA" in subject.split(","))
        platform = PlatformId(str(tcb["fmspc"]).upper(), authority)
        body = canonical({name: value[name] for name in _PCS_MEMBERS})
        return CollateralItem(INTEL_PCS, platform.key(str(tcb["id"]).lower()), fetched, body)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CollateralInvalid("It is not what Intel publishes about a platform.") from error


def _list_item(read: RevocationList, fetched: str) -> CollateralItem:
    return CollateralItem(REVOCATION_LIST, f"crl/{sha256_id(read.der)}", fetched, read.der)


# --- ages ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dates:
    """When the vendor issued an item, and when it calls it out of date; None where the item does not say."""

    issued: datetime | None
    until: datetime | None


def dates_of(item: CollateralItem) -> Dates:
    """The vendor's own dates in an item, for people; nothing is verified."""
    try:
        if item.kind == CERTIFICATE:
            certificate = Certificate.from_der(item.body)
            return Dates(certificate.not_before, certificate.not_after)
        if item.kind == REVOCATION_LIST:
            crl = RevocationList.from_bytes(item.body)
            return Dates(crl.issued, crl.next_update)
        if item.kind == INTEL_PCS:
            return _pcs_dates(json.loads(item.body))
    except (CryptoRefused, ValueError, TypeError, KeyError, RecursionError):
        pass
    return Dates(None, None)


def _pcs_dates(value: dict[str, str]) -> Dates:
    signed = [json.loads(value[name]) for name in ("tcb_info", "qe_identity")]
    platforms, root = (RevocationList.from_bytes(bytes.fromhex(value[name])) for name in ("pck_crl", "root_ca_crl"))
    issued = [read_moment(each["issueDate"]) for each in signed] + [platforms.issued]
    ends = [read_moment(each["nextUpdate"]) for each in signed] + [platforms.next_update, root.next_update]
    return Dates(min(issued), min(end for end in ends if end is not None))  # Intel renews its root's list once a year
