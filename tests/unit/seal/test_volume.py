"""Writing and reading volumes: what comes out is what went in, and what a liar gives is refused."""

from __future__ import annotations

import io
import os
import pickle
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from paddock.crypto.streaming import Buffer, StreamKey, StreamLayout
from paddock.errors import (
    EncodingRefused,
    ManifestMismatch,
    NoSuchFile,
    ObjectOverlong,
    ObjectTruncated,
    PaddockError,
    SealOptionsInvalid,
    SegmentChanged,
    SegmentRefused,
    SinkIncomplete,
    StoreFull,
    StoreUnreachable,
    VolumeIncomplete,
    VolumeTooLarge,
)
from paddock.seal import DataKey, OpenOptions, SealOptions, VolumeReader, in_order, index, pipeline, write_volume
from paddock.seal.memory import open_into, seal_into
from paddock.seal.padding import zeros
from paddock.seal.parallel import for_each
from paddock.seal.tree import build_levels, leaf_hash
from paddock.testing.stores import FullStore, LyingStore, MemoryStore

SEED = random.Random(2)
BIG = SEED.randbytes(100_000)
FILES = {"a": b"alpha", "d/big": BIG, "d/empty": b"", "z": b"omega" * 1000}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def key() -> DataKey:
    return DataKey.generate()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("segment_bytes", [4096, 8192, 1 << 20])
@pytest.mark.parametrize("padding", ["padme", "none"])
def test_what_was_sealed_comes_out(
    store: MemoryStore, key: DataKey, threads: int, segment_bytes: int, padding: Any
) -> None:
    options = SealOptions(segment_bytes, padding, threads)
    sealed = write_volume(in_order(FILES), key, store, options=options)
    assert sealed.stored_bytes == sum(len(data) for data in store.objects.values())
    reader = VolumeReader.open(sealed.asset, store, key, options=OpenOptions(threads=threads))
    assert reader.paths() == list(FILES)
    assert len(reader) == 4
    assert reader.content_bytes == sum(map(len, FILES.values()))
    for path, content in FILES.items():
        assert reader.size(path) == len(content)
        assert reader.open_file(path).read() == content
        assert reader.read(path, 0, 1 << 40) == content
    assert reader.read("d/big", 4000, 50_000) == BIG[4000:54_000]
    assert reader.read("d/big", 99_999, 5) == BIG[-1:]
    assert reader.read("d/big", 200_000, 5) == b""
    reader.verify()


@pytest.mark.parametrize("piece", [1, 777, 4040, 4080, 4081, 30_000])
def test_pieces_of_any_size_give_the_same_and_may_be_reused(store: MemoryStore, key: DataKey, piece: int) -> None:
    content = BIG[:30_000]

    def reused() -> Iterator[memoryview]:
        buffer = bytearray(piece)
        for at in range(0, len(content), piece):
            part = content[at : at + piece]
            buffer[: len(part)] = part
            yield memoryview(buffer)[: len(part)]
            buffer[:] = b"!" * piece

    asset = write_volume([("f", reused())], key, store, options=SealOptions(segment_bytes=4096)).asset
    assert VolumeReader.open(asset, store, key).read("f", 0, 30_000) == content


def test_what_the_store_keeps_shows_neither_names_nor_contents(store: MemoryStore, key: DataKey) -> None:
    files = {"patients/secret-name.csv": b"marker-of-plaintext" * 50}
    sealed = write_volume(in_order(files), key, store)
    kept = b"".join(bytes(data) for data in store.objects.values())
    for trace in (b"secret-name", b"patients", b"marker", key.raw(), key.raw().hex().encode()):
        assert trace not in kept
    assert sorted(store.objects) == sorted(
        [f"volumes/{sealed.volume}/{part}" for part in ("payload", "tree", "index")]
        + ["manifests/" + sealed.asset.removeprefix("sha256:")]
    )


def test_volumes_of_similar_size_look_alike(store: MemoryStore, key: DataKey) -> None:
    sizes = set()
    for length in (100_400, 101_000, 102_000):
        volume = write_volume([("f", [bytes(length)])], key, store).volume
        sizes.add(store.size(f"volumes/{volume}/payload"))
    assert len(sizes) == 1


