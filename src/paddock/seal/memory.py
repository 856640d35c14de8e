"""Sealing and opening one stream from memory to memory, without copies: bytes in, a prepared buffer out."""

from __future__ import annotations

from collections.abc import Iterator

from paddock.crypto.streaming import HEADER_BYTES, TAG_BYTES, Buffer, StreamKey, StreamLayout, new_header
from paddock.errors import SegmentChanged, SegmentRefused, TagRefused
from paddock.seal.datakey import DataKey
from paddock.seal.manifest import StreamFacts
from paddock.seal.parallel import for_each
from paddock.seal.stream import check_length
from paddock.seal.tree import HASH_BYTES, build_levels, leaf_hash

_TOGETHER = 4
"""Segments that a thread takes at a time: threads of Python get in each other's way whenever they ask for work."""


def seal_into(
    plain: Buffer,
    out: memoryview,
    data_key: DataKey,
    associated_data: bytes,
    *,
    segment_bytes: int,
    threads: int,
) -> StreamFacts:
    """Seal bytes into a buffer.

    Args:
        plain: what to seal.
        out: exactly `StreamLayout.of_plaintext(segment_bytes, len(plain)).sealed_bytes` bytes.
        data_key: the key.
        associated_data: what the stream belongs to.
        segment_bytes: a power of two from 4 KiB to 4 MiB.
        threads: how many segments are sealed at the same time.

    Returns:
        Length, header and root: what `open_into` needs, and a manifest states.

    Source: docs/spec/sealed-volume.md §3, §4.
    """
    source = memoryview(plain).cast("B")
    layout = StreamLayout.of_plaintext(segment_bytes, len(source))
    if len(out) != layout.sealed_bytes:
        raise ValueError(f"the sealed stream has {layout.sealed_bytes} bytes, the buffer {len(out)}")
    header = new_header()
    key = StreamKey(data_key.raw(), header, associated_data)
    leaves = bytearray(layout.segments * HASH_BYTES)
    out[:HEADER_BYTES] = header

    def work(first: int) -> None:
        for number, at, size, start, length in _ranges(layout, first):
            stored = out[at : at + size]
            last = number + 1 == segments
            key.seal_segment(number, last, source[start : start + length], stored[size - length - TAG_BYTES :])
            leaves[number * HASH_BYTES : (number + 1) * HASH_BYTES] = leaf_hash(stored)

    segments = layout.segments
    for_each(range(0, segments, _TOGETHER), work, threads)
    return StreamFacts(layout, header, build_levels(leaves)[1])


def open_into(
    sealed: Buffer,
    out: memoryview,
    data_key: DataKey,
    associated_data: bytes,
    facts: StreamFacts,
    *,
    threads: int,
) -> None:
    """Open a whole stream into a buffer. The buffer is zeroed when anything is refused.

    Args:
        sealed: the stored stream.
        out: exactly `facts.layout.plain_bytes` bytes.
        data_key: the key.
        associated_data: what the stream belongs to.
        facts: from a verified manifest, or what `seal_into` returned.
        threads: how many segments are opened at the same time.

    Raises:
        ObjectTruncated, ObjectOverlong: another length.
        SegmentChanged: the bytes are not those that `facts.root` commits to.
        SegmentRefused: they are, and do not open.

    Source: docs/spec/sealed-volume.md §3, §4.
    """
    layout = facts.layout
    if len(out) != layout.plain_bytes:
        raise ValueError(f"the plaintext has {layout.plain_bytes} bytes, the buffer {len(out)}")
    source = memoryview(sealed).cast("B")
    check_length("the stream", len(source), layout.sealed_bytes)
    key = StreamKey(data_key.raw(), facts.header, associated_data)
    leaves = bytearray(layout.segments * HASH_BYTES)

    def work(first: int) -> None:
        for number, at, size, start, length in _ranges(layout, first):
            stored = source[at : at + size]
            leaves[number * HASH_BYTES : (number + 1) * HASH_BYTES] = leaf_hash(stored)
            last = number + 1 == segments
            key.open_segment(number, last, stored[size - length - TAG_BYTES :], out[start : start + length])

    segments = layout.segments
    try:
        try:
            for_each(range(0, segments, _TOGETHER), work, threads)
        except TagRefused:
            # Whether the store or the owner is to blame is told by the root, over the segments that were not reached.
            for number in range(layout.segments):
                at, size = layout.sealed_range(number)
                leaves[number * HASH_BYTES : (number + 1) * HASH_BYTES] = leaf_hash(source[at : at + size])
            _check_root(leaves, source, facts)
            raise SegmentRefused("In memory.") from None
        _check_root(leaves, source, facts)
    except BaseException:
        out[:] = bytes(len(out))
        raise


def _ranges(layout: StreamLayout, first: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Of some segments from the first one on: number, offset and length as stored, offset and length as plaintext."""
    segment_bytes, segments = layout.segment_bytes, layout.segments
    for number in range(first, min(first + _TOGETHER, segments)):
        if 0 < number < segments - 1:
            at = number * segment_bytes
            yield number, at, segment_bytes, at - HEADER_BYTES - TAG_BYTES * number, segment_bytes - TAG_BYTES
        else:
            yield number, *layout.sealed_range(number), *layout.plain_range(number)


def _check_root(leaves: bytearray, source: memoryview, facts: StreamFacts) -> None:
    # S-10
    if build_levels(leaves)[1] != facts.root:
        raise SegmentChanged("In memory.")
    # S-12
    if source[:HEADER_BYTES] != facts.header:
        raise SegmentRefused("The header is not the manifest's.")
