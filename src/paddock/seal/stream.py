"""Reading a sealed stream at any place: fetch, compare with the hash tree, open."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from paddock.crypto.streaming import HEADER_BYTES, Buffer, StreamKey
from paddock.errors import (
    NoSuchObject,
    ObjectOverlong,
    ObjectSwapped,
    ObjectTruncated,
    PaddingRefused,
    SegmentChanged,
    SegmentMisplaced,
    SegmentRefused,
    TagRefused,
    TreeChanged,
    VolumeIncomplete,
)
from paddock.seal.blobs import BlobSource
from paddock.seal.manifest import StreamFacts
from paddock.seal.padding import all_zero
from paddock.seal.parallel import for_each
from paddock.seal.tree import HASH_BYTES, TILE_HASHES, TreeLayout, leaf_hash, tile_hash

Key = TypeVar("Key")
Value = TypeVar("Value")


class Cache(Generic[Key, Value]):
    """The most recently used values, at most `capacity` of them; safe to use from several threads."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """The value, if it is still here."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: Key, value: Value) -> None:
        """Keep a value and drop the one that was not used for longest."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            # S-25
            if len(self._values) > self._capacity:
                self._values.popitem(last=False)

    def get_or(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value, made now if it is not here. Two threads may make it at the same time; both are the same."""
        value = self.get(key)
        if value is None:
            value = make()
            self.put(key, value)
        return value


def fetch(source: BlobSource, name: str, offset: int, length: int) -> Buffer:
    """Exactly `length` bytes of an object.

    Raises:
        ObjectTruncated, ObjectOverlong: the source gave another number of bytes (S-24).
        VolumeIncomplete: it has no such object.
    """
    try:
        data = source.read(name, offset, length)
    except NoSuchObject:
        raise VolumeIncomplete(f"It lacks {name}.") from None
    check_length(name, len(data), length)
    return data


def check_length(name: str, actual: int, expected: int) -> None:
    """Return if an object or answer has the length that it must have (S-24)."""
    # S-24
    if actual < expected:
        raise ObjectTruncated(f"{name}: {actual} bytes came, {expected} were sealed.")
    if actual > expected:
        raise ObjectOverlong(f"{name}: {actual} bytes came, {expected} were sealed.")


