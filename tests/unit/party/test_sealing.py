"""Versions and interrupted sealings: what is stored is not written again, and nothing that was told is lost."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from paddock.crypto.hpke import OpeningKey
from paddock.errors import HomeInvalid, LocalFileRefused, SealingBusy, StoreUnreachable
from paddock.party.sealing import Sealing
from paddock.seal import DataKey, SealOptions, VolumeReader, write_volume
from paddock.seal.writer import Grown, PartDone, Sealed
from paddock.testing.stores import MemoryStore
from paddock.views import local_files

OPTIONS = SealOptions(segment_bytes=4096, part_bytes=16 << 10)
KEY = OpeningKey(bytes(range(32)))


class Owner:
    """One name, sealed again and again from a folder."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "in"
        self.source.mkdir()
        self.file = folder / "sealing" / "records.db"
        self.store = MemoryStore()
        self.random = random.Random(4)
        self.asset, self.data_key = "", DataKey.generate()

    def write(self, name: str, size: int, *, append: bool = False) -> None:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab" if append else "wb") as file:
            file.write(self.random.randbytes(size))

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.source)): path.read_bytes() for path in self.source.rglob("*") if path.is_file()
        }

    def seal(self, *, stop_after: int = -1, store: MemoryStore | None = None) -> Sealed:
        with Sealing(self.file, KEY) as sealing:
            before = VolumeReader.open(self.asset, self.store, self.data_key) if self.asset else None
            sealing.begin(self.asset, "padme", before)
            told = 0

            def note(done: PartDone) -> None:
                nonlocal told
                if told == stop_after:
                    raise StoreUnreachable
                sealing.note(done)
                told += 1

            key = DataKey.generate()
            sealed = write_volume(
                sealing.contents(local_files(self.source)),
                key,
                store or self.store,
                options=OPTIONS,
                known=sealing.parts(),
                part_done=note,
            )
            sealing.finish()
        self.asset, self.data_key = sealed.asset, key
        return sealed

    def check(self) -> None:
        reader = VolumeReader.open(self.asset, self.store, self.data_key)
        assert {file.path: file.open().read() for file in reader.iter_files()} == self.files()
        reader.verify()


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    made = Owner(tmp_path)
    for number in range(30):
        made.write(f"d{number % 3}/{number:02}", 3000 + number)
    made.write("big", 100_000)
    made.write("empty", 0)
    return made


def new_bytes(sealed: Sealed, before: Sealed) -> int:
    known = {part.number for part in before.parts}
    return sum(part.content_bytes for part in sealed.parts if part.number not in known)


def test_a_version_writes_what_is_new(owner: Owner) -> None:
    first = owner.seal()
    owner.check()
    same = owner.seal()
    assert new_bytes(same, first) == 0
    assert same.asset != first.asset
    assert same.written_bytes < 10_000 < same.stored_bytes
    owner.check()
    owner.write("d1/new", 5000)
    owner.write("d0/00", 3000)
    owner.write("big", 700, append=True)
    (owner.source / "d2/02").unlink()
    third = owner.seal()
    assert new_bytes(third, same) == 5000 + 3000 + 700
    owner.check()


def test_renamed_and_copied_and_touched_files_are_not_written_again(owner: Owner) -> None:
    first = owner.seal()
    (owner.source / "big").rename(owner.source / "bigger")
    (owner.source / "d0").rename(owner.source / "e")
    (owner.source / "copy").write_bytes((owner.source / "bigger").read_bytes())
    os.utime(owner.source / "bigger", (1, 1))
    assert new_bytes(owner.seal(), first) == 0
    owner.check()


def test_a_change_that_keeps_size_and_time_is_noticed(owner: Owner) -> None:
    owner.seal()
    path = owner.source / "big"
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    owner.seal()
    owner.check()


def test_a_file_that_changes_between_looking_and_sealing_is_refused(owner: Owner) -> None:
    """Its beginning is taken as stored: what follows must be of the same file."""
    owner.seal()
    owner.write("big", 700, append=True)
    with Sealing(owner.file, KEY) as sealing:
        sealing.begin(owner.asset, "padme", VolumeReader.open(owner.asset, owner.store, owner.data_key))
        contents = sealing.contents(local_files(owner.source))
        path, content = next(row for row in contents if row[0] == "big")
        assert isinstance(content, Grown)
        owner.write(path, 100_700)
        with pytest.raises(LocalFileRefused, match="changed while it was sealed"):
            list(content.chunks)