def test_many_files_are_found_by_reading_one_block(store: MemoryStore, key: DataKey) -> None:
    names = [f"images/{number:06}.png" for number in range(20_000)]
    sealed = write_volume(((name, [name.encode()]) for name in names), key, store, options=SealOptions(65536))
    reader = VolumeReader.open(sealed.asset, store, key, options=OpenOptions(cached_blocks=2))
    for number in (0, 1, 1999, 19_999):
        assert reader.read(names[number], 0, 100) == names[number].encode()
    for missing in ("images", "images/", "images/000001", "", "a", "zzz", "images/000000.png0", "images/020000.png"):
        with pytest.raises(NoSuchFile):
            reader.size(missing)
    assert reader.paths() == names
    assert len(reader._blocks._values) == 2


def test_progress_tells_bytes_that_grow_to_the_whole(store: MemoryStore, key: DataKey) -> None:
    told: list[int] = []
    options = SealOptions(4096, "none")
    asset = write_volume(in_order(FILES), key, store, options=options, progress=told.append).asset
    whole = sum(map(len, FILES.values()))
    assert told == sorted(told)
    assert told[-1] == whole
    told.clear()
    VolumeReader.open(asset, store, key).verify(told.append)
    assert told == sorted(told)
    assert told[-1] == whole


def test_a_file_is_a_python_file(store: MemoryStore, key: DataKey) -> None:
    asset = write_volume([("f", [BIG])], key, store, options=SealOptions(4096)).asset
    file = VolumeReader.open(asset, store, key).open_file("f")
    assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
    assert file.read(10) == BIG[:10]
    assert file.seek(-5, io.SEEK_END) == 99_995
    assert file.tell() == 99_995
    assert file.read() == BIG[-5:]
    assert file.seek(500) == 500
    assert file.seek(20, io.SEEK_CUR) == 520
    assert file.read(70_000) == BIG[520:70_520]
    assert file.seek(1 << 40) == 1 << 40
    assert file.read() == b""
    with pytest.raises(ValueError, match="no such position"):
        file.seek(-1)
    with pytest.raises((ValueError, OSError)):
        file.seek(0, 7)
    with pytest.raises(io.UnsupportedOperation):
        file.write(b"x")
    raw = file.raw  # type: ignore[attr-defined]
    assert raw.name == "f"
    raw.seek(99_000)
    assert raw.readall() == BIG[99_000:]
    file.close()
    for closed in (lambda: raw.seek(0), raw.readall, lambda: raw.readinto(bytearray(1))):
        with pytest.raises(ValueError, match="closed"):
            closed()


def test_text_and_lines_can_be_read(store: MemoryStore, key: DataKey) -> None:
    asset = write_volume([("t.csv", [b"a,b\n1,2\n"])], key, store).asset
    with io.TextIOWrapper(VolumeReader.open(asset, store, key).open_file("t.csv"), encoding="utf-8") as text:
        assert list(text) == ["a,b\n", "1,2\n"]


def test_negative_ranges_are_a_programmers_fault(store: MemoryStore, key: DataKey) -> None:
    reader = VolumeReader.open(write_volume(in_order(FILES), key, store).asset, store, key)
    for offset, length in ((-1, 5), (0, -1)):
        with pytest.raises(ValueError, match="negative"):
            reader.read("a", offset, length)


def test_threads_may_share_a_reader(store: MemoryStore, key: DataKey) -> None:
    asset = write_volume([("f", [BIG])], key, store, options=SealOptions(4096)).asset
    reader = VolumeReader.open(asset, store, key, options=OpenOptions(cached_segments=2, cached_tiles=1))
    places = [SEED.randrange(99_000) for _ in range(400)]
    with ThreadPoolExecutor(8) as pool:
        for at, piece in zip(places, pool.map(lambda at: reader.read("f", at, 1000), places), strict=True):
            assert piece == BIG[at : at + 1000]


LIES = ["vanished", "unreachable", "truncated", "short", "long", "endless", "wrong_range", "flipped", "zeros"]


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("about", ["/payload", "/index", "/tree", ""])
def test_every_lie_of_a_store_is_refused(store: MemoryStore, key: DataKey, about: str, lie: str) -> None:
    asset = write_volume(in_order(FILES), key, store, options=SealOptions(4096)).asset
    with pytest.raises(PaddockError) as refusal:
        VolumeReader.open(asset, LyingStore(store, about, lie), key).verify()
    assert refusal.value.code.startswith("E-STORE-01" if lie == "unreachable" else "E-SEAL-")
    if lie == "vanished":
        assert isinstance(refusal.value, VolumeIncomplete)