class HashTree:
    """The verified hashes of one stream, one tile of each level at a time."""

    def __init__(self, source: BlobSource, name: str, layout: TreeLayout, root: bytes, cached_tiles: int) -> None:
        self._source = source
        self._name = name
        self._layout = layout
        self._widths = layout.widths
        self._root = root
        self._tiles: Cache[tuple[int, int], bytes] = Cache(cached_tiles)

    def leaf(self, segment: int) -> bytes:
        """The hash that a segment's stored bytes must have.

        Raises:
            TreeChanged: the stored tree does not lead to the root.
        """
        return self._hash(0, segment)

    def place_of(self, leaf: bytes, near: int) -> int | None:
        """Which segment has this hash, looked for in the tile where segment `near` stands."""
        tile = self._tile(0, near // TILE_HASHES)
        for at in range(0, len(tile), HASH_BYTES):
            if tile[at : at + HASH_BYTES] == leaf:
                return near // TILE_HASHES * TILE_HASHES + at // HASH_BYTES
        return None

    def _hash(self, level: int, number: int) -> bytes:
        tile = self._tile(level, number // TILE_HASHES)
        at = number % TILE_HASHES * HASH_BYTES
        return tile[at : at + HASH_BYTES]

    def _tile(self, level: int, number: int) -> bytes:
        return self._tiles.get_or((level, number), lambda: self._load(level, number))

    def _load(self, level: int, number: int) -> bytes:
        top = level + 1 == len(self._widths)
        expected = self._root if top else self._hash(level + 1, number)
        offset, length = self._layout.tile_range(level, number)
        tile = bytes(fetch(self._source, self._name, offset, length))
        # S-10
        if tile_hash(level, tile) != expected:
            raise TreeChanged(f"Level {level}, tile {number} of {self._name}.")
        return tile


class SealedStream:
    """One stream of a volume. Safe to use from several threads.

    Args:
        source: where the object is; not trusted.
        name: the object's name.
        facts: what the verified manifest says of it.
        tree: its verified hashes.
        key: its key.
        threads: how many segments of one read are fetched and opened at the same time.
        cached_segments: how many opened segments are kept.
    """

    def __init__(
        self,
        source: BlobSource,
        name: str,
        facts: StreamFacts,
        tree: HashTree,
        key: StreamKey,
        *,
        threads: int,
        cached_segments: int,
    ) -> None:
        self._source = source
        self._name = name
        self._facts = facts
        self._layout = facts.layout
        self._tree = tree
        self._key = key
        self._threads = threads
        self._opened: Cache[int, memoryview] = Cache(cached_segments)
        self.content_bytes: int | None = None
        """Where the padding begins, once that is known: from there on every byte must be zero."""

    def read_into(self, offset: int, out: memoryview) -> None:
        """Fill `out` with the plaintext from `offset`; the range must lie inside the stream.

        Raises:
            SegmentChanged, SegmentMisplaced, ObjectSwapped, ObjectTruncated, ObjectOverlong, TreeChanged: the store
                did not give what the asset's id commits to.
            SegmentRefused: it did, but that does not open.
        """
        if not out:
            return
        first = self._layout.segment_of(offset)
        last = self._layout.segment_of(offset + len(out) - 1)

        def work(number: int) -> None:
            start, length = self._layout.plain_range(number)
            begin, end = max(start, offset), min(start + length, offset + len(out))
            target = out[begin - offset : end - offset]
            if end - begin == length and last > first:
                # A whole segment of a long read goes where it is wanted, past the cache.
                self._open(number, target)
            else:
                plain = self._opened.get_or(number, lambda: self._open_new(number, length))
                target[:] = plain[begin - start : end - start]

        for_each(range(first, last + 1), work, self._threads)

    def verify(self, done: Callable[[int], None] | None) -> None:
        """Fetch, compare and open every segment.

        Args:
            done: told the plaintext bytes of each segment that passed, from several threads; or None.

        Raises: as `read_into`.
        """

        def work(number: int) -> None:
            _, length = self._layout.plain_range(number)
            self._open_new(number, length)
            if done is not None:
                done(length)

        for_each(range(self._layout.segments), work, self._threads)

    def _open_new(self, number: int, length: int) -> memoryview:
        plain = memoryview(bytearray(length))
        self._open(number, plain)
        return plain.toreadonly()

    def _open(self, number: int, out: memoryview) -> None:
        # S-8: `out` belongs to this call until everything below has passed; whoever refuses leaves it zeroed or unread.
        offset, length = self._layout.sealed_range(number)
        stored = memoryview(fetch(self._source, self._name, offset, length))
        # S-9
        leaf = leaf_hash(stored)
        if leaf != self._tree.leaf(number):
            self._blame(number, leaf)
        skip = 0
        if number == 0:
            # S-12
            if stored[:HEADER_BYTES] != self._facts.header:
                raise SegmentRefused(f"The header of {self._name} is not the manifest's.")
            skip = HEADER_BYTES
        try:
            self._key.open_segment(number, number + 1 == self._layout.segments, stored[skip:], out)
        except TagRefused:
            raise SegmentRefused(f"Segment {number} of {self._name}.") from None
        self._check_padding(self._layout.plain_range(number)[0], out)

    def _check_padding(self, position: int, plain: memoryview) -> None:
        # S-23
        if self.content_bytes is not None and not all_zero(plain[max(0, self.content_bytes - position) :]):
            plain[:] = bytes(len(plain))
            raise PaddingRefused(f"In {self._name}.")

    def _blame(self, number: int, leaf: bytes) -> None:
        """Raise the error that says best what the store did. The bytes are refused in any case."""
        other = self._tree.place_of(leaf, number)
        if other is not None:
            raise SegmentMisplaced(f"Segment {other} of {self._name} stands at place {number}.")
        if fetch(self._source, self._name, 0, HEADER_BYTES) != self._facts.header:
            raise ObjectSwapped(f"{self._name} begins with a foreign header.")
        raise SegmentChanged(f"Segment {number} of {self._name}.")
