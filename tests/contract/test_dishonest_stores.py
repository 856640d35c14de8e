"""Every reader of volumes in front of every kind of dishonest store: a refusal in time, and never a wrong byte."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from paddock.errors import PaddockError
from paddock.jobs.datasets import ReadAhead
from paddock.seal import DataKey, OpenOptions, SealOptions, VolumeReader, in_order, write_volume
from paddock.testing.stores import LIES, LyingStore, MemoryStore
from paddock.views import VolumeFiles, write_folder
from paddock.views.filesystem import VolumeFileSystem
from paddock.views.mount import mount_volume
from paddock.views.staging import StagedFile, StagedFolder
from tests.fixtures.fuse import fuse_or_skip

KEY = DataKey(bytes(range(32)))
CHANCE = random.Random(9)
FILES = {f"d/{number:02}": CHANCE.randbytes(3000 + 700 * number) for number in range(12)} | {
    "large": CHANCE.randbytes(90_000)
}
OBJECTS = ("/payload", "/tree", "/index", "manifest")
OPTIONS = OpenOptions(fetch_bytes=8192, cached_segments=2, threads=2)
SHM = Path("/dev/shm")


def _everything(reader: VolumeReader, _: Path) -> dict[str, bytes]:
    found = {file.path: file.open().read() for file in reader.iter_files()}
    reader.verify()
    return found


def _folder(reader: VolumeReader, place: Path) -> dict[str, bytes]:
    return _read(place, write_folder(reader, place, overwrite=False))


def _read(base: Path, paths: list[Path]) -> dict[str, bytes]:
    return {str(path.relative_to(base)): path.read_bytes() for path in paths}


def _fsspec(reader: VolumeReader, _: Path) -> dict[str, bytes]:
    system = VolumeFileSystem(reader)
    return {name: system.cat_file(name) for name in system.find("")}


def _staged_folder(reader: VolumeReader, _: Path) -> dict[str, bytes]:
    with StagedFolder(reader, SHM, may_swap=True) as staged:
        return _read(staged.path, [path for path in staged.path.rglob("*") if path.is_file()])


def _staged_files(reader: VolumeReader, _: Path) -> dict[str, bytes]:
    found = {}
    for file in reader.iter_files():
        with StagedFile(file, may_swap=True) as staged:
            found[file.path] = Path(staged.name).read_bytes()
    return found


def _read_ahead(reader: VolumeReader, _: Path) -> dict[str, bytes]:
    files = VolumeFiles(reader)
    return dict(ReadAhead(files, files.names()))


def _mounted(reader: VolumeReader, place: Path) -> dict[str, bytes]:
    place.mkdir()
    with mount_volume(reader, place):
        return _read(place, [path for path in place.rglob("*") if path.is_file()])


READERS: dict[str, Callable[[VolumeReader, Path], dict[str, bytes]]] = {
    "reader": _everything,
    "folder": _folder,
    "fsspec": _fsspec,
    "staged folder": _staged_folder,
    "staged files": _staged_files,
    "read ahead": _read_ahead,
    "mount": _mounted,
}


@pytest.fixture(scope="module")
def honest() -> tuple[MemoryStore, str]:
    store = MemoryStore()
    # Without padding: every byte that is stored is asked for by who reads the files.
    options = SealOptions(segment_bytes=4096, padding="none")
    return store, write_volume(in_order(FILES), KEY, store, options=options).asset


def _name(asset: str, about: str) -> str:
    return asset.removeprefix("sha256:") if about == "manifest" else about


def _skip_without_fuse(kind: str) -> None:
    if kind == "mount":
        fuse_or_skip()


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("lie", LIES)
def test_every_lie_is_noticed_by_every_reader(
    honest: tuple[MemoryStore, str], tmp_path: Path, kind: str, lie: str
) -> None:
    _skip_without_fuse(kind)
    store, asset = honest
    for about in OBJECTS:
        if about == "manifest" and lie in {"reordered", "wrong_range"}:
            continue  # one page; the range is all of it
        if lie == "reordered" and about != "/payload":
            continue  # of one page
        liar = LyingStore(store, _name(asset, about), lie)
        place = tmp_path / about.strip("/")
        with pytest.raises((PaddockError, OSError)) as refusal:
            READERS[kind](VolumeReader.open(asset, liar, KEY, options=OPTIONS), place)
        if not isinstance(refusal.value, PaddockError):
            assert kind == "mount"


@pytest.mark.parametrize("kind", READERS)
def test_an_older_version_in_place_of_a_newer_one_is_noticed(tmp_path: Path, kind: str) -> None:
    """A rollback: everything of the newer version is answered with the older one's."""
    _skip_without_fuse(kind)
    store = MemoryStore()
    older = write_volume(in_order(FILES), KEY, store, options=SealOptions(segment_bytes=4096))
    newer = write_volume(in_order(FILES), KEY, store, options=SealOptions(segment_bytes=4096))
    for name in ("payload", "tree", "index"):
        about, instead = f"volumes/{newer.volume}/{name}", f"volumes/{older.volume}/{name}"
        liar = LyingStore(store, about, "swapped", instead=instead)
        with pytest.raises((PaddockError, OSError)):
            READERS[kind](VolumeReader.open(newer.asset, liar, KEY, options=OPTIONS), tmp_path / name)
    manifests = [f"manifests/{each.asset.removeprefix('sha256:')}" for each in (newer, older)]
    liar = LyingStore(store, manifests[0], "swapped", instead=manifests[1])
    with pytest.raises(PaddockError):
        READERS[kind](VolumeReader.open(newer.asset, liar, KEY, options=OPTIONS), tmp_path / "manifest")


@pytest.mark.parametrize("kind", READERS)
def test_a_slow_store_gives_the_truth(honest: tuple[MemoryStore, str], tmp_path: Path, kind: str) -> None:
    _skip_without_fuse(kind)
    store, asset = honest
    slow = LyingStore(store, "/tree", "slow")
    reader = VolumeReader.open(asset, slow, KEY, options=OPTIONS)
    assert READERS[kind](reader, tmp_path / "place") == FILES
