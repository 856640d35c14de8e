"""The address book: other parties, accepted once, by fingerprint, compared out of band.

Source: docs/spec/contract.md §4 (C-11, C-17, C-19).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paddock.contract.party import PartyRecord, read_party
from paddock.crypto.dsse import Envelope
from paddock.crypto.identity import normal_fingerprint
from paddock.errors import CryptoRefused, FingerprintMismatch, HomeInvalid, PartyUnknown
from paddock.party.files import one_at_a_time, read_json, write_json


@dataclass(frozen=True)
class Peer:
    """One accepted party: under the name that the owner of the address book chose."""

    name: str
    fingerprint: str
    record: PartyRecord


class AddressBook:
    """Names to accepted fingerprints."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "peers.json"

    def all(self) -> list[Peer]:
        """Every accepted party, by name."""
        return [self._peer(name, row) for name, row in sorted(read_json(self._path).items())]

    def find(self, name: str) -> Peer:
        """The party of that name.

        Raises:
            PartyUnknown: nobody was accepted under it.
        """
        row = read_json(self._path).get(name)
        if row is None:
            raise PartyUnknown(f"Nobody is known as '{name}'.")
        return self._peer(name, row)

    def name_of(self, fingerprint: str) -> str | None:
        """The name under which a fingerprint was accepted, or None."""
        return next((peer.name for peer in self.all() if peer.fingerprint == fingerprint), None)

    def accept(self, name: str, fingerprint: str, envelope: Envelope) -> Peer:
        """Accept a party's record under `name`, if its keys have this fingerprint.

        Args:
            name: the name to use from now on.
            fingerprint: as the party itself told it, by another way than this record came.
            envelope: the party's signed record, as the hub passed it on.

        Raises:
            FingerprintMismatch: the record's keys have another fingerprint, or the name is taken by another party (C-19).
            RecordRefused: the record is not signed by the keys it names.
        """
        wanted = normal_fingerprint(fingerprint)
        record = read_party(envelope)
        if record.fingerprint() != wanted:  # C-19: the hub's word decides nothing
            raise FingerprintMismatch(f"The record for '{name}' has {record.fingerprint()}.")
        with one_at_a_time(self._path):
            peers = read_json(self._path)
            before = peers.get(name)
            if before is not None and before.get("fingerprint") != wanted:
                raise FingerprintMismatch(f"'{name}' is another party in your address book; choose another name.")
            peers[name] = {"fingerprint": wanted, "record": envelope.to_dict()}
            write_json(self._path, peers)
        return Peer(name, wanted, record)

    def _peer(self, name: str, row: object) -> Peer:
        try:
            if not isinstance(row, dict):
                raise HomeInvalid(f"{self._path} is damaged.")
            record = read_party(Envelope.from_dict(row["record"]))
        except (CryptoRefused, KeyError) as error:
            raise HomeInvalid(f"{self._path} is damaged.") from error
        if record.fingerprint() != row["fingerprint"]:
            raise HomeInvalid(f"{self._path} is damaged.")
        return Peer(name, str(row["fingerprint"]), record)
