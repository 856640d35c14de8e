"""Files that are in memory, as jobs see them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from paddock.store.memory import FOLDER, own_folder
from paddock.views.staging import Memory


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


@contextlib.contextmanager
def staged(files: MadeFiles) -> Iterator[Path]:
    """A folder in memory with these files, for a job that takes paths; it is gone when the block ends.

    Raises:
        StagingRefused: no folder here is in memory for sure.
    """
    Memory().check(FOLDER, may_swap=False)
    with own_folder(FOLDER) as folder:
        for name in files.names():
            path = folder / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with files.open(name) as content, path.open("xb") as sink:
                sink.write(content.read())
        yield folder