@pytest.mark.parametrize("lie", LIES[:1] + LIES[2:])
def test_every_lie_about_the_manifest_is_refused(store: MemoryStore, key: DataKey, lie: str) -> None:
    asset = write_volume(in_order(FILES), key, store).asset
    with pytest.raises((ManifestMismatch, VolumeIncomplete, ObjectTruncated, ObjectOverlong)):
        VolumeReader.open(asset, LyingStore(store, asset[7:], lie), key)


def test_a_store_that_begins_to_lie_is_noticed(store: MemoryStore, key: DataKey) -> None:
    asset = write_volume([("f", [BIG])], key, store, options=SealOptions(4096)).asset
    small = OpenOptions(fetch_bytes=4096, cached_segments=1)
    reader = VolumeReader.open(asset, LyingStore(store, "/payload", "torn", after=17), key, options=small)
    file = reader.open_file("f")
    assert file.read(4000) == BIG[:4000]
    with pytest.raises(SegmentChanged):
        file.read()
    assert reader.read("f", 0, 100) == BIG[:100]


def test_a_vanished_object_is_noticed_while_reading(store: MemoryStore, key: DataKey) -> None:
    sealed = write_volume(in_order(FILES), key, store, options=SealOptions(4096))
    reader = VolumeReader.open(sealed.asset, store, key)
    store.delete(f"volumes/{sealed.volume}/payload")
    with pytest.raises(VolumeIncomplete):
        reader.read("a", 0, 1)


def test_a_full_store_stops_the_writing_and_no_manifest_appears(key: DataKey) -> None:
    honest = MemoryStore()
    whole = write_volume(in_order(FILES), key, honest, options=SealOptions(4096)).stored_bytes
    for room in (0, 5000, whole - 1500, whole - 1):
        store = FullStore(room)
        with pytest.raises(StoreFull):
            write_volume(in_order(FILES), key, store, options=SealOptions(4096))
        assert not any(name.startswith("manifests/") for name in store.objects)


class _Half(MemoryStore):
    def put(self, name: str, chunks: Iterable[Buffer]) -> int:
        next(iter(chunks))
        return 1


class _Miscounting(MemoryStore):
    def put(self, name: str, chunks: Iterable[Buffer]) -> int:
        return super().put(name, chunks) - 1


@pytest.mark.parametrize("sink", [_Half, _Miscounting])
def test_a_sink_that_does_not_take_everything_is_noticed(key: DataKey, sink: Callable[[], MemoryStore]) -> None:
    with pytest.raises(SinkIncomplete):
        write_volume(in_order(FILES), key, sink(), options=SealOptions(4096))


def test_a_producer_that_fails_ends_the_writing(store: MemoryStore, key: DataKey) -> None:
    def broken() -> Iterator[bytes]:
        yield BIG
        raise StoreUnreachable

    with pytest.raises(StoreUnreachable):
        write_volume([("f", broken())], key, store, options=SealOptions(4096))
    assert not store.objects


def test_what_makes_content_is_ended_when_the_writing_fails(key: DataKey) -> None:
    ended: list[int] = []
    kept: list[object] = []

    def content(number: int) -> Iterator[bytes]:
        try:
            while True:
                yield BIG
        finally:
            ended.append(number)

    def files() -> Iterator[tuple[str, Iterator[bytes]]]:
        for number in range(3):
            made = content(number)
            kept.append(made)
            yield f"{number}", made

    for room in (0, 50_000, 500_000):
        with pytest.raises(StoreFull):
            write_volume(files(), key, FullStore(room), options=SealOptions(4096, part_bytes=200_000))
    assert ended == [0, 0, 0]
    assert len(kept) == 3


def test_limits_of_a_volume_are_told(store: MemoryStore, key: DataKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "MAX_STREAM_BYTES", 50_000)
    with pytest.raises(VolumeTooLarge):
        write_volume([("f", [BIG])], key, store, options=SealOptions(4096))
    monkeypatch.setattr(index, "MAX_TABLE_BYTES", 300)
    with pytest.raises(VolumeTooLarge, match="too many parts"):
        write_volume([("f", [bytes(16384)])], key, store, options=SealOptions(4096, part_bytes=4096))
    with pytest.raises(VolumeTooLarge, match="too many files"):
        write_volume([(f"{n:01000}", []) for n in range(300)], key, store, options=SealOptions(4096))


