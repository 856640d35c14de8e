"""A participant's home folder: keys, address book, catalogue of own assets, contracts signed, receipts.

home/
  home.json        name, hub, keeper's address
  keys.json        private keys (mode 0600)
  peers.json       other parties: name -> fingerprint and signed record
  assets.json      own assets: name -> id, kind, data key wrapped to the own key
  origins/         of assets sealed from a query: its text and sources, by the asset's id
  contracts/       contracts this home signed or proposed, by id
  runs/            runs this home asked for, by id: of which contract
  receipts/        verified receipts, by run
  servers/         what hub and keeper must prove before anything is sent to them
  keeper/          the keeper that acts for this party
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paddock.crypto.canonical import canonical, parse
from paddock.crypto.identity import PrivateKeys
from paddock.errors import CryptoRefused, HomeInvalid
from paddock.party.files import read_json, write_bytes, write_json

DEFAULT_HUB = "http://127.0.0.1:7300"
DEFAULT_KEEPER = "http://127.0.0.1:7301"


@dataclass(frozen=True)
class Home:
    """An opened home folder."""

    folder: Path
    name: str
    hub: str
    keeper: str
    keys: PrivateKeys

    @classmethod
    def create(cls, folder: Path, name: str, *, hub: str = DEFAULT_HUB, keeper: str = DEFAULT_KEEPER) -> Home:
        """Make a new home with fresh keys.

        Raises:
            HomeInvalid: there is a home already, or the folder cannot be written.
        """
        if (folder / "keys.json").exists():
            raise HomeInvalid(f"{folder} is the home of somebody already.")
        keys = PrivateKeys.generate()
        write_bytes(folder / "keys.json", canonical(keys.to_secret_dict()))
        home = cls(folder, name, hub, keeper, keys)
        home.save()
        return home

    @classmethod
    def load(cls, folder: Path) -> Home:
        """Open a home.

        Raises:
            HomeInvalid: none there, damaged, or its key file readable by others.
        """
        keys_file = folder / "keys.json"
        settings = read_json(folder / "home.json")
        if not keys_file.exists() or not settings:
            raise HomeInvalid(f"{folder} is not a home.")
        if keys_file.stat().st_mode & 0o077:
            raise HomeInvalid(f"{keys_file} can be read by others: chmod 600 it.")
        try:
            keys = PrivateKeys.from_secret_dict(parse(keys_file.read_bytes()))
            return cls(folder, str(settings["name"]), str(settings["hub"]), str(settings["keeper"]), keys)
        except (CryptoRefused, KeyError) as error:
            raise HomeInvalid(f"{folder}: keys.json or home.json is damaged.") from error

    def with_addresses(self, *, hub: str | None = None, keeper: str | None = None) -> Home:
        """This home with other addresses, saved."""
        home = replace(self, hub=hub or self.hub, keeper=keeper or self.keeper)
        if home != self:
            home.save()
        return home

    @property
    def fingerprint(self) -> str:
        """The fingerprint of this party's keys."""
        return self.keys.public().fingerprint()

    @property
    def keeper_folder(self) -> Path:
        """Where this party's own keeper lives."""
        return self.folder / "keeper"

    def origin_file(self, asset: str) -> Path:
        """Where it is noted from which query an asset was sealed."""
        return self.folder / "origins" / f"{asset.removeprefix('sha256:')}.json"

    def contract_file(self, contract: str) -> Path:
        """Where a contract that this home signed is kept."""
        return self.folder / "contracts" / f"{contract.removeprefix('sha256:')}.json"

    def run_file(self, run: str) -> Path:
        """Where it is noted of which contract a run was asked for."""
        return self.folder / "runs" / f"{run}.json"

    def receipt_file(self, run: str) -> Path:
        """Where a run's receipt is kept."""
        return self.folder / "receipts" / f"{run}.json"

    def save(self) -> None:
        """Write name and addresses to the folder."""
        settings: dict[str, Any] = {"name": self.name, "hub": self.hub, "keeper": self.keeper}
        write_json(self.folder / "home.json", settings)
