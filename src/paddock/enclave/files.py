"""Files that are in memory, as jobs see them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import BinaryIO


class MadeFiles:
    """What a step made or kept. In memory only."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(files)

    def names(self) -> list[str]:
        """Paths, sorted."""
        return sorted(self._files)

    def size(self, name: str) -> int:
        """Size in bytes."""
        return len(self._files[name])

    def open(self, name: str) -> BinaryIO:
        """The file's content."""
        return io.BytesIO(self._files[name])
