"""Drafts mounted for real: programs write ordinary files, the process is killed at any moment, the store stays sealed."""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from paddock.errors import StoreUnreachable
from paddock.seal import DataKey, VolumeReader, write_volume
from paddock.store.folder import FolderStore
from paddock.testing.stores import FullStore, MemoryStore
from paddock.views.drafts import Draft, DraftFile, DraftOptions
from paddock.views.mount import Mount, mount_draft, remove_stale
from tests.fixtures.fuse import fuse, mountpoint

__all__ = ["fuse", "mountpoint"]
pytestmark = pytest.mark.usefixtures("fuse")
MARK = b"this is plaintext that no disk may see. "


@contextmanager
def mounted(mountpoint: Path, store: MemoryStore | None = None) -> Iterator[tuple[Mount, Draft, MemoryStore]]:
    store = store or MemoryStore()
    draft = Draft.create(store, DataKey.generate(), options=DraftOptions(dirty_bytes=1 << 20, piece_bytes=1 << 18))
    with mount_draft(draft, mountpoint) as mount:
        yield mount, draft, store


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}


def test_what_is_written_is_read_back_and_found_again(mountpoint: Path) -> None:
    with mounted(mountpoint) as (mount, draft, store):
        (mountpoint / "a").mkdir()
        (mountpoint / "a/one").write_bytes(b"1")
        (mountpoint / "a/big").write_bytes(bytes(range(256)) * 20_000)
        with (mountpoint / "a/one").open("ab") as file:
            file.write(b"23")
        with (mountpoint / "a/big").open("r+b") as file:
            file.seek(300_000)
            file.write(b"in the middle")
        os.truncate(mountpoint / "a/one", 10)
        before = tree(mountpoint)
        assert before["a/one"] == b"123" + bytes(7)
        assert not mount.errors
    again = Draft.open(store, draft._key, draft.number, expected=draft.head())
    with mount_draft(again, mountpoint):
        assert tree(mountpoint) == before
    sealed = write_volume(again.files(), key := DataKey.generate(), store)
    reader = VolumeReader.open(sealed.asset, store, key)
    assert {path: reader.read(path, 0, 1 << 30) for path in reader.paths()} == {
        path: data for path, data in before.items() if data is not None
    }


