"""Which view an input gets, and that each shows the same files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paddock.errors import NoSuchFile, StagingRefused, ViewUnavailable
from paddock.seal import DataKey, VolumeReader, in_order, write_volume
from paddock.store.memory import remove_left
from paddock.testing.stores import MemoryStore
from paddock.views.opening import FolderFiles, Means, View, choose_view, find_means, open_view
from paddock.views.staging import StagedFolder

FILES = {"a/b.csv": b"x,y\n1,2\n" * 1000, "c": b"", "ü": bytes(range(256))}
SHM = Path("/dev/shm")
MIB = 1 << 20


@pytest.fixture
def reader() -> VolumeReader:
    store, key = MemoryStore(), DataKey.generate()
    return VolumeReader.open(write_volume(in_order(FILES), key, store).asset, store, key)


@pytest.mark.parametrize(
    ("wanted", "content", "means", "chosen"),
    [
        # A job that takes the reader has it, however much there is.
        ("auto", 1 * MIB, Means(False, 100 * MIB, SHM, True), View.DIRECT),
        ("auto", 500 * MIB, Means(False, 100 * MIB, None, False), View.DIRECT),
        ("direct", 1, Means(False, 0, None, False), View.DIRECT),
        # One that takes paths: small in memory, large mounted.
        ("auto", 25 * MIB, Means(True, 100 * MIB, SHM, True), View.STAGED),
        ("auto", 26 * MIB, Means(True, 100 * MIB, SHM, True), View.MOUNTED),
        ("auto", 1, Means(True, 100 * MIB, None, True), View.MOUNTED),
        # A LibOS has no FUSE: in memory as long as it fits.
        ("auto", 100 * MIB, Means(True, 100 * MIB, SHM, False), View.STAGED),
        # What the contract names is what there is.
        ("staged", 100 * MIB, Means(True, 100 * MIB, SHM, True), View.STAGED),
        ("staged", 1, Means(False, 100 * MIB, SHM, True), View.STAGED),
        ("mounted", 1, Means(True, 100 * MIB, SHM, True), View.MOUNTED),
        ("mounted", 1, Means(True, 0, None, True), View.MOUNTED),
    ],
)
def test_the_view_that_fits(wanted: str, content: int, means: Means, chosen: View) -> None:
    assert choose_view(wanted, content, means) is chosen


@pytest.mark.parametrize(
    ("wanted", "content", "means", "saying"),
    [
        ("auto", 101 * MIB, Means(True, 100 * MIB, SHM, False), "does not fit"),
        ("auto", 1, Means(True, 100 * MIB, None, False), "[Nn]othing can be mounted"),
        ("direct", 1, Means(True, 100 * MIB, SHM, True), "takes paths"),
        ("staged", 101 * MIB, Means(True, 100 * MIB, SHM, True), "does not fit"),
        ("staged", 1, Means(True, 100 * MIB, None, True), "in memory for sure"),
        ("mounted", 1, Means(True, 100 * MIB, SHM, False), "[Nn]othing can be mounted"),
        ("mounted", 1, Means(False, 100 * MIB, SHM, True), "reads the volume itself"),
    ],
)
def test_what_cannot_be_had_is_refused_and_not_replaced(wanted: str, content: int, means: Means, saying: str) -> None:
    with pytest.raises(ViewUnavailable, match=saying):
        choose_view(wanted, content, means)


@pytest.mark.parametrize("view", list(View))
def test_every_view_shows_the_same_files(view: View, reader: VolumeReader) -> None:
    means = find_means(by_path=view is View.MOUNTED, room_bytes=MIB, for_another_user=False)
    before = set(SHM.glob("paddock-*"))
    with open_view(choose_view(view, reader.content_bytes, means), reader, means) as files:
        assert files.names() == sorted(FILES)
        for name, content in FILES.items():
            assert files.size(name) == len(content)
            with files.open(name) as stream:
                assert stream.read() == content
        for missing in ("d", "../a", "a"):
            with pytest.raises(NoSuchFile):
                files.open(missing)
        folder = getattr(files, "folder", None)
        assert (folder is not None) == (view is not View.DIRECT)
        if folder is not None:
            assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert folder is None or not folder.exists()
    assert set(SHM.glob("paddock-*")) == before


def test_who_serves_a_view_reads_the_volume_and_never_waits_for_its_own_mount(
    reader: VolumeReader, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "b.csv")  # as a mount whose server is the one that reads: nobody answers
    with FolderFiles(reader, tmp_path).open("a/b.csv") as stream:
        stream.seek(4)
        assert stream.read(3) == FILES["a/b.csv"][4:7]


def test_a_folder_that_is_not_in_memory_is_never_staged_to(reader: VolumeReader) -> None:
    with pytest.raises(StagingRefused), open_view(View.STAGED, reader, Means(False, MIB, Path("/proc"), False)):
        pass


_STAGE = """
import sys, time
from pathlib import Path
from paddock.seal import DataKey, VolumeReader, in_order, write_volume
from paddock.testing.stores import MemoryStore
from paddock.views.staging import StagedFolder
store, key = MemoryStore(), DataKey.generate()
reader = VolumeReader.open(write_volume(in_order({"f": b"secret"}), key, store).asset, store, key)
staged = StagedFolder(reader, Path("/dev/shm"))
print(staged.path, flush=True)
time.sleep(600)
"""


def test_what_a_killed_process_staged_is_removed_and_what_a_living_one_did_is_not(
    reader: VolumeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen([sys.executable, "-c", _STAGE], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        later = time.time() + 60
        monkeypatch.setattr("paddock.store.memory.time.time", lambda: later)
        assert left not in remove_left(SHM)
        assert (left / "f").read_bytes() == b"secret"
        process.kill()
        process.wait()
        monkeypatch.setattr("paddock.store.memory.time.time", lambda: left.stat().st_ctime + 1)
        assert left not in remove_left(SHM)  # it may be one that is being made
        monkeypatch.setattr("paddock.store.memory.time.time", lambda: later)
        with StagedFolder(reader, SHM):
            assert not left.exists()


def test_folders_of_others_are_never_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paddock.store.memory.time.time", lambda: time.time_ns() / 1e9 + 60)
    kept = [SHM / name for name in ("paddock-my-own-data", "paddock-staged-12-short", "paddock-staged-x-abcdefgh")]
    link = SHM / "paddock-staged-12-abcdefgi"
    target = SHM / "paddock-target"
    try:
        for folder in (*kept, target):
            folder.mkdir()
            (folder / "file").write_bytes(b"mine")
        link.symlink_to(target)
        remove_left(SHM)
        assert all((folder / "file").read_bytes() == b"mine" for folder in (*kept, target))
    finally:
        link.unlink(missing_ok=True)
        for folder in (*kept, target):
            shutil.rmtree(folder, ignore_errors=True)


def test_a_full_memory_folder_is_cleared_of_what_is_left_before_its_room_is_judged(
    reader: VolumeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr("paddock.views.staging.remove_left", lambda _: order.append("removed"))
    real = os.statvfs

    def judged(path: object) -> os.statvfs_result:
        order.append("judged")
        return real(path)  # type: ignore[arg-type]

    monkeypatch.setattr("paddock.views.staging.os.statvfs", judged)
    with StagedFolder(reader, SHM):
        assert order == ["removed", "judged"]


def test_nothing_is_mounted_for_another_user() -> None:
    assert not find_means(by_path=True, room_bytes=MIB, for_another_user=True).can_mount


def test_nothing_is_mounted_where_privileges_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert find_means(by_path=True, room_bytes=MIB, for_another_user=False).can_mount
    program = (
        "import ctypes; ctypes.CDLL(None).prctl(38, 1, 0, 0, 0); import os; os.geteuid = lambda: 1000;"
        "from paddock.views.opening import find_means;"
        "print(find_means(by_path=True, room_bytes=1, for_another_user=False).can_mount)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, check=True)
    assert done.stdout == b"False\n"
