"""Volumes that no writer writes, sealed as a hostile owner could: for tests and test vectors."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from typing import Any

from paddock.crypto.canonical import canonical, parse
from paddock.crypto.digest import sha256_id
from paddock.crypto.streaming import StreamKey, new_header
from paddock.seal.blobs import BlobSink, index_name, manifest_name, payload_name, tree_name
from paddock.seal.datakey import DataKey
from paddock.seal.manifest import Manifest, StreamFacts
from paddock.seal.padding import Padding, padded_length
from paddock.seal.pipeline import StreamSealer
from paddock.seal.tree import build_levels
from paddock.seal.writer import key_commitment, stream_label

Extent = tuple[bytes, int, int]


def raw_index(
    blocks: Sequence[Sequence[Extent]],
    *,
    padding: Padding = "none",
    filler: bytes = b"\0",
    change_fences: Callable[[list[list[Any]]], None] | None = None,
    change_footer: Callable[[list[Any]], None] | None = None,
    trailing: bytes = b"",
) -> bytes:
    """The plaintext of an index, right or wrong.

    Args:
        blocks: for each block its entries: path, offset, length; written as they are.
        padding: as the manifest will state it.
        filler: the byte that padding is made of.
        change_fences: changes rows of position, entries, offset, path before they are written.
        change_footer: changes magic, files, content bytes, fences' position and length, blocks likewise.
        trailing: stands at the end of the last block, belonging to no entry.
    """
    rows: list[list[Any]] = []
    data = bytearray()
    for block in blocks:
        rows.append([len(data), len(block), block[0][1], block[0][0]])
        data += b"".join(struct.pack(">H", len(p)) + p + struct.pack(">QQ", o, n) for p, o, n in block)
    data += trailing
    if change_fences is not None:
        change_fences(rows)
    fences = b"".join(struct.pack(">QLQH", *row[:3], len(row[3])) + row[3] for row in rows)
    extents = [entry for block in blocks for entry in block]
    content = max((offset + length for _, offset, length in extents), default=0)
    footer: list[Any] = [b"PDKINDX1", len(extents), content, len(data), len(fences), len(blocks)]
    if change_footer is not None:
        change_footer(footer)
    whole = len(data) + len(fences) + 48
    return bytes(data) + fences + filler * (padded_length(whole, padding) - whole) + struct.pack(">8sQQQQQ", *footer)


def forge_volume(
    payload: bytes,
    index: bytes,
    key: DataKey,
    sink: BlobSink,
    *,
    segment_bytes: int = 4096,
    padding: Padding = "none",
    change_manifest: Callable[[dict[str, Any]], None] | None = None,
    write_manifest: Callable[[dict[str, Any]], bytes] = canonical,
    stream_key: Callable[[str, bytes], StreamKey] | None = None,
    entropy: Callable[[int], bytes] = os.urandom,
) -> str:
    """Seal these two plaintexts, whatever they are, and return the asset's id.

    Args:
        payload: plaintext of the payload.
        index: plaintext of the index.
        key: the data key.
        sink: where the objects go.
        segment_bytes: as in the manifest.
        padding: what the manifest states.
        change_manifest: changes its members before it is written and its id is taken.
        write_manifest: writes it.
        stream_key: makes the key of a stream (`payload`, `index`) from its header, otherwise the right one.
        entropy: random bytes.
    """
    volume = entropy(16).hex()

    def write(stream: str, name: str, plain: bytes) -> tuple[StreamFacts, list[bytes]]:
        header = new_header(entropy)
        if stream_key is None:
            made = StreamKey(key.raw(), header, stream_label(volume, stream))
        else:
            made = stream_key(stream, header)
        sealer = StreamSealer(made, header, segment_bytes, 1)
        sink.put(name, sealer.run([plain]))
        levels, root = build_levels(sealer.leaves)
        return StreamFacts(sealer.layout(), header, root), levels

    payload_facts, payload_levels = write("payload", payload_name(volume), payload)
    index_facts, index_levels = write("index", index_name(volume), index)
    sink.put(tree_name(volume), [*payload_levels, *index_levels])
    commitment = key_commitment(key, volume)
    manifest = Manifest(volume, segment_bytes, padding, commitment, payload_facts, index_facts)
    value = parse(manifest.to_bytes())
    if change_manifest is not None:
        change_manifest(value)
    data = write_manifest(value)
    asset = sha256_id(data)
    sink.put(manifest_name(asset), [data])
    return asset
