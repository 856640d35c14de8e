"""`paddock://NAME/path` with `storage_options={"home": "north"}`: own assets, by the name they were sealed under."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

from paddock.party.home import Home
from paddock.party.party import Party
from paddock.seal import VolumeReader
from paddock.views.filesystem import VolumeFileSystem


class AssetFileSystem(VolumeFileSystem):
    """Files of registered volumes, and of own assets where a home is given.

    Args:
        home: folder of a party's home; its keys open what it sealed. Other processes open it anew.
        options: as `VolumeFileSystem` takes them.
    """

    def __init__(self, home: str | Path | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._home = home
        self._opened: dict[str, VolumeReader] = {}
        self._party: Party | None = None

    def open_volume(self, name: str) -> VolumeReader:
        """The own asset of that name, or the registered volume.

        Raises:
            AssetUnknown: nothing was sealed under this name in the home.
            FileNotFoundError: there is no home, and nothing is registered under it.
        """
        if self._home is None:
            return super().open_volume(name)
        if name not in self._opened:
            if self._party is None:
                self._party = Party(Home.load(Path(self._home).expanduser()))
                weakref.finalize(self, self._party.close)  # libraries drop file systems without a word
            self._opened[name] = self._party.open_volume(name)
        return self._opened[name]

    def _volume_names(self) -> list[str]:
        if self._home is None:
            return super()._volume_names()
        return [asset.name for asset in Party(Home.load(Path(self._home).expanduser())).assets.all()]

    def close(self) -> None:
        """Give the connections back."""
        if self._party is not None:
            self._party.close()
            self._party = None
        self._opened.clear()
