"""A folder as a store: whole or not at all, never overwritten, nothing outside it touched."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paddock.errors import (
    NoSuchObject,
    ObjectExists,
    ObjectNameRefused,
    StoreFull,
    StoreMisbehaved,
    StoreUnreachable,
    StoreUrlInvalid,
)
from paddock.store import FolderStore, HttpStore, open_store


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def _everything(tmp_path: Path) -> list[str]:
    return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())


def test_an_object_is_kept_and_read_in_ranges(store: FolderStore, tmp_path: Path) -> None:
    assert store.put("volumes/ab/payload", [b"0123", bytearray(b"45"), memoryview(b"6789"), b""]) == 10
    assert store.size("volumes/ab/payload") == 10
    assert store.read("volumes/ab/payload", 3, 4) == b"3456"
    assert store.read("volumes/ab/payload", 8, 100) == b"89"
    assert store.read("volumes/ab/payload", 10, 1) == b""
    assert store.read("volumes/ab/payload", 0, 0) == b""
    assert (tmp_path / "store/volumes/ab/payload").stat().st_mode & 0o777 == 0o600
    store.delete("volumes/ab/payload")
    for call in (
        lambda: store.size("volumes/ab/payload"),
        lambda: store.read("volumes/ab/payload", 0, 1),
        lambda: store.delete("volumes/ab/payload"),
        lambda: store.size("volumes/ab/payload/below"),
    ):
        with pytest.raises(NoSuchObject):
            call()


def test_an_object_is_never_overwritten(store: FolderStore, tmp_path: Path) -> None:
    store.put("a", [b"first"])
    with pytest.raises(ObjectExists):
        store.put("a", [b"second"])
    assert store.read("a", 0, 10) == b"first"

    def meanwhile() -> Iterator[bytes]:
        yield b"second"
        store.put("b", [b"first"])

    with pytest.raises(ObjectExists):
        store.put("b", meanwhile())
    assert store.read("b", 0, 10) == b"first"
    assert _everything(tmp_path) == ["store/a", "store/b"]


@pytest.mark.parametrize(
    "name",
    ["", "/a", "a/", "a//b", "..", "a/../b", "a/..", ".hidden", "a/.b", "A", "a b", "a\0", "a\n", "é", "a..b",
     "-a", "x" * 201, "volumes\\a"],
)  # fmt: skip
def test_a_name_that_could_lead_elsewhere_is_refused(store: FolderStore, name: str, tmp_path: Path) -> None:
    for call in (
        lambda: store.put(name, [b"x"]),
        lambda: store.read(name, 0, 1),
        lambda: store.size(name),
        lambda: store.delete(name),
    ):
        with pytest.raises(ObjectNameRefused):
            call()
    assert _everything(tmp_path) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_and_nothing_is_left(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    honest = os.write
    written: list[Any] = []

    def full(descriptor: int, data: Any) -> int:
        if len(written) == 2:
            raise OSError(code, os.strerror(code))
        written.append(data)
        return honest(descriptor, data[:3])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreFull) as refusal:
        store.put("a/b", [b"0123456789"])
    assert str(tmp_path) not in str(refusal.value)
    assert _everything(tmp_path) == []


def test_a_real_full_disk_is_told() -> None:
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("this system has no /dev/full")
    from paddock.store.folder import _told, _write_all

    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(StoreFull), _told("a"):
            _write_all(descriptor, [b"x"])
    finally:
        os.close(descriptor)


def test_writes_that_take_a_part_are_continued(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    honest_write, honest_read = os.write, os.pread
    monkeypatch.setattr(os, "write", lambda descriptor, data: honest_write(descriptor, data[:3]))
    monkeypatch.setattr(os, "pread", lambda descriptor, n, at: honest_read(descriptor, min(n, 4), at))
    assert store.put("a", [b"0123456789"]) == 10
    assert store.read("a", 1, 100) == b"123456789"


def test_a_producer_that_fails_leaves_nothing(store: FolderStore, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x" * 100
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.put("a/b", broken())
    assert _everything(tmp_path) == []


def test_links_pipes_and_folders_are_not_objects(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "store/folder").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "store/link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "store/pipe")
    for name, error in (("folder", StoreMisbehaved), ("link", StoreUnreachable), ("pipe", StoreMisbehaved)):
        with pytest.raises(error):
            store.read(name, 0, 6)
        with pytest.raises(error):
            store.size(name)


def test_everything_is_brought_to_the_disk_before_it_is_named(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a/a", [b"x"])
    steps: list[str] = []
    fsync, link = os.fsync, os.link

    def watched_fsync(descriptor: int) -> None:
        steps.append("fsync")
        fsync(descriptor)

    def watched_link(*arguments: Any, **named: Any) -> None:
        steps.append("link")
        link(*arguments, **named)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "link", watched_link)
    store.put("a/b", [b"x"])
    assert steps == ["fsync", "link", "fsync"]


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EISDIR])
def test_a_file_system_without_nameless_files_does_as_well(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    honest = os.open

    def refusing(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(error, "no")
        return honest(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", refusing)
    assert store.put("a/b", [b"x" * 10]) == 10
    assert store.read("a/b", 0, 20) == b"x" * 10
    with pytest.raises(ObjectExists):
        store.put("a/b", [b"y"])
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["b"]


def test_an_address_leads_to_its_store(tmp_path: Path) -> None:
    store = open_store(f"folder:{tmp_path}/s")
    store.put("a", [b"x"])
    assert (tmp_path / "s/a").read_bytes() == b"x"
    gateway = open_store("http://127.0.0.1:1/v1/store")
    assert isinstance(gateway, HttpStore)
    gateway.close()
    for bad in (
        "", "folder:", "folder:relative", "s3://", "http://", "http:///x", "/srv/x", "http://u:p@host/x",
        "https://host/x?y=1", "https://host/x#y",
    ):  # fmt: skip
        with pytest.raises(StoreUrlInvalid):
            open_store(bad)
