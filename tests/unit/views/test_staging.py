"""Volumes in memory as plain files: never on a disk, gone afterwards."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from paddock.errors import NoRoomInMemory, SegmentChanged, StagingRefused
from paddock.seal import DataKey, SealOptions, VolumeReader, in_order, write_volume
from paddock.testing.stores import MemoryStore
from paddock.views.mounts import mounts
from paddock.views.staging import Memory, StagedFile, StagedFolder

KEY = DataKey(bytes(range(32)))
CHANCE = random.Random(5)
FILES = {
    "a.csv": b"x,y\n1,2\n",
    "d/large": CHANCE.randbytes(3 << 20),
    "d/empty": b"",
    "d/e/f": CHANCE.randbytes(70_000),
}
SHM = Path("/dev/shm")


@pytest.fixture
def calm(tmp_path: Path) -> Memory:
    """This machine, said not to swap."""
    (tmp_path / "swaps").write_text("Filename Type Size Used Priority\n")
    return Memory(swaps=tmp_path / "swaps")


@pytest.fixture
def swapping(tmp_path: Path) -> Memory:
    (tmp_path / "swaps-on").write_text("Filename Type Size Used Priority\n/dev/sda2 partition 1000 0 -2\n")
    return Memory(swaps=tmp_path / "swaps-on")


def _reader(store: MemoryStore) -> VolumeReader:
    asset = write_volume(in_order(FILES), KEY, store, options=SealOptions(64 << 10)).asset
    return VolumeReader.open(asset, store, KEY)


def test_a_volume_becomes_a_folder_in_memory_and_goes(calm: Memory) -> None:
    told: list[int] = []
    with StagedFolder(_reader(MemoryStore()), SHM, progress=told.append, memory=calm) as staged:
        found = {str(p.relative_to(staged.path)): p.read_bytes() for p in staged.path.rglob("*") if p.is_file()}
        assert found == FILES
        assert staged.path.stat().st_mode & 0o777 == 0o700
        assert {p.stat().st_mode & 0o777 for p in staged.path.rglob("*") if p.is_file()} == {0o400}
        assert told[-1] == sum(map(len, FILES.values()))
    assert not staged.path.exists()


def test_a_folder_on_a_disk_is_refused(calm: Memory, tmp_path: Path) -> None:
    if calm._mounted(tmp_path)[0] == "tmpfs":
        pytest.skip("the folder for tests is in memory on this machine")
    with pytest.raises(StagingRefused, match="keeps what is written"):
        StagedFolder(_reader(MemoryStore()), tmp_path, memory=calm)
    assert not list(tmp_path.glob("paddock-*"))


def test_a_machine_that_swaps_is_refused_unless_told_otherwise(swapping: Memory, tmp_path: Path) -> None:
    reader = _reader(MemoryStore())
    with pytest.raises(StagingRefused, match="swaps"):
        StagedFolder(reader, SHM, memory=swapping)
    with pytest.raises(StagingRefused, match="swaps"):
        StagedFile(reader.find("a.csv"), memory=swapping)
    with StagedFolder(reader, SHM, memory=swapping, may_swap=True) as staged:
        assert (staged.path / "a.csv").read_bytes() == FILES["a.csv"]
    (tmp_path / "mounts").write_text(
        "20 1 0:1 / / rw - ext4 /dev/vda rw\n21 20 0:2 / /dev/shm rw - tmpfs tmpfs rw,size=1G,noswap\n"
    )
    with StagedFolder(reader, SHM, memory=Memory(tmp_path / "mounts", swapping.swaps)) as staged:
        assert (staged.path / "d/empty").read_bytes() == b""


def test_the_mount_that_covers_a_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "mounts").write_text(
        "20 1 0:1 / / rw - ext4 /dev/vda rw\n"
        "21 20 0:2 / /a rw - tmpfs tmpfs rw\n"
        "22 21 0:3 / /a/b\\040c rw shared:1 - xfs /dev/vdb rw\n"
        "23 20 0:4 / /a rw master:2 - btrfs /dev/vdc rw\n"
    )
    memory = Memory(mounts=tmp_path / "mounts")
    for folder, kind in (("/", "ext4"), ("/ab", "ext4"), ("/a/x", "btrfs"), ("/a/b c/d", "xfs")):
        assert memory._mounted(Path(folder))[0] == kind


def test_a_volume_that_does_not_fit_is_told_before(calm: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    class Little:
        f_bavail, f_frsize = 10, 4096

    monkeypatch.setattr(os, "statvfs", lambda _: Little)
    with pytest.raises(NoRoomInMemory):
        StagedFolder(_reader(MemoryStore()), SHM, memory=calm)


def test_damage_leaves_nothing(calm: Memory) -> None:
    store = MemoryStore()
    reader = _reader(store)
    before = set(SHM.iterdir())
    for name, data in list(store.objects.items()):
        if name.endswith("payload"):
            changed = bytearray(data)
            changed[2_000_000] ^= 1
            store.objects[name] = bytes(changed)
    with pytest.raises(SegmentChanged):
        StagedFolder(reader, SHM, memory=calm)
    with pytest.raises(SegmentChanged):
        StagedFile(reader.find("d/large"), memory=calm)
    assert set(SHM.iterdir()) == before


def test_a_file_without_a_name_cannot_be_changed(calm: Memory) -> None:
    with StagedFile(_reader(MemoryStore()).find("d/large"), memory=calm) as staged:
        assert Path(staged.name).read_bytes() == FILES["d/large"]
        code = f"import sys; print(len(open('{staged.name}', 'rb').read()))"
        done = subprocess.run(
            [sys.executable, "-c", code], pass_fds=[staged.descriptor], capture_output=True, text=True, check=True
        )
        assert int(done.stdout) == 3 << 20
        with pytest.raises(PermissionError):
            os.pwrite(staged.descriptor, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(staged.descriptor, 0)
    with StagedFile(_reader(MemoryStore()).find("d/empty"), memory=calm) as empty:
        assert Path(empty.name).read_bytes() == b""


def test_odd_names_of_mountpoints_hide_no_mount(tmp_path: Path) -> None:
    lines = [
        b"1 2 0:1 / /srv/a\x0cb rw - tmpfs none rw",
        "2 2 0:2 / /srv/a\u2028b rw - fuse.x none rw".encode(),
        b"3 2 0:3 / /srv/\xff\\040c rw shared:1 - tmpfs  rw,noswap",
        b"no line of the kernel's",
        b"",
    ]
    (tmp_path / "mountinfo").write_bytes(b"\n".join(lines))
    found = list(mounts(tmp_path / "mountinfo"))
    assert [str(each.place) for each in found] == ["/srv/a\x0cb", "/srv/a\u2028b", "/srv/\udcff c"]
    assert [each.kind for each in found] == ["tmpfs", "fuse.x", "tmpfs"]
    assert found[2].options == {"rw", "noswap"}