def test_the_same_operations_give_the_same_tree_as_an_ordinary_folder(mountpoint: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    with mounted(mountpoint) as (mount, _, _):
        for seed in range(25):
            chosen = random.Random(seed)
            for _ in range(60):
                state = chosen.getstate()
                results = []
                for root in (mountpoint, plain):
                    chosen.setstate(state)
                    try:
                        results.append(_operation(root, chosen))
                    except OSError as error:
                        results.append(error.errno)
                assert results[0] == results[1]
            assert tree(mountpoint) == tree(plain)
        assert not mount.errors


def _operation(root: Path, chosen: random.Random) -> object:
    names = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a"]
    path, other = root / chosen.choice(names), root / chosen.choice(names)
    kind = chosen.choice(
        ["create", "write", "write", "mkdir", "rmdir", "unlink", "rename", "truncate", "append", "stat"]
    )
    data = chosen.randbytes(chosen.choice([1, 4096, 10_000]))
    offset = chosen.randrange(20_000)
    if kind == "create":
        path.touch(exist_ok=False)
    elif kind == "mkdir":
        path.mkdir()
    elif kind == "rmdir":
        path.rmdir()
    elif kind == "unlink":
        path.unlink()
    elif kind == "rename":
        path.rename(other)
    elif kind == "truncate":
        os.truncate(path, offset)
    elif kind == "stat":
        return None if path.is_dir() else path.stat().st_size
    else:
        flags = os.O_WRONLY | (os.O_APPEND if kind == "append" else 0) | chosen.choice([0, os.O_CREAT, os.O_TRUNC])
        descriptor = os.open(path, flags, 0o600)
        try:
            os.pwrite(descriptor, data, offset)
            if chosen.random() < 0.2:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return None


def test_a_removed_file_can_be_used_while_it_is_open_and_then_its_pieces_go(mountpoint: Path) -> None:
    with mounted(mountpoint) as (_, draft, store):
        path = mountpoint / "gone"
        with path.open("w+b") as file:
            file.write(MARK * 50_000)
            file.flush()
            os.fsync(file.fileno())
            path.unlink()
            sync(mountpoint)
            file.seek(0)
            assert file.read() == MARK * 50_000
            assert file.write(b"x") == 1
        assert not path.exists()
    draft.commit()
    (draft_again := Draft.open(store, draft._key, draft.number)).commit()
    assert list(draft_again.files()) == []
    assert [name for name in store.objects if "/p/" in name] == []


def test_a_folder_with_many_names(mountpoint: Path) -> None:
    with mounted(mountpoint):
        for number in range(2000):
            (mountpoint / f"{number:05d}").touch()
        assert len(list(mountpoint.iterdir())) == 2000
        shutil.rmtree(mountpoint, ignore_errors=True)
        assert list(mountpoint.iterdir()) == []


def test_a_file_mapped_into_memory_is_written_too(tmp_path: Path, mountpoint: Path) -> None:
    with process(tmp_path, mountpoint) as (child, store, key, number):
        with (mountpoint / "m").open("w+b") as file:
            file.truncate(100_000)
            with mmap.mmap(file.fileno(), 100_000) as mapped:
                mapped[50_000:50_005] = b"hello"
                mapped.flush()
            os.fsync(file.fileno())
        child.kill()
        child.wait(15)
        found = Draft.open(store, key, number).find("m")
        assert isinstance(found, DraftFile)
        assert found.content.size == 100_000


@pytest.mark.parametrize(
    ("attempt", "number"),
    [
        (lambda folder: (folder / "l").symlink_to("x"), errno.EPERM),
        (lambda folder: os.link(folder / "f", folder / "l"), errno.EPERM),
        (lambda folder: os.mkfifo(folder / "p"), errno.EPERM),
        (lambda folder: os.setxattr(folder / "f", "user.x", b"1"), errno.EOPNOTSUPP),
        (lambda folder: os.chown(folder / "f", 4242, 4242), errno.EPERM),
        (lambda folder: (folder / ("n" * 256)).touch(), errno.ENAMETOOLONG),
        (lambda folder: os.open(os.fsencode(folder) + b"/\xff", os.O_CREAT | os.O_WRONLY), errno.EILSEQ),
        (lambda folder: (folder / "d").rename(folder / "d/d"), errno.EINVAL),
    ],
)
def test_what_a_draft_does_not_hold(mountpoint: Path, attempt, number: int) -> None:
    with mounted(mountpoint):
        (mountpoint / "f").touch()
        (mountpoint / "d").mkdir()
        with pytest.raises(OSError, match=r"\[Errno") as refused:
            attempt(mountpoint)
        assert refused.value.errno in {number, errno.ENOSYS}


def test_memory_is_bounded_and_the_rest_is_sealed_early(mountpoint: Path) -> None:
    with mounted(mountpoint) as (_, draft, store):
        with (mountpoint / "big").open("wb") as file:
            for _ in range(64):
                file.write(MARK * 3000)
                assert draft.dirty_bytes <= 1 << 20
        assert draft.head().count == 1
        assert [name for name in store.objects if "/p/" in name]
        assert not any(MARK[:12] in bytes(data) for data in store.objects.values())


def test_a_full_store_is_no_space_and_nothing_committed_is_lost(mountpoint: Path) -> None:
    store = FullStore(3 << 20)
    with mounted(mountpoint, store) as (mount, draft, _):
        (mountpoint / "small").write_bytes(b"kept")
        sync(mountpoint / "small")
        with (mountpoint / "big").open("wb", buffering=0) as file:
            big = bytes(8 << 20)
            with pytest.raises(OSError, match="No space") as refused:
                assert [file.write(big) for _ in range(3)] == []
        assert refused.value.errno == errno.ENOSPC
        assert mount.errors[-1].code == "E-STORE-03"
    again = Draft.open(store, draft._key, draft.number)
    small = again.find("small")
    assert isinstance(small, DraftFile)
    assert small.content.size == 4


def test_a_dead_store_is_an_io_error_and_no_hang(mountpoint: Path) -> None:
    class Dying(MemoryStore):
        dead = False

        def put(self, name, chunks):
            if self.dead:
                raise StoreUnreachable
            return super().put(name, chunks)

    store = Dying()
    with mounted(mountpoint, store) as (mount, draft, _):
        (mountpoint / "f").write_bytes(b"one")
        store.dead = True
        with pytest.raises(OSError, match="Input/output"):
            sync(mountpoint / "f")
        assert mount.errors[-1].code == "E-STORE-01"
        store.dead = False
        sync(mountpoint / "f")
        assert (mountpoint / "f").read_bytes() == b"one"
    assert held_names(Draft.open(store, draft._key, draft.number)) == ["f"]


def held_names(draft: Draft) -> list[str]:
    return [path for path, _ in draft.files()]


def test_many_writers_at_once(mountpoint: Path) -> None:
    with mounted(mountpoint) as (mount, draft, _):
        failed = []

        def work(number: int) -> None:
            try:
                for turn in range(20):
                    path = mountpoint / f"w{number}"
                    with path.with_suffix(".tmp").open("wb") as file:
                        file.write(bytes([number]) * (turn * 997))
                        file.flush()
                        os.fsync(file.fileno())
                    path.with_suffix(".tmp").rename(path)
                    assert path.stat().st_size == turn * 997
            except BaseException as error:
                failed.append(error)
                raise

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not failed
        assert not mount.errors
        assert sorted(held_names(draft)) == [f"w{number}" for number in range(6)]


# --- the process is killed ---


@contextmanager
def process(
    tmp_path: Path, mountpoint: Path, made: tuple[FolderStore, DataKey, str] | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], FolderStore, DataKey, str]]:
    if made is None:
        store, key = FolderStore(tmp_path / "store"), DataKey.generate()
        made = (store, key, Draft.create(store, key).number)
    store, key, number = made
    line = {
        "draft": number,
        "store": f"folder:{tmp_path / 'store'}",
        "data_key": key.raw().hex(),
        "mountpoint": str(mountpoint),
    }
    (tmp_path / "own").mkdir(exist_ok=True)
    child = subprocess.Popen(
        [sys.executable, "-m", "paddock.views.mount"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path / "own",
        env={**os.environ, "HOME": str(tmp_path / "own"), "TMPDIR": str(tmp_path / "own")},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(json.dumps(line).encode() + b"\n")
        child.stdin.flush()
        assert "mounted" in json.loads(child.stdout.readline())
        yield child, *made
    finally:
        child.kill()
        child.wait(30)
        child.stdin.close()
        child.stdout.close()
        remove_stale(mountpoint)


def test_a_process_that_is_ended_commits_what_was_only_closed(tmp_path: Path, mountpoint: Path) -> None:
    with process(tmp_path, mountpoint) as (child, store, key, number):
        (mountpoint / "closed").write_bytes(b"not synced")
        still_open = (mountpoint / "open").open("wb", buffering=0)
        still_open.write(b"neither")
        child.terminate()
        assert child.wait(30) == 0
        with contextlib.suppress(OSError):
            still_open.close()
    assert sorted(held_names(Draft.open(store, key, number))) == ["closed", "open"]
