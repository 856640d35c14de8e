"""Writing a sealed volume."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Self

from paddock.crypto.streaming import DATA_KEY_BYTES, Buffer, StreamKey, StreamLayout, derive, new_header
from paddock.errors import SealOptionsInvalid, SinkIncomplete, VolumeTooLarge
from paddock.seal.blobs import BlobSink, index_name, manifest_name, payload_name, tree_name
from paddock.seal.datakey import DataKey
from paddock.seal.index import MAX_EXTENTS, Extent, IndexBuilder, Part, Stored
from paddock.seal.manifest import Manifest, StreamFacts
from paddock.seal.options import SealOptions
from paddock.seal.padding import Padding, padded_length, zeros
from paddock.seal.pipeline import StreamSealer
from paddock.seal.tree import ContentHash, TreeLayout, build_levels

Progress = Callable[[int], None]
_LABEL = "paddock/volume/v1"
_PIECE_BYTES = 1 << 20
_PARTS_AT_ONCE = 2


@dataclass(frozen=True)
class Grown:
    """Content whose beginning is stored already.

    Args:
        before: that beginning.
        seen: has taken exactly its bytes.
        chunks: what follows, in pieces.
    """

    before: Stored
    seen: ContentHash
    chunks: Iterable[Buffer]


Content = Iterable[Buffer] | Stored | Grown
Files = Iterable[tuple[str, Content]]


@dataclass(frozen=True)
class PartDone:
    """What is told when a part has been written whole: enough to go on from here after a crash.

    Args:
        part: the part, its key included; it follows the ones that were known and those told before.
        finished: paths and contents that were finished since the part before.
        open: the file in whose middle the part ends, as far as it is written; or None.
    """

    part: Part
    finished: tuple[tuple[str, Stored], ...]
    open: tuple[str, Stored] | None


@dataclass(frozen=True)
class Sealed:
    """What was written.

    Args:
        asset: the asset's id, `sha256:` and 64 hex digits.
        manifest: the manifest's bytes, of which that is the digest.
        volume: the volume number, 32 hex digits, under which index and first part are kept.
        stored_bytes: bytes of all objects of the volume, earlier parts among them.
        written_bytes: bytes of those that were put for it.
        parts: the volume's parts, earlier ones that it goes on using among them.
        files: number of files.
        file_bytes: their lengths together.
    """

    asset: str
    manifest: bytes
    volume: str
    stored_bytes: int
    written_bytes: int
    parts: tuple[Part, ...]
    files: int
    file_bytes: int


def stream_label(number: str, stream: str) -> bytes:
    """The associated data of a stream (S-4): which volume or part it belongs to, and whether it is `payload` or `index`."""
    return f"{_LABEL}/{number}/{stream}".encode("ascii")


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
    known: Sequence[Part] = (),
    part_done: Callable[[PartDone], None] | None = None,
) -> Sealed:
    """Seal files into a new volume, streamed.

    The manifest is put last: a volume whose writing broke off has no id, and nobody can be led to it.

    Args:
        files: paths and their contents, in ascending order of the paths' UTF-8 bytes (`in_order` sorts files in
            memory). A content is its bytes in pieces, each of which may be reused once the next one is asked for; or
            `Stored`, or `Grown`, where parts of another volume of the same owner hold it or its beginning.
        data_key: a key for this volume alone.
        sink: where the objects go; it is asked from several threads.
        options: how to seal; None for the defaults.
        progress: told the number of content bytes taken so far, stored ones included; from another thread.
        known: the parts that `Stored` and `Grown` speak of: a volume's `parts`, which the sink holds. All of them
            become parts of this volume, whether or not a file is left in them.
        part_done: told of each part once the sink holds it whole.

    Raises:
        PathRefused: a path that a volume cannot hold, or out of order.
        VolumeTooLarge: more than one volume can hold.
        SinkIncomplete: the sink did not take an object whole.
        Unavailable, Misconfigured: whatever the sink raises.

    Source: docs/spec/sealed-volume.md §2.
    """
    return seal_with_entropy(
        files,
        data_key,
        sink,
        options=options or SealOptions(),
        progress=progress,
        entropy=os.urandom,
        known=known,
        part_done=part_done,
    )


def seal_with_entropy(
    files: Files,
    data_key: DataKey,
    sink: BlobSink,
    *,
    options: SealOptions,
    progress: Progress | None,
    entropy: Callable[[int], bytes],
    known: Sequence[Part] = (),
    part_done: Callable[[PartDone], None] | None = None,
) -> Sealed:
    """`write_volume` with a chosen source of random bytes: for test vectors alone. Never reuse key and entropy."""
    # S-2
    volume = entropy(16).hex()
    writing = _Writing(files, known, options.padding, progress, remember=part_done is not None)
    written = 0
    with closing(writing), _Puts(sink, part_done, writing.stop) as puts:
        while writing.more():
            number, key = entropy(16).hex() if written else volume, entropy(DATA_KEY_BYTES)
            sealer = _sealer(key, number, "payload", options, entropy)
            puts.payload(payload_name(number), sealer, sealer.run(writing.part(options.part_bytes)))
            # S-11
            levels, root = build_levels(sealer.leaves)
            facts = StreamFacts(sealer.layout(), sealer.header, root)
            puts.tree(tree_name(number), levels, writing.close_part(Part(number, key, facts, writing.in_part)))
            written += _stored_bytes(facts.layout)
    made = writing.index
    # S-16
    table = writing.table if made.files else []
    sealer = _sealer(data_key.raw(), volume, "index", options, entropy)
    index = sealer.run(made.finish(table, options.padding))
    _put_stream(sink, index_name(volume), sealer, _with_tree(index, sealer))
    facts = StreamFacts(sealer.layout(), sealer.header, build_levels(sealer.leaves)[1])
    manifest = Manifest(volume, options.segment_bytes, options.padding, key_commitment(data_key, volume), facts)
    data = manifest.to_bytes()
    _put(sink, manifest_name(manifest.asset()), [data])
    written += manifest.index_tree.end + len(data)
    stored = written + sum(_stored_bytes(part.facts.layout) for part in table[: len(known)])
    return Sealed(manifest.asset(), data, volume, stored, written, tuple(table), made.files, made.file_bytes)


class _Writing:
    """All contents as one stream, cut into parts; notes where each file comes to stand.

    Args:
        files: see `write_volume`.
        known: likewise.
        padding: how the volume is padded.
        progress: likewise.
        remember: whether finished files are kept for `PartDone`.
    """

    def __init__(
        self, files: Files, known: Sequence[Part], padding: Padding, progress: Progress | None, *, remember: bool
    ) -> None:
        self.index = IndexBuilder()
        self.table = [_usable(part, padding) for part in known]
        self.in_part = 0
        self._base = sum(part.content_bytes for part in known)
        self._padding = padding
        self._progress = progress
        self._done = 0
        self._new_bytes = 0
        self._rest = memoryview(b"")
        self._path = ""
        self._hash = ContentHash()
        self._extents: list[Extent] = []
        self._is_new = False
        self._remember = remember
        self._stopped = False
        self._finished: list[tuple[str, Stored]] = []
        self._pieces = self._run(files)

    def more(self) -> bool:
        """Whether there is content that no part holds; takes files without any on the way."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._rest = piece
        return True

    def part(self, most: int) -> Iterator[Buffer]:
        """The plaintext of the next part: at most so many bytes of content, and padding behind the last of all."""
        self.in_part = 0
        while self.in_part < most and self.more():
            if self._stopped:
                raise SinkIncomplete("Sealing ended early.")
            piece = self._rest[: min(most - self.in_part, _PIECE_BYTES)]
            self._hash.update(piece)
            self._note(Extent(self._base + self.in_part, len(piece)))
            self.in_part += len(piece)
            self._new_bytes += len(piece)
            self._rest = self._rest[len(piece) :]
            yield piece
            self._tell(len(piece))
        if not self.more():
            # S-23
            yield from zeros(padded_length(self._new_bytes, self._padding) - self._new_bytes)

    def stop(self) -> None:
        """Fail when asked for more: nobody waits for it."""
        self._stopped = True

    def close(self) -> None:
        """End what makes the contents."""
        self._pieces.close()

    def close_part(self, part: Part) -> PartDone:
        """Say what the part is that was written last."""
        self.table.append(part)
        self._base += part.content_bytes
        self.more()  # finishes the files that end where the part ends
        finished = tuple(self._finished)
        self._finished.clear()
        still = None
        if self._is_new and self._extents:
            still = self._path, Stored(self._hash.digest(), tuple(self._extents))
        return PartDone(part, finished, still)

    def _run(self, files: Files) -> Generator[memoryview, None, None]:
        for path, content in files:
            raw = self.index.check(path)
            self._path, self._extents, self._is_new = path, [], False
            if isinstance(content, Stored):
                self._reuse(content)
                self.index.add(raw, Stored(content.digest, tuple(self._extents)))
                continue
            if isinstance(content, Grown):
                self._hash, chunks = content.seen, content.chunks
                self._reuse(content.before)
            else:
                self._hash, chunks = ContentHash(), content
            self._is_new = True
            try:
                for chunk in chunks:
                    yield memoryview(chunk).cast("B")
            finally:
                _close(chunks)
            stored = Stored(self._hash.digest(), tuple(self._extents))
            self._is_new = False
            self.index.add(raw, stored)
            if self._remember and stored.extents:
                self._finished.append((path, stored))

    def _reuse(self, stored: Stored) -> None:
        for extent in stored.extents:
            self._note(extent)
        self._tell(stored.size)

    def _note(self, extent: Extent) -> None:
        last = self._extents[-1] if self._extents else None
        if last is not None and last.offset + last.length == extent.offset:
            self._extents[-1] = last._replace(length=last.length + extent.length)
        elif len(self._extents) == MAX_EXTENTS:
            raise VolumeTooLarge(f"A file would be of more than {MAX_EXTENTS} pieces.")
        else:
            self._extents.append(extent)

    def _tell(self, count: int) -> None:
        self._done += count
        if self._progress is not None and count:
            self._progress(self._done)


