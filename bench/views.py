"""Views: how fast plain bytes come out of them, and a training epoch from a view beside one from plain files."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import paddle
from PIL import Image

from bench.harness import Row, interleaved, row
from paddock.jobs.datasets import ImageFolder
from paddock.seal import DataKey, OpenOptions, VolumeReader, write_volume
from paddock.store.folder import FolderStore
from paddock.views import VolumeFiles, local_files
from paddock.views.filesystem import VolumeFileSystem
from paddock.views.staging import StagedFile, StagedFolder

AREA = "views"
MIB = 1 << 20
KEY = DataKey(bytes(range(32)))
SHM = Path("/dev/shm")  # noqa: S108 - the memory of this machine


def rows(quick: bool) -> list[Row]:
    build = Path(__file__).resolve().parents[1] / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as folder:
        return [*_bytes(Path(folder) / "bytes", (256 if quick else 2048) * MIB), *_training(Path(folder), quick=quick)]


def _bytes(folder: Path, size: int) -> list[Row]:
    store = FolderStore(folder)
    content = os.urandom(MIB)
    sealed = write_volume([("large", (content for _ in range(size // MIB)))], KEY, store)
    shutil.copyfileobj(_zeros(size), (folder / "plain").open("wb"))
    reader = VolumeReader.open(sealed.asset, store, KEY)
    system = VolumeFileSystem(reader)
    buffer = memoryview(bytearray(32 * MIB))

    def read(file: BinaryIO) -> None:
        with file:
            while file.readinto(buffer):  # type: ignore[attr-defined]
                pass

    def stage_folder() -> None:
        with StagedFolder(reader, SHM, may_swap=True):
            pass

    def stage_file() -> None:
        with StagedFile(reader.find("large"), may_swap=True):
            pass

    taken = interleaved(
        {
            "plain": lambda: read((folder / "plain").open("rb", buffering=0)),
            "fsspec": lambda: read(system.open("large")),
            "folder": stage_folder,
            "memfd": stage_file,
        },
        repeat=3,
    )
    rates = {name: size / times.median / 1e9 for name, times in taken.items()}
    what = f"{size // MIB} MiB"
    plain = rates["plain"]
    return [
        row(f"read {what} through fsspec, in order", AREA, rates["fsspec"], "GB/s", baseline=plain, target="value >= 3"),
        row(f"stage {what} into a folder in memory", AREA, rates["folder"], "GB/s", baseline=plain, target="value >= 3"),
        row(f"stage {what} into memory without a name", AREA, rates["memfd"], "GB/s", baseline=plain,
            target="value >= 3"),
    ]  # fmt: skip


def _zeros(size: int) -> BinaryIO:
    class Zeros(io.RawIOBase):
        left = size

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            count = min(self.left, len(buffer))
            buffer[:count] = bytes(count)
            self.left -= count
            return count

    return io.BufferedReader(Zeros(), buffer_size=MIB)


class PlainFiles:
    """Files of a folder, as jobs see those of a volume."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """Paths, sorted."""
        return sorted(str(path.relative_to(self._folder)) for path in self._folder.rglob("*") if path.is_file())

    def size(self, name: str) -> int:
        """Size in bytes."""
        return (self._folder / name).stat().st_size

    def open(self, name: str) -> BinaryIO:
        """The content."""
        return (self._folder / name).open("rb")


def _training(folder: Path, *, quick: bool) -> list[Row]:
    count = 2000 if quick else 20_000
    plain = folder / "plain"
    chance = np.random.default_rng(1)
    for number in range(count):
        place = plain / f"class-{number % 10}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = chance.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number:05}.png", compress_level=1)
    store = FolderStore(folder / "sealed")
    sealed = write_volume(local_files(plain), KEY, store)
    # All of it may stay open in memory, as an enclave that has room for it does.
    segments = sum(part.facts.layout.segments for part in sealed.parts)
    reader = VolumeReader.open(sealed.asset, store, KEY, options=OpenOptions(cached_segments=segments))
    paddle.seed(1)
    network = paddle.nn.Sequential(
        paddle.nn.Conv2D(3, 8, 3, stride=2), paddle.nn.ReLU(), paddle.nn.Conv2D(8, 16, 3, stride=2), paddle.nn.ReLU(),
        paddle.nn.Flatten(), paddle.nn.Linear(16 * 15 * 15, 10),
    )  # fmt: skip
    optimizer = paddle.optimizer.SGD(0.01, parameters=network.parameters())

    def epoch(files: Any) -> None:
        loader = paddle.io.DataLoader(ImageFolder(files), batch_size=64, shuffle=True, num_workers=2)
        for pictures, labels in loader:
            loss = paddle.nn.functional.cross_entropy(network(pictures), labels)
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()

    taken = interleaved(
        {"plain": lambda: epoch(PlainFiles(plain)), "view": lambda: epoch(VolumeFiles(reader))},
        repeat=3 if quick else 5,
    )
    name = f"one epoch over {count:,} pictures from a view, two workers, beside plain files"
    return [
        row(name, AREA, taken["view"].median, "s", baseline=taken["plain"].median, target="ratio <= 1.03"),
    ]
