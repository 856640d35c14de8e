"""Volumes that no writer writes, sealed as a hostile owner could: for tests and test vectors."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from paddock.crypto.canonical import canonical, parse
from paddock.crypto.digest import sha256_id
from paddock.crypto.streaming import HEADER_BYTES, TAG_BYTES, Buffer, StreamKey, new_header
from paddock.seal.blobs import BlobSink, index_name, manifest_name, payload_name, tree_name
from paddock.seal.datakey import DataKey
from paddock.seal.index import Part
from paddock.seal.manifest import Manifest, StreamFacts
from paddock.seal.padding import Padding, padded_length
from paddock.seal.pipeline import StreamSealer
from paddock.seal.tree import build_levels
from paddock.seal.writer import PartDone, key_commitment, stream_label
from paddock.testing.stores import MemoryStore

RawEntry = tuple[bytes, int, int] | tuple[bytes, Sequence[tuple[int, int]]]
"""Path, offset and length; or path and any extents."""
RawIndex = Callable[[Sequence[Part]], bytes]
"""Makes the plaintext of an index once the parts are sealed."""


def raw_index(
    blocks: Sequence[Sequence[RawEntry]],
    *,
    padding: Padding = "none",
    filler: bytes = b"\0",
    change_fences: Callable[[list[list[Any]]], None] | None = None,
    change_parts: Callable[[list[list[Any]]], None] | None = None,
    change_footer: Callable[[list[Any]], None] | None = None,
    trailing: bytes = b"",
    after: bytes = b"",
) -> RawIndex:
    """The plaintext of an index, right or wrong.

    Args:
        blocks: for each block its entries, written as they are.
        padding: as the manifest will state it.
        filler: the byte that padding is made of.
        change_fences: changes rows of position, entries, extents, path before they are written.
        change_parts: changes rows of number, key, header, root, segment bytes, stored bytes, content bytes likewise.
        change_footer: changes magic, files, file bytes, fences' position and length, blocks, parts likewise.
        trailing: stands at the end of the last block, belonging to no entry.
        after: stands behind the footer.
    """
    entries = [[(row[0], _extents(row)) for row in block] for block in blocks]
    rows: list[list[Any]] = []
    data = bytearray()
    for block in entries:
        rows.append([len(data), len(block), len(block[0][1]), block[0][0]])
        data += b"".join(raw_entry(path, extents) for path, extents in block)
    data += trailing
    if change_fences is not None:
        change_fences(rows)
    fences = b"".join(struct.pack(">QLHH", *row[:3], len(row[3])) + row[3] for row in rows)
    lengths = [length for block in entries for _, extents in block for _, length in extents]
    count = sum(map(len, entries))

    def write(parts: Sequence[Part]) -> bytes:
        table = [
            [
                bytes.fromhex(part.number), part.key, part.facts.header, part.facts.root,
                part.facts.layout.segment_bytes, part.facts.layout.sealed_bytes, part.content_bytes,
            ]
            for part in parts
        ]  # fmt: skip
        if change_parts is not None:
            change_parts(table)
        raw_parts = b"".join(struct.pack(">16s32s40s32sIQQ", *row) for row in table)
        footer: list[Any] = [b"PDKINDX1", count, sum(lengths), len(data), len(fences), len(blocks), len(table)]
        if change_footer is not None:
            change_footer(footer)
        whole = len(data) + len(fences) + len(raw_parts) + 56
        pad = filler * (padded_length(whole, padding) - whole)
        return bytes(data) + fences + raw_parts + pad + struct.pack(">8sQQQQQQ", *footer) + after

    return write


def raw_entry(path: bytes, extents: Sequence[tuple[int, int]], digest: bytes = bytes(32)) -> bytes:
    """One entry of a block, right or wrong."""
    pieces = b"".join(struct.pack(">QQ", *extent) for extent in extents)
    return struct.pack(">H", len(path)) + path + digest + struct.pack(">H", len(extents)) + pieces


def _extents(row: RawEntry) -> Sequence[tuple[int, int]]:
    if len(row) == 2:
        return row[1]
    return [(row[1], row[2])] if row[2] else []


def forge_volume(
    payload: bytes,
    index: bytes | RawIndex,
    key: DataKey,
    sink: BlobSink,
    *,
    segment_bytes: int = 4096,
    padding: Padding = "none",
    change_manifest: Callable[[dict[str, Any]], None] | None = None,
    write_manifest: Callable[[dict[str, Any]], bytes] = canonical,
    stream_key: Callable[[str, bytes], StreamKey] | None = None,
    entropy: Callable[[int], bytes] = os.urandom,
    content_bytes: int | None = None,
) -> str:
    """Seal these two plaintexts, whatever they are, and return the asset's id.

    Args:
        payload: plaintext of the only part; without any there is no part.
        index: plaintext of the index, or what makes it.
        key: the data key.
        sink: where the objects go.
        segment_bytes: as in the manifest.
        padding: what the manifest states.
        change_manifest: changes its members before it is written and its id is taken.
        write_manifest: writes it.
        stream_key: makes the key of a stream (`payload`, `index`) from its header, otherwise the right one.
        entropy: random bytes.
        content_bytes: how much of the payload the part table calls content; None for all.
    """
    volume = entropy(16).hex()

    def write(stream: str, name: str, plain: bytes, ikm: bytes) -> tuple[StreamFacts, list[bytes]]:
        header = new_header(entropy)
        if stream_key is None:
            made = StreamKey(ikm, header, stream_label(volume, stream))
        else:
            made = stream_key(stream, header)
        sealer = StreamSealer(made, header, segment_bytes, 1)

        def stored() -> Iterator[Buffer]:
            yield from sealer.run([plain])
            if stream == "index":
                yield from build_levels(sealer.leaves)[0]

        sink.put(name, stored())
        levels, root = build_levels(sealer.leaves)
        return StreamFacts(sealer.layout(), header, root), levels

    parts = []
    if payload:
        part_key = entropy(32)
        facts, levels = write("payload", payload_name(volume), payload, part_key)
        sink.put(tree_name(volume), levels)
        parts.append(Part(volume, part_key, facts, len(payload) if content_bytes is None else content_bytes))
    plain_index = index if isinstance(index, bytes) else index(parts)
    index_facts, _ = write("index", index_name(volume), plain_index, key.raw())
    commitment = key_commitment(key, volume)
    manifest = Manifest(volume, segment_bytes, padding, commitment, index_facts)
    value = parse(manifest.to_bytes())
    if change_manifest is not None:
        change_manifest(value)
    data = write_manifest(value)
    asset = sha256_id(data)
    sink.put(manifest_name(asset), [data])
    return asset


class GeneratingStore(MemoryStore):
    """Throws payloads away and makes their segments again when asked: a volume of zeros that takes no memory.

    Counts what it was asked for: `requests` and `sent_bytes`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._parts: dict[str, Part] = {}
        self.requests = self.sent_bytes = 0

    def learn(self, done: PartDone) -> None:
        """Take the key of a part that was thrown away."""
        self._parts[payload_name(done.part.number)] = done.part

    def put(self, name: str, chunks: Iterable[Buffer]) -> int:
        """See `Store.put`."""
        if not name.endswith("/payload"):
            return super().put(name, chunks)
        return sum(len(chunk) for chunk in chunks)

    def size(self, name: str) -> int:
        """See `Store.size`."""
        part = self._parts.get(name)
        return super().size(name) if part is None else part.facts.layout.sealed_bytes

    def read(self, name: str, offset: int, length: int) -> Buffer:
        """See `Store.read`."""
        part = self._parts.get(name)
        self.requests += 1
        self.sent_bytes += length
        if part is None:
            return super().read(name, offset, length)
        layout, size = part.facts.layout, part.facts.layout.segment_bytes
        key = StreamKey(part.key, part.facts.header, stream_label(part.number, "payload"))
        stored = bytearray(length)
        for at in range(0, length, size):
            number = (offset + at) // size
            start, count = layout.sealed_range(number)
            skip = HEADER_BYTES if start == 0 else 0
            piece = memoryview(stored)[at : at + count]
            piece[:skip] = part.facts.header[:skip]
            key.seal_segment(number, number + 1 == layout.segments, bytes(count - skip - TAG_BYTES), piece[skip:])
        return stored