def _stored_bytes(layout: StreamLayout) -> int:
    return layout.sealed_bytes + TreeLayout(0, layout.segments).end


def _close(content: object) -> None:
    """End what makes content, at once and here: left to the collector, a generator would end at any time and place."""
    if isinstance(content, Generator):
        content.close()


def _usable(part: Part, padding: Padding) -> Part:
    # S-22
    if padding == "none" and part.facts.layout.plain_bytes != part.content_bytes:
        raise SealOptionsInvalid("What is stored already is padded, and a volume without padding was asked for.")
    return part


def _sealer(
    key: bytes, number: str, stream: str, options: SealOptions, entropy: Callable[[int], bytes]
) -> StreamSealer:
    header = new_header(entropy)
    # S-4
    return StreamSealer(
        StreamKey(key, header, stream_label(number, stream)), header, options.segment_bytes, options.threads
    )


class _Puts:
    """Hands parts to the sink: while it finishes one, the next is being sealed. Tells of each once it is kept whole.

    Args:
        sink: where they go.
        part_done: see `write_volume`.
        stop: makes the content fail that a sink is still taking, when nobody waits for it any more.
    """

    def __init__(self, sink: BlobSink, part_done: Callable[[PartDone], None] | None, stop: Callable[[], None]) -> None:
        self._sink = sink
        self._part_done = part_done
        self._stop = stop
        self._pool = ThreadPoolExecutor(_PARTS_AT_ONCE, thread_name_prefix="paddock-put")
        self._payload: Future[None] | None = None
        self._waiting: deque[tuple[Future[None], Future[int], PartDone]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._settle(0)
        finally:
            self._stop()
            self._pool.shutdown(cancel_futures=True)

    def payload(self, name: str, sealer: StreamSealer, segments: Iterator[Buffer]) -> None:
        """Begin to put a payload; returns once its last segment was taken, though it may not be kept yet."""
        self._settle(_PARTS_AT_ONCE - 1)
        taken = threading.Event()

        def watched() -> Iterator[Buffer]:
            try:
                yield from segments
            finally:
                taken.set()

        self._payload = self._pool.submit(_put_stream, self._sink, name, sealer, watched())
        self._payload.add_done_callback(lambda _: taken.set())
        taken.wait()
        if not sealer.finished:
            self._payload.result()

    def tree(self, name: str, levels: list[bytes], done: PartDone) -> None:
        """Put the tree of the payload that was begun last."""
        payload = self._payload
        if payload is None:
            raise RuntimeError("a tree without its payload")
        self._waiting.append((payload, self._pool.submit(_put, self._sink, name, levels), done))

    def _settle(self, most: int) -> None:
        """Wait until at most so many parts are under way."""
        while len(self._waiting) > most:
            payload, tree, done = self._waiting.popleft()
            payload.result()
            tree.result()
            if self._part_done is not None:
                self._part_done(done)


def _with_tree(segments: Iterator[Buffer], sealer: StreamSealer) -> Iterator[Buffer]:
    # S-11
    yield from segments
    yield from build_levels(sealer.leaves)[0]


def _put_stream(sink: BlobSink, name: str, sealer: StreamSealer, chunks: Iterator[Buffer]) -> None:
    sink.put(name, chunks)
    if not sealer.finished:
        raise SinkIncomplete(f"It stopped after {sealer.sealed_bytes} bytes of {name}.")


def _put(sink: BlobSink, name: str, chunks: list[bytes]) -> int:
    expected = sum(len(chunk) for chunk in chunks)
    kept = sink.put(name, chunks)
    if kept != expected:
        raise SinkIncomplete(f"It kept {kept} of {expected} bytes of {name}.")
    return expected
