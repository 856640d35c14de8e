"""Writing a sealed volume."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from paddock.crypto.streaming import Buffer, StreamKey, derive, new_header
from paddock.errors import SinkIncomplete
from paddock.seal.blobs import BlobSink, index_name, manifest_name, payload_name, tree_name
from paddock.seal.datakey import DataKey
from paddock.seal.index import IndexBuilder
from paddock.seal.manifest import Manifest, StreamFacts
from paddock.seal.options import SealOptions
from paddock.seal.padding import padded_length, zeros
from paddock.seal.pipeline import StreamSealer
from paddock.seal.tree import build_levels

Files = Iterable[tuple[str, Iterable[Buffer]]]
Progress = Callable[[int], None]
_LABEL = "paddock/volume/v1"


@dataclass(frozen=True)
class Sealed:
    """What was written.

    Args:
        asset: the asset's id, `sha256:` and 64 hex digits.
        manifest: the manifest's bytes, of which that is the digest.
        volume: the volume number, 32 hex digits, under which the objects are kept.
        stored_bytes: bytes of all four objects.
    """

    asset: str
    manifest: bytes
    volume: str
    stored_bytes: int


def stream_label(volume: str, stream: str) -> bytes:
    """The associated data of a stream (S-4): which volume it belongs to, and whether it is `payload` or `index`."""
    return f"{_LABEL}/{volume}/{stream}".encode("ascii")


def key_commitment(data_key: DataKey, volume: str) -> bytes:
    """32 public bytes that tell whether a data key is the one of a volume, and tell nothing else of it (S-15)."""
    return derive(data_key.raw(), f"{_LABEL}/{volume}/key-commitment".encode("ascii"))


def in_order(files: Mapping[str, Buffer]) -> list[tuple[str, list[Buffer]]]:
    """Files that are in memory, in the order in which `write_volume` takes them."""
    return [(path, [files[path]]) for path in sorted(files)]


def write_volume(
    files: Files,
    data_key: DataKey,
    sink: BlobSink,
    *,
    options: SealOptions | None = None,
    progress: Progress | None = None,
) -> Sealed:
    """Seal files into a new volume, streamed.

    The manifest is put last: a volume whose writing broke off has no id, and nobody can be led to it.

    Args:
        files: paths and their contents in pieces, in ascending order of the paths' UTF-8 bytes (`in_order` sorts
            files in memory). A piece may be reused once the next one is asked for.
        data_key: a key for this volume alone.
        sink: where the objects go.
        options: how to seal; None for the defaults.
        progress: told the number of content bytes taken so far.

    Raises:
        PathRefused: a path that a volume cannot hold, or out of order.
        VolumeTooLarge: more than one volume can hold.
        SinkIncomplete: the sink did not take an object whole.
        Unavailable, Misconfigured: whatever the sink raises.

    Source: docs/spec/sealed-volume.md §2.
    """
    return seal_with_entropy(
        files, data_key, sink, options=options or SealOptions(), progress=progress, entropy=os.urandom
    )


def seal_with_entropy(
    files: Files,
    data_key: DataKey,
    sink: BlobSink,
    *,
    options: SealOptions,
    progress: Progress | None,
    entropy: Callable[[int], bytes],
) -> Sealed:
    """`write_volume` with a chosen source of random bytes: for test vectors alone. Never reuse key and entropy."""
    # S-2
    volume = entropy(16).hex()
    index = IndexBuilder()

    def write(stream: str, name: str, plain: Iterable[Buffer]) -> tuple[StreamFacts, list[bytes]]:
        header = new_header(entropy)
        # S-4
        key = StreamKey(data_key.raw(), header, stream_label(volume, stream))
        sealer = StreamSealer(key, header, options.segment_bytes, options.threads)
        sink.put(name, sealer.run(plain))
        if not sealer.finished:
            raise SinkIncomplete(f"It stopped after {sealer.sealed_bytes} bytes of {name}.")
        levels, root = build_levels(sealer.leaves)
        return StreamFacts(sealer.layout(), header, root), levels

    payload_facts, payload_levels = write("payload", payload_name(volume), _payload(files, index, options, progress))
    index_facts, index_levels = write("index", index_name(volume), index.finish(options.padding))
    # S-11
    tree_bytes = _put(sink, tree_name(volume), [*payload_levels, *index_levels])
    manifest = Manifest(
        volume,
        options.segment_bytes,
        options.padding,
        key_commitment(data_key, volume),
        payload_facts,
        index_facts,
    )
    data = manifest.to_bytes()
    _put(sink, manifest_name(manifest.asset()), [data])
    stored = payload_facts.layout.sealed_bytes + index_facts.layout.sealed_bytes + tree_bytes + len(data)
    return Sealed(manifest.asset(), data, volume, stored)


def _payload(files: Files, index: IndexBuilder, options: SealOptions, progress: Progress | None) -> Iterator[Buffer]:
    done = 0
    for path, chunks in files:
        raw = index.check(path)
        start = done
        for chunk in chunks:
            yield chunk
            done += memoryview(chunk).nbytes
            if progress is not None:
                progress(done)
        index.add(raw, done - start)
    # S-23
    yield from zeros(padded_length(done, options.padding) - done)


def _put(sink: BlobSink, name: str, chunks: list[bytes]) -> int:
    expected = sum(len(chunk) for chunk in chunks)
    kept = sink.put(name, chunks)
    if kept != expected:
        raise SinkIncomplete(f"It kept {kept} of {expected} bytes of {name}.")
    return expected
