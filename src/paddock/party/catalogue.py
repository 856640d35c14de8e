"""The catalogue of own assets: what this party sealed, with each data key wrapped to the party's own key."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from paddock.contract.asset import AssetKind
from paddock.crypto.digest import unb64
from paddock.crypto.hpke import OpeningKey
from paddock.errors import AssetUnknown, HomeInvalid
from paddock.party.files import one_at_a_time, read_json, write_json
from paddock.seal import DataKey

OWN_PURPOSE = "own"


@dataclass(frozen=True)
class OwnAsset:
    """One sealed volume of this party. `wrapped` is its data key, sealed to the party itself."""

    name: str
    asset: str
    kind: str
    stored_bytes: int
    sealed: str
    wrapped: str

    def data_key(self, key: OpeningKey) -> DataKey:
        """Its data key."""
        return DataKey.unwrap(unb64(self.wrapped), key, self.asset, OWN_PURPOSE)


class Catalogue:
    """Names to own assets; a name sealed again points to the newest."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "assets.json"

    def all(self) -> list[OwnAsset]:
        """Every asset, by name."""
        try:
            return [OwnAsset(**row) for _, row in sorted(read_json(self._path).items())]
        except TypeError as error:
            raise HomeInvalid(f"{self._path} is damaged.") from error

    def find(self, name: str) -> OwnAsset:
        """The asset of that name or id.

        Raises:
            AssetUnknown: none is.
        """
        for asset in self.all():
            if name in (asset.name, asset.asset):
                return asset
        raise AssetUnknown(f"Nothing was sealed as '{name}' in this home.")

    def add(self, asset: OwnAsset) -> None:
        """Note a new asset."""
        with one_at_a_time(self._path):  # two commands that seal at once would otherwise lose one of both keys
            rows = read_json(self._path)
            rows[asset.name] = asdict(asset)
            write_json(self._path, rows)


KINDS = [kind.value for kind in AssetKind]
