"""Reading a sealed stream at any place: fetch, compare with the hash tree, open."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

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
    """The most recently used values, at most `capacity` of them; safe to use from several threads and after a fork."""

    _all: ClassVar[weakref.WeakSet[Cache[Any, Any]]] = weakref.WeakSet()

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()
        self._all.add(self)

    def clear(self) -> None:
        """Forget everything, under a new lock."""
        self._lock = threading.Lock()
        self._values = OrderedDict()

    @classmethod
    def after_fork(cls) -> None:
        """In a child process: when it forked, another thread may have held a lock or stood half-way in a change."""
        for cache in list(cls._all):
            cache.clear()

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


os.register_at_fork(after_in_child=Cache.after_fork)


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


Opened = Cache[tuple[str, int], memoryview]
"""Opened segments, by the name of their object and their number; streams may share one."""


class SealedStream:
    """One stream of a volume. Safe to use from several threads.

    Args:
        source: where the object is; not trusted.
        name: the object's name.
        facts: what the verified manifest or file table says of it.
        tree: its verified hashes.
        key: its key.
        opened: where opened segments are kept.
        threads: how many groups of segments of one read are fetched and opened at the same time.
        fetch_bytes: how much of the object is asked for at once, a segment at least.
        content_bytes: where the padding begins, if that is known: from there on every byte must be zero.
    """

    def __init__(
        self,
        source: BlobSource,
        name: str,
        facts: StreamFacts,
        tree: HashTree,
        key: StreamKey,
        *,
        opened: Opened,
        threads: int,
        fetch_bytes: int,
        content_bytes: int | None = None,
    ) -> None:
        self._source = source
        self._name = name
        self._facts = facts
        self._layout = facts.layout
        self._tree = tree
        self._key = key
        self._threads = threads
        self._together = max(1, fetch_bytes // facts.layout.segment_bytes)
        self._opened = opened
        self._content_bytes = content_bytes

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
        if first == last:
            self._part_of(first, offset, out)
            return

        def work(group: int) -> None:
            begin = first + group * self._together
            self._read_group(begin, min(last + 1, begin + self._together), offset, out)

        for_each(range(-(-(last + 1 - first) // self._together)), work, self._threads)

    def _part_of(self, number: int, offset: int, out: memoryview) -> None:
        """Copy out of one segment, by way of the cache."""
        start, length = self._layout.plain_range(number)
        plain = self._opened.get((self._name, number))
        if plain is None:
            plain = self._keep(number, self._fetch(number, number + 1), length)
        out[:] = plain[offset - start : offset - start + len(out)]

    def _read_group(self, begin: int, end: int, offset: int, out: memoryview) -> None:
        """The segments from `begin` to before `end`, as far as `out` reaches: asked for at once."""
        stored: memoryview | None = None
        whole_end = offset + len(out)
        for number in range(begin, end):
            start, length = self._layout.plain_range(number)
            at, to = max(start, offset), min(start + length, whole_end)
            target = out[at - offset : to - offset]
            plain = self._opened.get((self._name, number))
            if plain is None and stored is None:
                stored, begin = self._fetch(number, end), number
            if plain is None and stored is not None:
                place = (number - begin) * self._layout.segment_bytes
                piece = stored[place : place + self._layout.sealed_range(number)[1]]
                if to - at == length:
                    # A whole segment of a long read goes where it is wanted, past the cache.
                    self._open(number, piece, target)
                    continue
                plain = self._keep(number, piece, length)
            if plain is not None:
                target[:] = plain[at - start : to - start]

    def verify(self, done: Callable[[int], None] | None) -> None:
        """Fetch, compare and open every segment.

        Args:
            done: told the plaintext bytes of each segment that passed, from several threads; or None.

        Raises: as `read_into`.
        """

        def work(group: int) -> None:
            begin = group * self._together
            end = min(self._layout.segments, begin + self._together)
            stored = self._fetch(begin, end)
            for number in range(begin, end):
                place = (number - begin) * self._layout.segment_bytes
                _, length = self._layout.plain_range(number)
                plain = memoryview(bytearray(length))
                self._open(number, stored[place : place + self._layout.sealed_range(number)[1]], plain)
                if done is not None:
                    done(length)

        for_each(range(-(-self._layout.segments // self._together)), work, self._threads)

    def _fetch(self, begin: int, end: int) -> memoryview:
        """The stored bytes of the segments from `begin` to before `end`."""
        start, _ = self._layout.sealed_range(begin)
        return memoryview(fetch(self._source, self._name, start, sum(self._layout.sealed_range(end - 1)) - start))

    def _keep(self, number: int, stored: memoryview, length: int) -> memoryview:
        plain = memoryview(bytearray(length))
        self._open(number, stored, plain)
        plain = plain.toreadonly()
        self._opened.put((self._name, number), plain)
        return plain

    def _open(self, number: int, stored: memoryview, out: memoryview) -> None:
        # S-8: `out` belongs to this call until everything below has passed; whoever refuses leaves it zeroed or unread.
        # S-9
        leaf = leaf_hash(stored)
        try:
            expected = self._tree.leaf(number)
        except TreeChanged:
            self._check_own()
            raise
        if leaf != expected:
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
        if self._content_bytes is None or position + len(plain) <= self._content_bytes:
            return
        if not all_zero(plain[max(0, self._content_bytes - position) :]):
            plain[:] = bytes(len(plain))
            raise PaddingRefused(f"In {self._name}.")

    def _blame(self, number: int, leaf: bytes) -> None:
        """Raise the error that says best what the store did. The bytes are refused in any case."""
        other = self._tree.place_of(leaf, number)
        if other is not None:
            raise SegmentMisplaced(f"Segment {other} of {self._name} stands at place {number}.")
        self._check_own()
        raise SegmentChanged(f"Segment {number} of {self._name}.")

    def _check_own(self) -> None:
        if fetch(self._source, self._name, 0, HEADER_BYTES) != self._facts.header:
            raise ObjectSwapped(f"{self._name} begins with a foreign header.")