@pytest.mark.parametrize(
    "bad",
    [
        lambda: SealOptions(segment_bytes=1000),
        lambda: SealOptions(padding="much"),  # type: ignore[arg-type]
        lambda: SealOptions(threads=0),
        lambda: SealOptions(threads=1000),
        lambda: OpenOptions(threads=0),
        lambda: OpenOptions(cached_segments=0),
    ],
)
def test_options_out_of_range_are_refused(bad: Callable[[], object]) -> None:
    with pytest.raises(SealOptionsInvalid):
        bad()


def test_a_data_key_does_not_show_itself(key: DataKey) -> None:
    assert repr(key) == "DataKey(…)"
    with pytest.raises(TypeError):
        pickle.dumps(key)
    for length in (0, 31, 33):
        with pytest.raises(EncodingRefused):
            DataKey(bytes(length))
    with pytest.raises(EncodingRefused):
        StreamKey(bytes(31), b"\x28" + bytes(39), b"")


def test_zeros_come_in_pieces() -> None:
    assert b"".join(zeros(200_000)) == bytes(200_000)
    assert list(zeros(0)) == []


def test_the_first_failure_of_many_threads_is_raised() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 5:
            raise StoreUnreachable
        done.append(number)

    with pytest.raises(StoreUnreachable):
        for_each(range(100_000), work, 3)
    assert len(done) < 100_000


def seal_with(key: StreamKey, plain: bytes, stored: bytearray) -> None:
    """Seal again in place, the header left as it is: what an owner does who states another one."""
    layout = StreamLayout(4096, len(stored))
    for number in range(layout.segments):
        start, length = layout.plain_range(number)
        end = sum(layout.sealed_range(number))
        out = memoryview(stored)[end - length - 16 : end]
        key.seal_segment(number, number + 1 == layout.segments, plain[start : start + length], out)


def _root(stored: bytearray) -> bytes:
    pieces = (memoryview(stored)[at : at + 4096] for at in range(0, len(stored), 4096))
    return build_levels(b"".join(leaf_hash(piece) for piece in pieces))[1]


@pytest.mark.parametrize("threads", [1, 3])
def test_from_memory_to_memory(key: DataKey, threads: int) -> None:
    layout = StreamLayout.of_plaintext(4096, len(BIG))
    stored, out = bytearray(layout.sealed_bytes), bytearray(len(BIG))
    facts = seal_into(BIG, memoryview(stored), key, b"label", segment_bytes=4096, threads=threads)
    open_into(stored, memoryview(out), key, b"label", facts, threads=threads)
    assert out == BIG
    cases: list[tuple[type[PaddockError], bytearray, DataKey]] = [
        (ObjectTruncated, stored[:-1], key),
        (ObjectOverlong, stored + b"\0", key),
        (SegmentRefused, stored, DataKey.generate()),
    ]
    for at in (0, 5, 40, 9000, -1):
        changed = bytearray(stored)
        changed[at] ^= 1
        cases.append((SegmentChanged, changed, key))
    for error, data, with_key in cases:
        with pytest.raises(error):
            open_into(data, memoryview(out), with_key, b"label", facts, threads=threads)
        assert error in (ObjectTruncated, ObjectOverlong) or out == bytes(len(BIG))
    header = b"\x28" + bytes(39)
    alien = bytearray(stored)
    seal_with(StreamKey(key.raw(), header, b"label"), BIG, alien)
    other = replace(facts, header=header, root=_root(alien))
    with pytest.raises(SegmentRefused, match="header"):
        open_into(alien, memoryview(out), key, b"label", other, threads=threads)
    with pytest.raises(ValueError, match="buffer"):
        open_into(stored, memoryview(out)[1:], key, b"label", facts, threads=threads)
    with pytest.raises(ValueError, match="buffer"):
        seal_into(BIG, memoryview(stored)[1:], key, b"label", segment_bytes=4096, threads=threads)


def test_random_bytes_are_the_systems(monkeypatch: pytest.MonkeyPatch, store: MemoryStore, key: DataKey) -> None:
    asked: list[int] = []
    honest = os.urandom

    def watched(count: int) -> bytes:
        asked.append(count)
        return honest(count)

    monkeypatch.setattr("paddock.seal.writer.os.urandom", watched)
    write_volume([("a", [bytes(5000)])], key, store, options=SealOptions(4096, part_bytes=4096))
    part = [32, 32, 7]
    assert asked == [16, *part, 16, *part, 32, 7]
