"""One test or more per rule of docs/spec/sealed-volume.md; each tries to break its rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from blake3 import blake3

from paddock.crypto.canonical import canonical
from paddock.crypto.digest import sha256_id
from paddock.crypto.hpke import OpeningKey
from paddock.crypto.streaming import HEADER_BYTES, StreamKey, StreamLayout, derive
from paddock.errors import (
    EncodingRefused,
    IndexRefused,
    ManifestMismatch,
    ManifestRefused,
    ObjectOverlong,
    ObjectSwapped,
    ObjectTruncated,
    PaddingRefused,
    PathRefused,
    SealOptionsInvalid,
    SegmentChanged,
    SegmentMisplaced,
    SegmentRefused,
    TagRefused,
    TreeChanged,
    UnwrapRefused,
    VolumeTooLarge,
    WrongDataKey,
)
from paddock.seal import DataKey, OpenOptions, SealOptions, VolumeReader, in_order, pipeline, write_volume
from paddock.seal.blobs import index_name, manifest_name, payload_name, tree_name
from paddock.seal.index import FOOTER_BYTES, MAX_BLOCK_BYTES
from paddock.seal.manifest import Manifest
from paddock.seal.padding import padded_length
from paddock.seal.writer import stream_label
from paddock.testing.stores import LyingStore, MemoryStore
from paddock.testing.volumes import RawIndex, forge_volume, raw_entry, raw_index

SMALL = SealOptions(segment_bytes=4096)
FILES = {"a.txt": b"alpha", "d/b.bin": bytes(range(256)) * 100, "d/empty": b"", "e": b"x" * 5000}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def key() -> DataKey:
    return DataKey(bytes(range(32)))


def _change(store: MemoryStore, name: str, change: Callable[[bytearray], object]) -> None:
    data = bytearray(store.objects[name])
    change(data)
    store.objects[name] = bytes(data)


def _flip(at: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        data[at] ^= 1

    return change


def _swap_segments(data: bytearray) -> None:
    data[4096:8192], data[8192:12288] = data[8192:12288], data[4096:8192]


def _opened(asset: str, store: Any, key: DataKey) -> VolumeReader:
    return VolumeReader.open(asset, store, key)


def test_s1_an_id_of_another_form_is_refused(store: MemoryStore, key: DataKey) -> None:
    asset = write_volume(in_order(FILES), key, store).asset
    for bad in (asset.removeprefix("sha256:"), asset.upper(), asset[:-1], asset + "0", "sha512:" + asset[7:], ""):
        with pytest.raises(EncodingRefused):
            _opened(bad, store, key)


def test_s2_the_same_files_give_other_volumes_each_time(store: MemoryStore, key: DataKey) -> None:
    sealed = [write_volume(in_order(FILES), key, store) for _ in range(2)]
    assert sealed[0].volume != sealed[1].volume
    assert store.objects[payload_name(sealed[0].volume)] != store.objects[payload_name(sealed[1].volume)]
    assert DataKey.generate().raw() != DataKey.generate().raw()


def test_s2_every_part_has_a_number_and_a_key_of_its_own(store: MemoryStore, key: DataKey) -> None:
    options = SealOptions(segment_bytes=4096, part_bytes=4096)
    sealed = [write_volume([("a", [bytes(20_000)])], key, store, options=options) for _ in range(2)]
    parts = [part for each in sealed for part in each.parts]
    assert len(parts) == 10
    for values in ({part.number for part in parts}, {part.key for part in parts} | {key.raw()}):
        assert len(values) >= 10
    assert sealed[0].parts[0].number == sealed[0].volume
    assert len({bytes(store.objects[payload_name(part.number)]) for part in parts}) == 10


def test_s3_another_manifest_is_refused_even_of_the_same_owner(store: MemoryStore, key: DataKey) -> None:
    old = write_volume(in_order({"a": b"old"}), key, store)
    new = write_volume(in_order({"a": b"new"}), key, store)
    store.objects[manifest_name(new.asset)] = old.manifest
    with pytest.raises(ManifestMismatch):
        _opened(new.asset, store, key)


def test_s3_no_endless_manifest_is_fetched(store: MemoryStore, key: DataKey) -> None:
    asset = sha256_id(b" " * 5000)
    store.objects[manifest_name(asset)] = b" " * 5000
    with pytest.raises(ManifestMismatch):
        _opened(asset, store, key)


def test_s4_a_stream_opens_neither_as_another_nor_in_another_volume(store: MemoryStore, key: DataKey) -> None:
    def as_index(stream: str, header: bytes) -> StreamKey:
        return StreamKey(key.raw(), header, stream_label("00" * 16, stream))

    with pytest.raises(SegmentRefused):
        _opened(forge_volume(b"", raw_index([]), key, store, stream_key=as_index), store, key)


def test_s5_a_header_of_another_form_is_refused() -> None:
    for header in (bytes(HEADER_BYTES), b"\x28" + bytes(38), b"\x28" + bytes(40), b"\x29" + bytes(39), b""):
        with pytest.raises(EncodingRefused):
            StreamKey(bytes(32), header, b"")


def test_s6_a_segment_opens_at_its_place_alone() -> None:
    key = StreamKey(bytes(32), b"\x28" + bytes(39), b"label")
    sealed = bytearray(32)
    key.seal_segment(5, False, b"p" * 16, memoryview(sealed))
    out = memoryview(bytearray(16))
    for number, last in ((4, False), (5, True), (6, False)):
        with pytest.raises(TagRefused):
            key.open_segment(number, last, sealed, out)
    key.open_segment(5, False, sealed, out)
    assert out == b"p" * 16


def test_s6_a_writer_stops_before_a_number_comes_twice(
    store: MemoryStore, key: DataKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "MAX_SEGMENTS", 3)
    with pytest.raises(VolumeTooLarge):
        write_volume([("a", [bytes(20_000)])], key, store, options=SMALL)
    assert not store.objects


@pytest.mark.parametrize("length", [0, 55, 4096 + 1, 4096 + 16, 2 * 4096 + 16])
def test_s7_a_length_that_no_stream_has_is_refused(length: int) -> None:
    with pytest.raises(EncodingRefused):
        StreamLayout(4096, length)


@pytest.mark.parametrize("segment_bytes", [2048, 4097, 12288, 8 << 20, True, -4096])
def test_s7_a_segment_size_that_is_not_allowed_is_refused(segment_bytes: int) -> None:
    with pytest.raises(EncodingRefused):
        StreamLayout(segment_bytes, 4096)


def test_s7_a_stream_longer_than_can_be_counted_is_refused() -> None:
    with pytest.raises(VolumeTooLarge):
        StreamLayout(4096, 4096 * (1 << 32) + 17)
    with pytest.raises(VolumeTooLarge):
        StreamLayout(4 << 20, 1 << 53)


def test_s8_no_byte_of_a_refused_segment_comes_out(store: MemoryStore, key: DataKey) -> None:
    sealed = write_volume([("a", [b"s" * 9000])], key, store, options=SMALL)
    reader = _opened(sealed.asset, store, key)
    _change(store, payload_name(sealed.volume), _flip(5000))
    out = bytearray(9000)
    with reader.open_file("a") as file, pytest.raises(SegmentChanged):
        file.readinto(out)  # type: ignore[attr-defined]
    # Segment 1 was changed: what stands before it may be there, nothing of it is.
    start, length = StreamLayout(4096, 9000).plain_range(1)
    assert out[start : start + length] == bytes(len(out[start : start + length]))
    with pytest.raises(SegmentChanged):
        reader.read("a", 8000, 1)


@pytest.mark.parametrize("at", [0, 39, 40, 4095, 4096, -1])
def test_s9_a_changed_byte_is_refused(store: MemoryStore, key: DataKey, at: int) -> None:
    sealed = write_volume([("a", [bytes(30_000)])], key, store, options=SMALL)
    _change(store, payload_name(sealed.volume), _flip(at))
    reader = _opened(sealed.asset, store, key)
    with pytest.raises((SegmentChanged, ObjectSwapped)):
        reader.verify()


def test_s9_reordered_segments_are_refused_and_called_so(store: MemoryStore, key: DataKey) -> None:
    sealed = write_volume([("a", [bytes(30_000)])], key, store, options=SMALL)
    _change(store, payload_name(sealed.volume), _swap_segments)
    with pytest.raises(SegmentMisplaced):
        _opened(sealed.asset, store, key).read("a", 5000, 1)


def test_s9_an_object_of_another_volume_is_refused_and_called_so(store: MemoryStore, key: DataKey) -> None:
    first = write_volume([("a", [bytes(30_000)])], key, store, options=SMALL)
    second = write_volume([("a", [bytes(30_000)])], key, store, options=SMALL)
    for name in (payload_name, index_name):
        liar = LyingStore(store, name(first.volume), "swapped", instead=name(second.volume))
        with pytest.raises(ObjectSwapped):
            _opened(first.asset, liar, key).read("a", 5000, 1)


def test_s9_the_owner_cannot_exchange_bytes_after_the_fact(store: MemoryStore, key: DataKey) -> None:
    sealed = write_volume([("a", [b"signed" * 100])], key, store, options=SMALL)
    stored = bytearray(store.objects[payload_name(sealed.volume)])
    # The owner holds the key, so every tag is right.
    owner = StreamKey(sealed.parts[0].key, bytes(stored[:40]), stream_label(sealed.volume, "payload"))
    plain = b"forged" * 100 + bytes(padded_length(600, "padme") - 600)
    owner.seal_segment(0, True, plain, memoryview(stored)[40:])
    store.objects[payload_name(sealed.volume)] = bytes(stored)
    with pytest.raises(SegmentChanged):
        _opened(sealed.asset, store, key).read("a", 0, 6)


@pytest.mark.parametrize("at", [0, 31, 8191, 8192, 300 * 32, -1, -33])
def test_s10_a_changed_tree_is_refused(store: MemoryStore, key: DataKey, at: int) -> None:
    # 300 segments: two tiles and a level above them.
    sealed = write_volume([("a", [bytes(300 * 4080 - 40)])], key, store, options=SealOptions(4096, "none"))
    _change(store, tree_name(sealed.volume), _flip(at))
    with pytest.raises(TreeChanged):
        _opened(sealed.asset, store, key).verify()


def test_s10_one_byte_takes_one_segment_and_one_tile_of_each_level(store: MemoryStore, key: DataKey) -> None:
    sealed = write_volume([("a", [bytes(300 * 4080 - 40)])], key, store, options=SealOptions(4096, "none"))
    reads: list[tuple[str, int]] = []

    class Watched(MemoryStore):
        def read(self, name: str, offset: int, length: int) -> Any:
            reads.append((name.rsplit("/", maxsplit=1)[-1], length))
            return store.read(name, offset, length)

        def size(self, name: str) -> int:
            return store.size(name)

    reader = _opened(sealed.asset, Watched(), key)
    reads.clear()
    reader.read("a", 299 * 4080, 1)
    assert sorted(reads) == [("payload", 4096), ("tree", 64), ("tree", 44 * 32)]


def test_s11_the_tree_is_laid_out_as_written(store: MemoryStore, key: DataKey) -> None:
    sealed = write_volume([("a", [bytes(300 * 4080 - 40)])], key, store, options=SealOptions(4096, "none"))

    def hashed(data: bytes, what: str) -> bytes:
        return blake3(data, derive_key_context="paddock 2026 sealed volume v1 " + what).digest()

    payload = bytes(store.objects[payload_name(sealed.volume)])
    index = bytes(store.objects[index_name(sealed.volume)])
    leaves = b"".join(hashed(payload[at : at + 4096], "segment") for at in range(0, len(payload), 4096))
    above = hashed(leaves[:8192], "tile level 0") + hashed(leaves[8192:], "tile level 0")
    assert store.objects[tree_name(sealed.volume)] == leaves + above
    assert sealed.parts[0].facts.root == hashed(above, "tile level 1")
    manifest = json.loads(sealed.manifest)
    index_leaf = hashed(index[:-32], "segment")
    assert len(index) == manifest["index"]["bytes"] + 32
    assert index[-32:] == index_leaf
    assert manifest["index"]["root"] == hashed(index_leaf, "tile level 0").hex()


def test_s12_a_header_that_is_not_the_manifests_is_refused(store: MemoryStore, key: DataKey) -> None:
    def change(value: dict[str, Any]) -> None:
        value["index"]["header"] = "28" + "00" * 39

    with pytest.raises(SegmentRefused):
        _opened(forge_volume(b"", raw_index([]), key, store, change_manifest=change), store, key)


def test_s12_a_stream_that_opens_but_begins_with_another_header_is_refused(store: MemoryStore, key: DataKey) -> None:
    stated = b"\x28" + bytes(39)

    def as_stated(stream: str, header: bytes) -> StreamKey:
        return StreamKey(key.raw(), stated, stream_label("01" * 16, stream))

    asset = forge_volume(
        b"", raw_index([]), key, store, entropy=lambda count: b"\1" * count, stream_key=as_stated,
        change_manifest=lambda value: value["index"].update(header=stated.hex()),
    )  # fmt: skip
    with pytest.raises(SegmentRefused, match="header"):
        _opened(asset, store, key)


@pytest.mark.parametrize(
    "write",
    [
        lambda value: json.dumps(value).encode(),
        lambda value: canonical(value) + b"\n",
        lambda value: canonical(value).replace(b'{"format"', b'{"format":"","format"', 1),
        lambda value: canonical([value]),
        lambda value: b"\xff" + canonical(value),
    ],
    ids=["spaces", "newline", "twice", "list", "not-utf8"],
)
def test_s13_a_manifest_in_another_form_is_refused(
    store: MemoryStore, key: DataKey, write: Callable[[dict[str, Any]], bytes]
) -> None:
    with pytest.raises(ManifestRefused):
        _opened(forge_volume(b"", raw_index([]), key, store, write_manifest=write), store, key)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "paddock/volume/v2"},
        {"format": None},
        {"extra": 1},
        {"volume": "0" * 31},
        {"volume": "G" * 32},
        {"volume": 5},
        {"segment_bytes": 5000},
        {"segment_bytes": 4096.5},
        {"segment_bytes": True},
        {"padding": "some"},
        {"key_commitment": "00"},
        {"key_commitment": "A" * 64},
        {"key_commitment": 7},
        {"index": {}},
        {"index": None},
        {"index.bytes": "104"},
        {"index.bytes": 104.5},
        {"index.bytes": 40},
        {"index.bytes": 4096 + 16},
        {"index.bytes": (1 << 53) - 1},
        {"index.segments": 2},
        {"index.segments": True},
        {"index.header": "27" + "00" * 39},
        {"index.header": "28" + "00" * 38},
        {"index.root": "00" * 31},
        {"index.more": 1},
    ],
    ids=str,
)
def test_s14_members_that_no_writer_writes_are_refused(
    store: MemoryStore, key: DataKey, change: dict[str, Any]
) -> None:
    def apply(value: dict[str, Any]) -> None:
        for path, new in change.items():
            *above, last = path.split(".")
            (value[above[0]] if above else value)[last] = new

    with pytest.raises(ManifestRefused):
        _opened(forge_volume(b"", raw_index([]), key, store, change_manifest=apply), store, key)


@pytest.mark.parametrize("member", ["format", "index", "key_commitment", "padding", "segment_bytes", "volume"])
def test_s14_a_manifest_that_lacks_a_member_is_refused(store: MemoryStore, key: DataKey, member: str) -> None:
    asset = forge_volume(b"", raw_index([]), key, store, change_manifest=lambda value: value.pop(member))
    with pytest.raises(ManifestRefused):
        _opened(asset, store, key)


def test_s15_another_key_is_called_so_before_any_segment_is_read(store: MemoryStore, key: DataKey) -> None:
    sealed = write_volume(in_order(FILES), key, store)
    for name in (payload_name, index_name, tree_name):
        del store.objects[name(sealed.volume)]
    with pytest.raises(WrongDataKey):
        _opened(sealed.asset, store, DataKey(bytes(32)))


def test_s15_the_commitment_is_the_stated_one(store: MemoryStore, key: DataKey) -> None:
    sealed = write_volume(in_order(FILES), key, store)
    info = f"paddock/volume/v1/{sealed.volume}/key-commitment".encode()
    assert Manifest.from_bytes(sealed.manifest).key_commitment == derive(key.raw(), info)


def test_s16_a_volume_without_files_is_whole_and_has_no_content(store: MemoryStore, key: DataKey) -> None:
    reader = _opened(write_volume([], key, store).asset, store, key)
    reader.verify()
    assert (reader.paths(), len(reader), reader.content_bytes) == ([], 0, 0)
    for index in (
        raw_index([], trailing=b"x"),
        raw_index([], change_footer=lambda footer: footer.__setitem__(2, 5)),
        raw_index([[(b"a", 0, 0)]], change_footer=lambda footer: footer.__setitem__(1, 0)),
    ):
        with pytest.raises(IndexRefused):
            _opened(forge_volume(b"", index, key, store), store, key)


BAD_PATHS = ["", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\0b", "x" * 1025, "\udc80"]


@pytest.mark.parametrize("path", BAD_PATHS, ids=repr)
def test_s17_a_path_that_leads_elsewhere_is_refused(store: MemoryStore, key: DataKey, path: str) -> None:
    with pytest.raises(PathRefused):
        write_volume([(path, [b""])], key, store)
    raw = path.encode("utf-8", "surrogateescape")
    reader_refuses(store, key, raw_index([[(raw, 0, 0)]]))


def reader_refuses(
    store: MemoryStore, key: DataKey, index: bytes | RawIndex, payload: bytes = b"", padding: Any = "none", **more: Any
) -> None:
    with pytest.raises(IndexRefused):
        _opened(forge_volume(payload, index, key, store, padding=padding, **more), store, key).verify()


@pytest.mark.parametrize(
    "paths", [["b", "a"], ["a", "a"], ["a", "a/b"], ["a", "a-b", "a/b"], ["a/b", "a/b/c/d"]], ids=str
)
def test_s18_paths_that_clash_or_are_out_of_order_are_refused(
    store: MemoryStore, key: DataKey, paths: list[str]
) -> None:
    with pytest.raises(PathRefused):
        write_volume([(path, [b""]) for path in paths], key, store)
    index = raw_index([[(path.encode(), 0, 0) for path in paths]])
    reader_refuses(store, key, index)
    with pytest.raises(IndexRefused):
        _opened(forge_volume(b"", index, key, store), store, key).size(paths[-1])


def _full_block(first: int, path: str = "p{:08}") -> list[tuple[bytes, int, int]]:
    """As many entries of empty files as fit into a block."""
    size = len(raw_entry(path.format(0).encode(), []))
    return [(path.format(first + n).encode(), 0, 0) for n in range(MAX_BLOCK_BYTES // size)]


def test_s18_a_file_that_is_a_directory_in_another_block_is_refused(store: MemoryStore, key: DataKey) -> None:
    # "p", then thousands of "p-…", then "p/x": the two that clash stand two blocks apart.
    between = [(f"p-{n:07}".encode(), 0, 0) for n in range(800)]
    entries = [(b"p", 0, 0), *between, (b"p/x", 0, 0)]
    blocks: list[list[tuple[bytes, int, int]]] = [[]]
    size = 0
    for entry in entries:
        length = len(raw_entry(entry[0], []))
        if size + length > MAX_BLOCK_BYTES:
            blocks.append([])
            size = 0
        blocks[-1].append(entry)
        size += length
    assert len(blocks) == 3
    reader = _opened(forge_volume(b"", raw_index(blocks), key, store), store, key)
    assert reader.size("p-0000400") == 0
    for path in ("p", "p/x"):
        with pytest.raises(IndexRefused):
            reader.size(path)
    for everything in (
        reader.paths,
        reader.verify,
        lambda: list(reader.iter_files()),
        lambda: list(reader.iter_files("p")),
        lambda: list(reader.iter_directory()),
        lambda: list(reader.iter_directory("p")),
        lambda: list(reader.iter_stored()),
    ):
        with pytest.raises(IndexRefused):
            everything()


def _set(at: int, value: Any) -> Callable[[list[Any]], None]:
    def change(row: list[Any]) -> None:
        row[at] = value

    return change


ONE = [[(b"a", 0, 3), (b"b", 3, 2)]]


@pytest.mark.parametrize(
    "change",
    [
        _set(0, b"PDKINDX2"),
        _set(1, 3),
        _set(2, 4),
        _set(2, 6),
        _set(3, 37),
        _set(3, 1 << 63),
        _set(4, 24),
        _set(5, 0),
        _set(5, 2),
        _set(5, 3),
        _set(6, 0),
        _set(6, 2),
        _set(6, 1 << 60),
    ],
)
def test_s19_a_footer_that_does_not_fit_is_refused(
    store: MemoryStore, key: DataKey, change: Callable[[list[Any]], None]
) -> None:
    assert _opened(forge_volume(b"12345", raw_index(ONE), key, store), store, key).paths() == ["a", "b"]
    reader_refuses(store, key, raw_index(ONE, change_footer=change), b"12345")


def test_s19_an_index_without_room_for_a_footer_is_refused(store: MemoryStore, key: DataKey) -> None:
    reader_refuses(store, key, bytes(FOOTER_BYTES - 1))
    reader_refuses(store, key, raw_index(ONE, after=b"\0"), b"12345")


def test_s19_a_fence_table_that_would_not_fit_into_memory_is_refused(store: MemoryStore, key: DataKey) -> None:
    blocks = [[(b"%06d" % n + b"x" * 1018, 0, 0)] for n in range(17_000)]
    asset = forge_volume(b"", raw_index(blocks), key, store, segment_bytes=1 << 20)
    with pytest.raises(IndexRefused, match="too large"):
        _opened(asset, store, key)


def test_s19_a_part_table_that_would_not_fit_into_memory_is_refused(store: MemoryStore, key: DataKey) -> None:
    def many(rows: list[list[Any]]) -> None:
        rows.extend([n.to_bytes(16, "big"), *rows[0][1:]] for n in range(120_000))

    asset = forge_volume(b"12345", raw_index(ONE, change_parts=many), key, store, segment_bytes=1 << 20)
    with pytest.raises(IndexRefused, match="too large"):
        _opened(asset, store, key)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[0].__setitem__(0, 1),
        lambda rows: rows[0].__setitem__(2, 1),
        lambda rows: rows[1].__setitem__(2, 0),
        lambda rows: rows[0].__setitem__(1, rows[0][1] - 1),
        lambda rows: rows[0].__setitem__(1, 0),
        lambda rows: rows[1].__setitem__(0, 70_000),
        lambda rows: rows[1].__setitem__(0, 0),
        lambda rows: rows[1].__setitem__(0, rows[1][0] - 45),
        lambda rows: rows[1].__setitem__(3, b"a" * 9),
        lambda rows: rows[1].__setitem__(3, b"q" * 9),
        lambda rows: rows[1].__setitem__(3, b"../q" * 9),
        lambda rows: rows.pop(),
        lambda rows: rows.append(rows[1]),
    ],
    ids=[
        "position", "extents", "more-extents", "entries", "no-entries", "too-far", "same-place", "overlap", "order", "path",
        "escape", "lost", "twice",
    ],
)  # fmt: skip
def test_s20_a_fence_that_lies_is_refused(
    store: MemoryStore, key: DataKey, change: Callable[[list[list[Any]]], None]
) -> None:
    first = _full_block(0)
    blocks = [first, [(b"q00000000", 0, 5)]]
    good = forge_volume(b"12345", raw_index(blocks), key, store)
    assert len(_opened(good, store, key).paths()) == len(first) + 1
    reader_refuses(store, key, raw_index(blocks, change_fences=change), b"12345")


def _three_blocks(change: Callable[[list[list[Any]]], None]) -> RawIndex:
    blocks = [_full_block(0), _full_block(9000), [(b"q0", 0, 2), (b"q1", 2, 3)]]
    return raw_index(blocks, change_fences=change)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[1].__setitem__(0, rows[2][0]),
        lambda rows: rows[1].__setitem__(3, rows[2][3]),
        lambda rows: (rows[1].__setitem__(1, rows[1][1] + 2), rows[2].__setitem__(1, 0)),
    ],
    ids=["position", "path", "no-entries"],
)
def test_s20_a_fence_table_out_of_order_is_refused_at_once(
    store: MemoryStore, key: DataKey, change: Callable[[list[list[Any]]], None]
) -> None:
    asset = forge_volume(b"12345", _three_blocks(change), key, store)
    with pytest.raises(IndexRefused, match="order"):
        _opened(asset, store, key)


def test_s20_a_fence_that_counts_wrong_is_refused_with_its_block(store: MemoryStore, key: DataKey) -> None:
    def change(rows: list[list[Any]]) -> None:
        rows[0][1] -= 1
        rows[1][1] += 1

    reader = _opened(forge_volume(b"12345", _three_blocks(change), key, store), store, key)
    assert reader.read("q1", 0, 9) == b"345"
    with pytest.raises(IndexRefused, match="fence"):
        reader.size("p00000000")


def test_s20_a_block_that_reaches_past_the_next_fence_is_refused(store: MemoryStore, key: DataKey) -> None:
    blocks = [[*_full_block(0)[:-1], (b"x00000000", 0, 0)], [(b"q", 0, 0)]]
    reader = _opened(forge_volume(b"", raw_index(blocks), key, store), store, key)
    with pytest.raises(IndexRefused, match="order"):
        reader.size("p00000000")


@pytest.mark.parametrize(
    "blocks",
    [
        [[(b"a", [(0, 3), (3, 2)])]],
        [[(b"a", [(0, 0)])]],
        [[(b"a", [(0, 3), (0, 0)])]],
        [[(b"a", [(0, 6)])]],
        [[(b"a", [(5, 1)])]],
        [[(b"a", [(0, 3), (4, 2)])]],
        [[(b"a", [(1 << 63, 1 << 63)])]],
        [[(b"a", [(0, 1), (2, 1)] * 64 + [(0, 1)])]],
        [[(b"a", [(0, 3)])], [(b"b", [(3, 2)])]],
        [[*_full_block(0), (b"q", [(0, 5)]), (b"r", [])]],
    ],
    ids=[
        "two-that-are-one", "of-no-bytes", "more-of-no-bytes", "longer", "behind", "over-the-end", "far", "too-many",
        "block-not-full", "block-too-long",
    ],
)  # fmt: skip
def test_s21_extents_that_no_writer_writes_are_refused(store: MemoryStore, key: DataKey, blocks: Any) -> None:
    reader_refuses(store, key, raw_index(blocks), b"12345")


def test_s21_extents_are_joined_in_their_order_and_may_be_shared(store: MemoryStore, key: DataKey) -> None:
    index = raw_index([[(b"a", [(3, 2), (0, 2)]), (b"b", [(1, 4)]), (b"c", [(0, 1), (2, 1)] * 64)]])
    reader = _opened(forge_volume(b"12345", index, key, store), store, key)
    assert [reader.read(path, 0, 200) for path in "abc"] == [b"4512", b"2345", b"13" * 64]
    assert [reader.read("a", at, 2) for at in range(5)] == [b"45", b"51", b"12", b"2", b""]
    reader.verify()


@pytest.mark.parametrize("trailing", [b"\0", b"\0\1", b"\0\1c" + bytes(15)])
def test_s21_bytes_that_belong_to_no_entry_are_refused(store: MemoryStore, key: DataKey, trailing: bytes) -> None:
    reader_refuses(store, key, raw_index(ONE, trailing=trailing), b"12345")


@pytest.mark.parametrize(
    "change",
    [
        _set(0, 4),
        _set(0, 6),
        _set(0, 0),
        _set(1, b"\x29" + bytes(39)),
        _set(2, 4097),
        _set(3, 55),
        _set(3, 62),
        _set(3, 1 << 63),
    ],
    ids=["shorter", "longer", "none", "header", "segment-size", "no-stream", "more-stream", "far"],
)
def test_s22_a_part_that_no_writer_writes_is_refused(
    store: MemoryStore, key: DataKey, change: Callable[[list[Any]], None]
) -> None:
    def apply(rows: list[list[Any]]) -> None:
        columns = [rows[0][6], rows[0][2], rows[0][4], rows[0][5]]
        change(columns)
        rows[0][6], rows[0][2], rows[0][4], rows[0][5] = columns

    reader_refuses(store, key, raw_index([[(b"a", 0, 3)]], change_parts=apply), b"12345")


def test_s22_a_part_that_stands_twice_is_refused(store: MemoryStore, key: DataKey) -> None:
    reader_refuses(store, key, raw_index(ONE, change_parts=lambda rows: rows.append(rows[0])), b"12345")


def test_s22_a_padded_part_holds_at_least_its_content(store: MemoryStore, key: DataKey) -> None:
    index = raw_index([[(b"a", 0, 1000)]], padding="padme")
    reader_refuses(store, key, index, bytes(999), "padme", content_bytes=1000)
    right = forge_volume(bytes(1024), index, key, store, padding="padme", content_bytes=1000)
    assert _opened(right, store, key).read("a", 0, 2000) == bytes(1000)


def test_s22_padded_parts_do_not_become_parts_of_an_unpadded_volume(store: MemoryStore, key: DataKey) -> None:
    sealed = write_volume(in_order({"a": bytes(1000)}), key, store)
    with pytest.raises(SealOptionsInvalid):
        write_volume([], key, store, options=SealOptions(padding="none"), known=sealed.parts)


def test_s23_lengths_are_those_of_padme() -> None:
    # 2**40 + 1: exponent 40, of which six bits are kept, so 34 bits are cleared.
    known = {0: 0, 1: 1, 2: 2, 9: 10, 1000: 1024, 1025: 1088, 10**6: 1_015_808, 2**40 + 1: 2**40 + 2**34}
    for length, padded in known.items():
        assert padded_length(length, "padme") == padded
        assert padded_length(length, "none") == length
    for length in range(2, 5000):
        padded = padded_length(length, "padme")
        assert length <= padded <= length * 1.12 + 1
        assert padded_length(padded, "padme") == padded


def test_s23_padding_that_is_not_zero_is_refused(store: MemoryStore, key: DataKey) -> None:
    long = [[(b"a", 0, 1000)]]
    index = raw_index(long, padding="padme")
    payload = bytes(1000) + b"hidden" + bytes(18)
    reader = _opened(forge_volume(payload, index, key, store, padding="padme", content_bytes=1000), store, key)
    with pytest.raises(PaddingRefused):
        reader.read("a", 0, 1)
    names = [[(b"%030d" % n, 0, 0) for n in range(3)]]
    loud = raw_index(names, padding="padme", filler=b"!")
    assert b"!" in loud([])
    with pytest.raises(PaddingRefused):
        _opened(forge_volume(b"", loud, key, store, padding="padme"), store, key)


def test_s23_padding_in_a_segment_of_its_own_is_checked_too(store: MemoryStore, key: DataKey) -> None:
    index = raw_index([[(b"a", 0, 200_000)]], padding="padme")
    length = padded_length(200_000, "padme")
    payload = bytes(length - 1) + b"!"
    asset = forge_volume(payload, index, key, store, padding="padme", content_bytes=200_000)
    reader = _opened(asset, store, key)
    assert reader.read("a", 0, 10) == bytes(10)
    with pytest.raises(PaddingRefused):
        reader.verify()


@pytest.mark.parametrize("name", [payload_name, index_name, tree_name])
def test_s24_an_object_of_another_length_is_refused(
    store: MemoryStore, key: DataKey, name: Callable[[str], str]
) -> None:
    sealed = write_volume(in_order(FILES), key, store)
    whole = bytes(store.objects[name(sealed.volume)])
    store.objects[name(sealed.volume)] = whole[:-1]
    with pytest.raises(ObjectTruncated):
        _opened(sealed.asset, store, key).read("a.txt", 0, 1)
    store.objects[name(sealed.volume)] = whole + b"\0"
    with pytest.raises(ObjectOverlong):
        _opened(sealed.asset, store, key).read("a.txt", 0, 1)


@pytest.mark.parametrize("about", ["/payload", "/index", "/tree"])
def test_s24_an_answer_of_another_length_is_refused(store: MemoryStore, key: DataKey, about: str) -> None:
    sealed = write_volume(in_order(FILES), key, store)
    with pytest.raises(ObjectTruncated):
        _opened(sealed.asset, LyingStore(store, about, "truncated"), key).verify()
    with pytest.raises(ObjectOverlong):
        _opened(sealed.asset, LyingStore(store, about, "endless"), key).verify()


def test_s25_a_reader_keeps_a_bounded_number_of_segments_and_tiles(store: MemoryStore, key: DataKey) -> None:
    parts = SealOptions(segment_bytes=4096, part_bytes=1 << 20)
    sealed = write_volume([("a", [bytes(2_000_000)])], key, store, options=parts)
    assert len(sealed.parts) == 2
    options = OpenOptions(threads=1, cached_segments=2, cached_tiles=1, cached_blocks=1, cached_parts=1)
    reader = VolumeReader.open(sealed.asset, store, key, options=options)
    for at in range(0, 2_000_000, 4000):
        reader.read("a", at, 1)
        assert len(reader._opened._values) <= 2
        [stream] = reader._streams._values.values()
        assert len(stream._tree._tiles._values) <= 1
    assert len(reader._blocks._values) == 1


def test_s26_a_wrapped_key_opens_for_its_asset_and_purpose_alone(key: DataKey) -> None:
    opening = OpeningKey(bytes(32))
    asset = sha256_id(b"manifest")
    wrapped = key.wrap(opening.recipient, asset, "deposit")
    assert DataKey.unwrap(wrapped, opening, asset, "deposit").raw() == key.raw()
    info = b"paddock/data-key/v1\0" + canonical({"asset": asset, "purpose": "deposit"})
    assert opening.open(wrapped, info) == key.raw()
    for other in ((sha256_id(b"another"), "deposit"), (asset, "release")):
        with pytest.raises(UnwrapRefused):
            DataKey.unwrap(wrapped, opening, *other)
    with pytest.raises(EncodingRefused):
        key.wrap(opening.recipient, "sha256:short", "deposit")