def test_a_file_that_grew_at_its_front_is_written_anew(owner: Owner) -> None:
    first = owner.seal()
    path = owner.source / "big"
    path.write_bytes(b"front" + path.read_bytes())
    assert new_bytes(owner.seal(), first) == 100_005
    owner.check()


def test_a_sealing_that_broke_off_goes_on_at_the_last_part(owner: Owner) -> None:
    """Wherever it breaks off, content that a whole part holds is not taken again."""
    total = sum(map(len, owner.files().values()))
    for stop_after in range(12):
        owner.file.unlink(missing_ok=True)
        owner.asset = ""
        with pytest.raises(StoreUnreachable):
            owner.seal(stop_after=stop_after)
        sealed = owner.seal()
        again = sum(part.content_bytes for part in sealed.parts[stop_after:])
        assert again == total - stop_after * OPTIONS.part_bytes
        owner.check()
        assert not owner.file.exists()


def test_it_may_break_off_many_times(owner: Owner) -> None:
    for _ in range(8):
        with pytest.raises(StoreUnreachable):
            owner.seal(stop_after=1)
    sealed = owner.seal()
    assert len({part.number for part in sealed.parts}) == len(sealed.parts) == 12
    owner.check()


def test_files_that_changed_meanwhile_are_taken_as_they_are(owner: Owner) -> None:
    with pytest.raises(StoreUnreachable):
        owner.seal(stop_after=9)
    owner.write("big", 100_000)
    owner.write("d0/00", 17)
    owner.seal()
    owner.check()


def test_a_part_that_was_not_finished_is_never_gone_on_with(owner: Owner) -> None:
    """Its key is gone: no nonce meets a second plaintext."""
    with pytest.raises(StoreUnreachable):
        owner.seal(stop_after=3)
    left = {name for name in owner.store.objects if name.endswith("payload")}
    sealed = owner.seal()
    kept = {f"volumes/{part.number}/payload" for part in sealed.parts}
    assert 1 <= len(left - kept) <= 2


def test_the_file_holds_no_key_that_others_could_use(owner: Owner) -> None:
    keys: list[bytes] = []
    with Sealing(owner.file, KEY) as sealing:
        sealing.begin("", "padme", None)

        def note(done: PartDone) -> None:
            keys.append(done.part.key)
            sealing.note(done)

        write_volume(sealing.contents(local_files(owner.source)), DataKey.generate(), owner.store,
                     options=OPTIONS, part_done=note)  # fmt: skip
        assert [part.key for part in sealing.parts()] == keys
    stored = b"".join(path.read_bytes() for path in owner.file.parent.iterdir())
    assert not any(key in stored for key in keys)
    assert owner.file.stat().st_mode & 0o777 == 0o600
    with Sealing(owner.file, OpeningKey.generate()) as other, pytest.raises(HomeInvalid, match="damaged"):
        other.parts()


def test_two_commands_do_not_seal_one_name_at_once(owner: Owner) -> None:
    with Sealing(owner.file, KEY), pytest.raises(SealingBusy):
        Sealing(owner.file, KEY)
    Sealing(owner.file, KEY).close()


def test_another_version_before_starts_anew(owner: Owner) -> None:
    with pytest.raises(StoreUnreachable):
        owner.seal(stop_after=3)
    with Sealing(owner.file, KEY) as sealing:
        assert len(sealing.parts()) == 3
        sealing.begin("", "none", None)
        assert sealing.parts() == ()


def test_a_damaged_file_is_told(owner: Owner) -> None:
    owner.file.parent.mkdir()
    owner.file.write_bytes(b"not a database, whatever it is" * 100)
    with pytest.raises(HomeInvalid, match="remove the file"):
        Sealing(owner.file, KEY)


def test_files_that_come_and_go_while_they_are_sealed_are_noticed(owner: Owner) -> None:
    listed = local_files(owner.source)
    (owner.source / "d2/29").unlink()
    with pytest.raises(LocalFileRefused, match="when it was listed"):
        write_volume(listed, DataKey.generate(), owner.store, options=OPTIONS)
    listed = local_files(owner.source)
    pieces = next(file for file in listed.each() if file.name == "big").pieces()
    next(pieces)
    owner.write("big", 5, append=True)
    with pytest.raises(LocalFileRefused, match="changed while"):
        list(pieces)
