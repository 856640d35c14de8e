"""Folders in, folders out: nothing is sealed that the owner did not put there, nothing written outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paddock.errors import LocalFileRefused, NoSuchFile, PathRefused, SegmentChanged
from paddock.seal import DataKey, OpenOptions, SealOptions, VolumeReader, in_order, write_volume
from paddock.testing.stores import LyingStore, MemoryStore
from paddock.views import VolumeFiles, local_files, write_folder

KEY = DataKey(bytes(range(32)))


def _volume(files: dict[str, bytes], store: MemoryStore | None = None) -> VolumeReader:
    kept = MemoryStore() if store is None else store
    asset = write_volume(in_order(files), KEY, kept, options=SealOptions(4096)).asset
    return VolumeReader.open(asset, kept, KEY)


def test_a_folder_goes_in_and_comes_out_the_same(tmp_path: Path) -> None:
    source = tmp_path / "in"
    files = {"z": b"1", "a/b": b"2" * 10_000, "a-b": b"3", "é/ü": b"4", "empty": b"", "B": b"6"}
    for name, content in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    (source / "no-files-here").mkdir()
    listed = local_files(source)
    assert [file.name for file in listed.each()] == sorted(files)
    assert listed.total_bytes == sum(map(len, files.values()))
    store = MemoryStore()
    asset = write_volume(listed, KEY, store).asset
    told: list[int] = []
    reader = VolumeReader.open(asset, store, KEY)
    written = write_folder(reader, tmp_path / "out", overwrite=False, progress=told.append)
    assert told[-1] == listed.total_bytes
    assert {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in written} == files
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600}
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == len(files)


def test_a_single_file_bears_its_name(tmp_path: Path) -> None:
    (tmp_path / "records.csv").write_bytes(b"x")
    assert [file.name for file in local_files(tmp_path / "records.csv").each()] == ["records.csv"]


def test_a_link_inside_the_folder_is_its_file(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "a/b/link").symlink_to("../../file")
    store = MemoryStore()
    asset = write_volume(local_files(tmp_path), KEY, store).asset
    assert VolumeReader.open(asset, store, KEY).read("a/b/link", 0, 10) == b"content"


def test_holes_of_a_file_are_zeros(tmp_path: Path) -> None:
    content = bytearray(9 << 20)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(len(content))
        for at in (0, 3_000_000, 5 << 20, (9 << 20) - 7):
            file.seek(at)
            file.write(b"content")
            content[at : at + 7] = b"content"
    assert (tmp_path / "sparse").stat().st_blocks * 512 < len(content)
    [file_] = local_files(tmp_path).each()
    assert b"".join(file_.pieces()) == content
    for start in (1, 3_000_003, 8 << 20, len(content)):
        assert b"".join(file_.pieces(start)) == content[start:]
    (tmp_path / "hole").touch()
    os.truncate(tmp_path / "hole", 3_000_000)
    assert b"".join(next(local_files(tmp_path).each()).pieces(5)) == bytes(2_999_995)


def test_links_that_lead_out_and_special_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "good").write_bytes(b"")
    for number, target in enumerate(["../secret", "/etc/hostname", "missing", "folder", "link"]):
        link = root / "link"
        link.symlink_to(target)
        with pytest.raises(LocalFileRefused):
            local_files(root)
        link.unlink()
        assert number < 5
    os.mkfifo(root / "pipe")
    with pytest.raises(LocalFileRefused, match="pipe"):
        local_files(root)
    with pytest.raises(LocalFileRefused, match="neither"):
        local_files(root / "pipe")


def test_what_cannot_be_listed_is_told(tmp_path: Path) -> None:
    with pytest.raises(LocalFileRefused):
        local_files(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LocalFileRefused, match="no file"):
        local_files(tmp_path / "empty")
    (tmp_path / "names").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "names") + b"/\xff")).write_bytes(b"")
    with pytest.raises(PathRefused):
        local_files(tmp_path / "names")
    deep = tmp_path / "deep"
    for _ in range(6):
        deep = deep / ("d" * 200)
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"")
    with pytest.raises(PathRefused):
        local_files(tmp_path / "deep")


def test_a_file_that_turned_into_something_else_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"x")
        listed = local_files(tmp_path)
        (tmp_path / name).unlink()
        if name == "a":
            os.mkfifo(tmp_path / name)
        elif name == "b":
            (tmp_path / name).symlink_to("/etc/hostname")
        with pytest.raises(LocalFileRefused):
            write_volume(listed, KEY, MemoryStore())
        (tmp_path / name).unlink(missing_ok=True)


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    reader = _volume({"a": b"new", "b": b"new"})
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(LocalFileRefused, match="already"):
        write_folder(reader, tmp_path, overwrite=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b"]
    write_folder(reader, tmp_path, overwrite=True)
    assert (tmp_path / "b").read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_file_that_came_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    reader = _volume({"a": b"new"})

    def meanwhile(done: int) -> None:
        (tmp_path / "a").write_bytes(b"old")

    with pytest.raises(LocalFileRefused):
        write_folder(reader, tmp_path, overwrite=False, progress=meanwhile)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("overwrite", [True, False])
def test_links_on_the_disk_do_not_lead_out(tmp_path: Path, overwrite: bool) -> None:
    reader = _volume({"d/e/f": b"new", "g": b"new"})
    (tmp_path / "elsewhere").mkdir()
    for name, target in (("d", "elsewhere"), ("g", "elsewhere/g"), ("g", "elsewhere")):
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        (out / name).symlink_to(tmp_path / target)
        with pytest.raises(LocalFileRefused):
            write_folder(reader, out, overwrite=overwrite)
        (out / name).unlink()
    (out / "d").write_bytes(b"a file")
    with pytest.raises(LocalFileRefused, match="folder is needed"):
        write_folder(reader, out, overwrite=overwrite)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_made_into_a_link_while_writing_is_not_followed(tmp_path: Path) -> None:
    reader = _volume({"a": b"1", "d/b": b"2"})
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "out"

    def trick(done: int) -> None:
        if not (out / "d").exists():
            (out / "d").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(LocalFileRefused):
        write_folder(reader, out, overwrite=True, progress=trick)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_bad_volume_leaves_no_half_file(tmp_path: Path) -> None:
    store = MemoryStore()
    asset = write_volume([("a", [bytes(50_000)])], KEY, store, options=SealOptions(4096)).asset
    reader = VolumeReader.open(
        asset, LyingStore(store, "/payload", "torn", after=4), KEY, options=OpenOptions(fetch_bytes=4096)
    )
    with pytest.raises(SegmentChanged):
        write_folder(reader, tmp_path, overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_files_of_a_volume_as_jobs_see_them() -> None:
    files = VolumeFiles(_volume({"a": b"alpha", "b": b""}))
    assert files.names() == ["a", "b"]
    assert files.size("a") == 5
    with files.open("a") as file:
        assert file.read() == b"alpha"
    with pytest.raises(NoSuchFile):
        files.open("c")
    with pytest.raises(NoSuchFile):
        files.size("../a")
