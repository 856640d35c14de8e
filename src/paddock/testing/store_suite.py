"""What every store does: a suite that is subclassed with a fixture `store`.

class TestMine(StoreSuite):
@pytest.fixture
def store(self) -> Store: ...
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from paddock.errors import NoSuchObject, ObjectExists, ObjectNameRefused, StoreDenied, StoreFull
from paddock.seal import DataKey, OpenOptions, SealOptions, VolumeReader, write_volume
from paddock.store import Store


class StoreSuite:
    """The contract of `Store`. Names in it are fresh for each test: a bucket may be shared."""

    deletes = True
    """Whether this store deletes on request; otherwise it must say StoreDenied."""

    @pytest.fixture
    def name(self) -> str:
        return f"suite/{os.urandom(8).hex()}"

    def test_an_object_is_kept_and_read_in_ranges(self, store: Store, name: str) -> None:
        content = os.urandom(100_000)
        assert store.put(name, [content[:40_000], memoryview(content)[40_000:]]) == len(content)
        assert store.size(name) == len(content)
        for offset, length in ((0, 1), (0, 100_000), (99_999, 1), (12_345, 54_321)):
            assert bytes(store.read(name, offset, length)) == content[offset : offset + length]

    def test_what_lies_behind_the_end_is_not_given(self, store: Store, name: str) -> None:
        store.put(name, [b"hello"])
        assert bytes(store.read(name, 3, 100)) == b"lo"
        assert bytes(store.read(name, 5, 1)) == b""
        assert bytes(store.read(name, 500, 10)) == b""
        assert bytes(store.read(name, 2, 0)) == b""

    def test_an_object_may_be_empty(self, store: Store, name: str) -> None:
        assert store.put(name, []) == 0
        assert store.size(name) == 0
        assert bytes(store.read(name, 0, 10)) == b""

    def test_an_object_is_never_overwritten(self, store: Store, name: str) -> None:
        store.put(name, [b"first"])
        with pytest.raises(ObjectExists):
            store.put(name, [b"second!"])
        assert bytes(store.read(name, 0, 10)) == b"first"

    def test_a_large_object_is_never_overwritten(self, store: Store, name: str) -> None:
        piece = os.urandom(1 << 20)
        assert store.put(name, [piece] * 20) == 20 << 20
        with pytest.raises(ObjectExists):
            store.put(name, [bytes(1 << 20)] * 21)
        assert bytes(store.read(name, (10 << 20) - 5, 10)) == piece[-5:] + piece[:5]

    def test_pieces_may_be_reused_by_their_maker(self, store: Store, name: str) -> None:
        def pieces() -> Iterator[memoryview]:
            buffer = bytearray(1 << 20)
            for number in range(20):
                buffer[:] = bytes([number]) * len(buffer)
                yield memoryview(buffer)

        store.put(name, pieces())
        for number in range(20):
            assert bytes(store.read(name, number << 20, 3)) == bytes([number]) * 3

    def test_what_is_missing_is_told(self, store: Store, name: str) -> None:
        with pytest.raises(NoSuchObject):
            store.size(name)
        with pytest.raises(NoSuchObject):
            store.read(name, 0, 10)

    def test_names_that_lead_elsewhere_are_refused(self, store: Store) -> None:
        for bad in ("../a", "/a", "a//b", "A", "a/../b", "", "a\0", "x" * 201):
            with pytest.raises(ObjectNameRefused):
                store.read(bad, 0, 1)
            with pytest.raises(ObjectNameRefused):
                store.put(bad, [b"x"])

    def test_a_maker_that_fails_leaves_nothing(self, store: Store, name: str) -> None:
        for count in (0, 1, 20):

            def pieces(most: int = count) -> Iterator[bytes]:
                for _ in range(most):
                    yield bytes(1 << 20)
                raise StoreFull("Of the maker.")

            with pytest.raises(StoreFull):
                store.put(f"{name}-{count}", pieces())
            with pytest.raises(NoSuchObject):
                store.size(f"{name}-{count}")

    def test_an_object_is_deleted(self, store: Store, name: str) -> None:
        store.put(name, [b"x"])
        if not self.deletes:
            with pytest.raises(StoreDenied):
                store.delete(name)
            return
        store.delete(name)
        with pytest.raises(NoSuchObject):
            store.size(name)
        with pytest.raises(NoSuchObject):
            store.delete(name)

    def test_a_volume_goes_in_and_comes_out(self, store: Store) -> None:
        key, content = DataKey.generate(), os.urandom(3 << 20)
        options = SealOptions(segment_bytes=64 << 10, part_bytes=1 << 20)
        sealed = write_volume([("a", [content]), ("b", [b"small"])], key, store, options=options)
        reader = VolumeReader.open(sealed.asset, store, key, options=OpenOptions(fetch_bytes=256 << 10))
        assert reader.read("a", 0, 4 << 20) == content
        assert reader.read("b", 1, 3) == b"mal"
        reader.verify()
