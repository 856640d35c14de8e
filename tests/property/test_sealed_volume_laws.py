"""Laws of sealed volumes over random trees, ranges and damage."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from paddock.crypto.streaming import StreamLayout, first_capacity
from paddock.errors import PaddockError, PathRefused
from paddock.seal import DataKey, OpenOptions, SealOptions, VolumeReader, in_order, write_volume
from paddock.seal.padding import all_zero, padded_length
from paddock.seal.paths import PathOrder, check_path
from paddock.seal.tree import ContentHash
from paddock.seal.writer import Content, Grown
from paddock.testing.stores import MemoryStore

KEY = DataKey(bytes(range(32)))
PART = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
PATH = st.lists(PART, min_size=1, max_size=4).map("/".join)
CONTENT = st.binary(max_size=300) | st.integers(0, 20_000).map(lambda n: bytes(n % 251 for n in range(n)))
OPTIONS = st.builds(
    SealOptions,
    segment_bytes=st.sampled_from([4096, 8192]),
    padding=st.sampled_from(["padme", "none"]),
    threads=st.integers(1, 3),
    part_bytes=st.sampled_from([4096, 10_000, 64 << 20]),
)


def _acceptable(files: dict[str, bytes]) -> dict[str, bytes]:
    kept: dict[str, bytes] = {}
    order = PathOrder()
    for path in sorted(files):
        try:
            order.follow(check_path(path))
        except PathRefused:
            continue
        kept[path] = files[path]
    return kept


TREE = st.dictionaries(PATH, CONTENT, max_size=8).map(_acceptable)


@settings(max_examples=60, deadline=None)
@given(TREE, OPTIONS, st.data())
def test_any_tree_comes_out_and_any_range_is_the_slice(
    files: dict[str, bytes], options: SealOptions, data: Any
) -> None:
    store = MemoryStore()
    asset = write_volume(in_order(files), KEY, store, options=options).asset
    reader = VolumeReader.open(asset, store, KEY, options=OpenOptions(threads=1, cached_segments=1))
    assert reader.paths() == list(files)
    for path, content in files.items():
        offset = data.draw(st.integers(0, len(content) + 10))
        length = data.draw(st.integers(0, len(content) + 10))
        assert reader.read(path, offset, length) == content[offset : offset + length]
        assert reader.open_file(path).read() == content
    reader.verify()


@settings(max_examples=60, deadline=None)
@given(TREE, TREE, OPTIONS, st.data())
def test_any_version_keeps_what_stayed_and_writes_what_is_new(
    before: dict[str, bytes], after: dict[str, bytes], options: SealOptions, data: Any
) -> None:
    store = MemoryStore()
    for path in data.draw(st.lists(st.sampled_from(sorted(before)), unique=True)) if before else ():
        after[path] = before[path] + data.draw(st.binary(max_size=50))
    after = _acceptable(after)
    first = write_volume(in_order(before), KEY, store, options=options)
    stored = dict(VolumeReader.open(first.asset, store, KEY).iter_stored())
    new_bytes = 0
    contents: list[tuple[str, Content]] = []
    for path, content in sorted(after.items(), key=lambda item: item[0].encode()):
        old = before.get(path)
        if old is None or not content.startswith(old):
            contents.append((path, [content]))
            new_bytes += len(content)
        elif old == content:
            contents.append((path, stored[path]))
        else:
            seen = ContentHash()
            seen.update(old)
            assert seen.digest() == stored[path].digest
            contents.append((path, Grown(stored[path], seen, [content[len(old) :]])))
            new_bytes += len(content) - len(old)
    key = DataKey(bytes(range(1, 33)))
    second = write_volume(contents, key, store, options=options, known=first.parts)
    written = second.parts[len(first.parts) :]
    assert sum(part.content_bytes for part in written) == new_bytes
    reader = VolumeReader.open(second.asset, store, key)
    assert {path: reader.open_file(path).read() for path in reader.paths()} == after
    reader.verify()
    again = write_volume(reader.iter_stored(), KEY, store, options=options, known=reader.parts)
    assert VolumeReader.open(again.asset, store, KEY).content_bytes == reader.content_bytes


@settings(max_examples=150, deadline=None)
@given(TREE, OPTIONS, st.data())
def test_any_damage_is_refused(files: dict[str, bytes], options: SealOptions, data: Any) -> None:
    store = MemoryStore()
    asset = write_volume(in_order(files), KEY, store, options=options).asset
    name = data.draw(st.sampled_from(list(store.objects)))  # in the order of writing: names are random
    whole = bytes(store.objects[name])
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "replace"]))
    at = data.draw(st.integers(0, len(whole) - 1))
    if kind == "flip":
        damaged = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    elif kind == "cut":
        damaged = whole[:at]
    elif kind == "insert":
        damaged = whole[:at] + data.draw(st.binary(min_size=1, max_size=20)) + whole[at:]
    else:
        damaged = data.draw(st.binary(max_size=200))
    store.objects[name] = damaged
    try:
        VolumeReader.open(asset, store, KEY).verify()
    except PaddockError as refusal:
        assert refusal.code.startswith("E-SEAL-")  # noqa: PT017 - damage that gives back the same bytes is none
    else:
        assert damaged == whole


@given(st.sampled_from([4096, 8192, 65536, 1 << 20]), st.integers(0, 1 << 43))
def test_a_layout_is_one_whichever_way_it_is_computed(segment_bytes: int, plain_bytes: int) -> None:
    layout = StreamLayout.of_plaintext(segment_bytes, plain_bytes)
    assert layout.plain_bytes == plain_bytes
    assert StreamLayout(segment_bytes, layout.sealed_bytes) == layout
    assert layout.plain_range(0)[0] == 0
    last = layout.segments - 1
    assert sum(layout.plain_range(last)) == plain_bytes
    assert sum(layout.sealed_range(last)) == layout.sealed_bytes
    if plain_bytes:
        assert layout.segment_of(plain_bytes - 1) == last
    if last:
        assert layout.plain_range(1)[0] == first_capacity(segment_bytes)
        assert layout.segment_of(layout.plain_range(last)[0] - 1) == last - 1


@given(st.integers(0, 1 << 60))
def test_padding_adds_little_and_once(length: int) -> None:
    padded = padded_length(length, "padme")
    assert length <= padded <= length + length * 12 // 100 + 1
    assert padded_length(padded, "padme") == padded
    assert padded_length(length + 1, "padme") >= padded


@given(st.binary(max_size=70_000), st.integers(0, 200_000))
def test_zeros_are_told_from_anything_else(data: bytes, before: int) -> None:
    assert all_zero(bytes(before) + data) == (not any(data))


@given(st.lists(PATH, max_size=12))
def test_the_order_of_paths_is_that_of_a_naive_check(paths: list[str]) -> None:
    raw = [path.encode() for path in sorted(paths)]
    order = PathOrder()
    try:
        for path in raw:
            order.follow(path)
        accepted = True
    except PathRefused:
        accepted = False
    directories = {path[:at] for path in raw for at in range(len(path)) if path[at : at + 1] == b"/"}
    assert accepted == (len(set(raw)) == len(raw) and not directories & set(raw))
