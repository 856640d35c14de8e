"""Reading a sealed volume: any byte of any file, verified, without reading the rest."""

from __future__ import annotations

import hmac
import io
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import BinaryIO

from paddock.crypto.digest import is_digest, sha256_id
from paddock.crypto.streaming import StreamKey
from paddock.errors import (
    EncodingRefused,
    IndexRefused,
    ManifestMismatch,
    NoSuchFile,
    NoSuchObject,
    PaddingRefused,
    PathRefused,
    VolumeIncomplete,
    WrongDataKey,
)
from paddock.seal.blobs import BlobSource, index_name, manifest_name, payload_name, tree_name
from paddock.seal.datakey import DataKey
from paddock.seal.file_io import SealedFile
from paddock.seal.index import (
    FOOTER_BYTES,
    Entry,
    Fence,
    Part,
    Stored,
    parse_block,
    parse_fences,
    parse_footer,
    parse_parts,
)
from paddock.seal.manifest import MAX_MANIFEST_BYTES, Manifest
from paddock.seal.options import OpenOptions
from paddock.seal.padding import all_zero
from paddock.seal.paths import PathOrder, check_path
from paddock.seal.stream import Cache, HashTree, Opened, SealedStream, check_length, fetch
from paddock.seal.tree import TreeLayout
from paddock.seal.writer import Progress, key_commitment, stream_label

_PIECE_BYTES = 1 << 20
_INDEX_SEGMENTS = 2
"""Opened segments of the file table that are kept: blocks, once read, are kept for themselves."""


def read_manifest(asset: str, source: BlobSource) -> Manifest:
    """Fetch the manifest of an asset and compare it with the asset's id. Needs no key.

    Args:
        asset: `sha256:` and 64 hex digits, from a signed contract or another trusted place.
        source: the store; not trusted.

    Raises:
        EncodingRefused: `asset` is not an id.
        VolumeIncomplete: the store has no such manifest.
        ManifestMismatch: what it has is another one.
        ManifestRefused: it is the one, and breaks the format.

    Source: docs/spec/sealed-volume.md §5 (S-1, S-3).
    """
    # S-1
    if not is_digest(asset):
        raise EncodingRefused("An asset's id has the form sha256: and 64 hex digits.")
    name = manifest_name(asset)
    try:
        size = source.size(name)
    except NoSuchObject:
        raise VolumeIncomplete(f"It lacks {name}.") from None
    # S-3
    if size > MAX_MANIFEST_BYTES:
        raise ManifestMismatch(f"It has {size} bytes; no manifest is that long.")
    data = bytes(fetch(source, name, 0, size))
    if sha256_id(data) != asset:
        raise ManifestMismatch
    return Manifest.from_bytes(data)


class VolumeFile:
    """One file of an open volume. Safe to use from several threads.

    Args:
        path: where it stands in the volume.
        size: its length in bytes.
        read: fills a buffer from an offset; the range lies inside the file.
    """

    __slots__ = ("_read", "path", "size")

    def __init__(self, path: str, size: int, read: Callable[[int, memoryview], None]) -> None:
        self.path = path
        self.size = size
        self._read = read

    def read_into(self, offset: int, out: memoryview) -> int:
        """Fill a buffer from an offset, 0 or more, and return the number of bytes; fewer where the file ends.

        Raises:
            SealRefused, Unavailable: as `VolumeReader.open`.
        """
        if offset < 0:
            raise ValueError("an offset is not negative")
        count = max(0, min(len(out), self.size - offset))
        self._read(offset, out[:count])
        return count

    def open(self) -> BinaryIO:
        """As a read-only, seekable, buffered stream; plaintext stays in memory."""
        return io.BufferedReader(SealedFile(self.path, self.size, self._read), buffer_size=1 << 16)


class VolumeReader:
    """An open volume. Safe to use from several threads; holds nothing that must be closed.

    Every byte that it returns has been compared with the asset's id (hash tree) and opened (AEAD).
    """

    def __init__(self, manifest: Manifest, source: BlobSource, data_key: DataKey, options: OpenOptions) -> None:
        self.manifest = manifest
        self._source = source
        self._options = options
        self._blocks: Cache[int, list[Entry]] = Cache(options.cached_blocks)
        self._streams: Cache[int, SealedStream] = Cache(options.cached_parts)
        self._opened: Opened = Cache(options.cached_segments)
        self._index = _index_stream(manifest, source, data_key, options)
        size = manifest.index.layout.plain_bytes
        if size < FOOTER_BYTES:
            raise IndexRefused("It does not end with a footer.")
        footer = parse_footer(self._read_index(size - FOOTER_BYTES, FOOTER_BYTES), size, manifest.padding)
        self._footer = footer
        self._fences = parse_fences(self._read_index(footer.fences_position, footer.fences_bytes), footer)
        self._first_paths = [fence.path for fence in self._fences]
        self.parts = parse_parts(self._read_index(footer.parts_position, footer.parts_bytes), manifest.padding)
        self._starts = [0, *accumulate(part.content_bytes for part in self.parts)]
        # S-23
        at = footer.parts_position + footer.parts_bytes
        while at < size - FOOTER_BYTES:
            count = min(_PIECE_BYTES, size - FOOTER_BYTES - at)
            if not all_zero(self._read_index(at, count)):
                raise PaddingRefused("In the index.")
            at += count

    @classmethod
    def open(
        cls, asset: str, source: BlobSource, data_key: DataKey, *, options: OpenOptions | None = None
    ) -> VolumeReader:
        """Open a volume: fetch and verify its manifest, compare the key, read the frame of its file table.

        Args:
            asset: the asset's id, from a signed contract or another trusted place.
            source: the store; not trusted.
            data_key: the volume's key.
            options: threads and caches; None for the defaults.

        Raises:
            EncodingRefused: `asset` is not an id.
            ManifestMismatch, ManifestRefused: not the manifest that the id names, or a bad one.
            WrongDataKey: the key is another volume's.
            VolumeIncomplete: an object is missing.
            SealRefused: a stored object differs from what was sealed, or was sealed badly.

        Source: docs/spec/sealed-volume.md §9.
        """
        options = options or OpenOptions()
        # 1. The manifest is the one that the id names.
        manifest = read_manifest(asset, source)
        # 2. The key is the volume's, before any segment is touched, so that a wrong key is not taken for damage.
        # S-15
        if not hmac.compare_digest(key_commitment(data_key, manifest.volume), manifest.key_commitment):
            raise WrongDataKey
        # 3. The index has the length that the manifest states.
        _check_size(source, index_name(manifest.volume), manifest.index_tree.end)
        # 4. The file table's frame, in the constructor.
        return cls(manifest, source, data_key, options)

    def __len__(self) -> int:
        return self._footer.files

    @property
    def payload_bytes(self) -> int:
        """Plaintext bytes of all parts together, padding and what no file uses any more included."""
        return sum(part.facts.layout.plain_bytes for part in self.parts)

    @property
    def content_bytes(self) -> int:
        """Bytes of all files together."""
        return self._footer.file_bytes

    def iter_paths(self) -> Iterator[str]:
        """Every file's path, in ascending order of bytes; holds one block of the table at a time."""
        for path, _ in self.iter_stored():
            yield path

    def paths(self) -> list[str]:
        """Every file's path, in ascending order of bytes."""
        return list(self.iter_paths())

    def size(self, path: str) -> int:
        """Length of a file in bytes.

        Raises:
            NoSuchFile: there is none of this name.
        """
        return self._entry(path).stored.size

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Bytes of a file; fewer than `length` where it ends.

        Args:
            path: the file.
            offset: first byte, 0 or more.
            length: number of bytes, 0 or more.

        Raises:
            NoSuchFile: there is none of this name.
            SealRefused, Unavailable: as `open`.
        """
        file = self.find(path)
        if offset < 0 or length < 0:
            raise ValueError("offset and length are not negative")
        out = bytearray(max(0, min(length, file.size - offset)))
        file.read_into(offset, memoryview(out))
        return bytes(out)

    def open_file(self, path: str) -> BinaryIO:
        """A file as a read-only, seekable, buffered stream; plaintext stays in memory.

        Raises:
            NoSuchFile: there is none of this name.
        """
        return self.find(path).open()

    def find(self, path: str) -> VolumeFile:
        """A file by its path.

        Raises:
            NoSuchFile: there is none of this name.
        """
        return self._file(self._entry(path))

    def iter_files(self, below: str = "") -> Iterator[VolumeFile]:
        """Files in ascending order of their paths' bytes; holds one block of the table at a time.

        Args:
            below: a directory, without a slash at its end; empty for all files.
        """
        prefix = below.encode("utf-8") + b"/" if below else b""
        begun = not prefix
        first = max(0, bisect_right(self._first_paths, prefix) - 1)
        order = PathOrder()
        for number in range(first, len(self._fences)):
            for entry in self._block(number):
                self._follow(order, entry)
                if entry.path.startswith(prefix):
                    if not begun:
                        self._check_above(entry.path)
                        begun = True
                    yield self._file(entry)
                elif entry.path > prefix:
                    return

    def iter_directory(self, path: str = "") -> Iterator[tuple[str, VolumeFile | None]]:
        """What stands in a directory: names in ascending order of bytes, with the file, or None for a directory.

        What lies deeper is passed over by the file table: a root over a million files costs as many look-ups as it has
        entries.

        Args:
            path: the directory, without a slash at its end; empty for the root. What is not there has no entries.
        """
        prefix = path.encode("utf-8") + b"/" if path else b""
        begun = not prefix
        order = PathOrder()
        number, at = self._place(prefix)
        while number < len(self._fences):
            block = self._block(number)
            if at == len(block):
                number, at = number + 1, 0
                continue
            entry = block[at]
            if not entry.path.startswith(prefix):
                return
            if not begun:
                self._check_above(entry.path)
                begun = True
            self._follow(order, entry)
            name, slash, _ = entry.path[len(prefix) :].partition(b"/")
            yield name.decode("utf-8"), None if slash else self._file(entry)
            if slash:
                # "0" follows the slash: the first path that is not below the directory.
                number, at = self._place(prefix + name + b"0")
            else:
                at += 1

    def iter_stored(self) -> Iterator[tuple[str, Stored]]:
        """Every file's path and where its content stands in `parts`: what `write_volume` takes for files that stay."""
        order = PathOrder()
        for number in range(len(self._fences)):
            for entry in self._block(number):
                self._follow(order, entry)
                yield entry.path.decode("utf-8"), entry.stored

    def _file(self, entry: Entry) -> VolumeFile:
        stored = entry.stored

        def read(offset: int, out: memoryview) -> None:
            for extent in stored.extents:
                if not out:
                    return
                count = min(len(out), extent.length - offset)
                if count > 0:
                    self._read_content(extent.offset + offset, out[:count])
                    out, offset = out[count:], 0
                else:
                    offset -= extent.length

        return VolumeFile(entry.path.decode("utf-8"), stored.size, read)

    def _read_content(self, offset: int, out: memoryview) -> None:
        """Fill a buffer with content from any place of it, out of as many parts as it lies in."""
        while out:
            number = bisect_right(self._starts, offset) - 1
            count = min(len(out), self._starts[number + 1] - offset)
            self._stream(number).read_into(offset - self._starts[number], out[:count])
            out, offset = out[count:], offset + count

    def _stream(self, number: int) -> SealedStream:
        return self._streams.get_or(number, lambda: self._open_part(self.parts[number]))

    def _open_part(self, part: Part) -> SealedStream:
        facts, payload, tree = part.facts, payload_name(part.number), tree_name(part.number)
        layout = TreeLayout(0, facts.layout.segments)
        check_stored(self._source, part)
        # S-4
        key = StreamKey(part.key, facts.header, stream_label(part.number, "payload"))
        return SealedStream(
            self._source,
            payload,
            facts,
            HashTree(self._source, tree, layout, facts.root, self._options.cached_tiles),
            key,
            opened=self._opened,
            threads=self._options.threads,
            fetch_bytes=self._options.fetch_bytes,
            content_bytes=part.content_bytes,
        )

    def verify(self, progress: Progress | None = None) -> None:
        """Read everything once: every segment of every part, every entry, all padding.

        Args:
            progress: told the number of payload bytes verified so far, of `payload_bytes` in all.

        Raises:
            SealRefused, Unavailable: as `open`.
        """
        # S-19
        if sum(file.size for file in self.iter_files()) != self._footer.file_bytes:
            raise IndexRefused("Its files do not have the length that it states.")
        lock = threading.Lock()
        done = 0

        def count(length: int) -> None:
            nonlocal done
            with lock:
                done += length
                if progress is not None:
                    progress(done)

        self._index.verify(None)
        for number in range(len(self.parts)):
            self._stream(number).verify(count)

    def _entry(self, path: str) -> Entry:
        try:
            raw = check_path(path)
        except PathRefused:
            raise NoSuchFile(f"{path!r}.") from None
        entry = self._find(raw)
        if entry is None:
            raise NoSuchFile(f"{path!r}.")
        self._check_directories(entry)
        return entry

    @staticmethod
    def _follow(order: PathOrder, entry: Entry) -> None:
        # S-18
        try:
            order.follow(entry.path)
        except PathRefused as error:
            raise IndexRefused(error.detail) from None

    def _check_directories(self, entry: Entry) -> None:
        # S-18, for files that stand in different blocks
        self._check_above(entry.path)
        following = self._first_from(entry.path + b"/")
        if following is not None and following.path.startswith(entry.path + b"/"):
            raise IndexRefused("A path is both a file and a directory.")

    def _check_above(self, path: bytes) -> None:
        # S-18: none of the directories that the path leads through is a file.
        parts = path.split(b"/")
        if any(self._find(b"/".join(parts[:count])) for count in range(1, len(parts))):
            raise IndexRefused("A path is both a file and a directory.")

    def _find(self, raw: bytes) -> Entry | None:
        entry = self._first_from(raw)
        return entry if entry is not None and entry.path == raw else None

    def _first_from(self, raw: bytes) -> Entry | None:
        """The first entry whose path is `raw` or comes after it."""
        if not self._fences:
            return None
        number, at = self._place(raw)
        block = self._block(number)
        if at < len(block):
            return block[at]
        return self._block(number + 1)[0] if number + 1 < len(self._fences) else None

    def _place(self, raw: bytes) -> tuple[int, int]:
        """Where the first entry stands whose path is `raw` or comes after it: its block, and its place there."""
        number = bisect_right(self._first_paths, raw) - 1
        if number < 0:
            return 0, 0
        return number, bisect_left(self._block(number), raw, key=lambda entry: entry.path)

    def _block(self, number: int) -> list[Entry]:
        return self._blocks.get_or(number, lambda: self._load_block(number))

    def _load_block(self, number: int) -> list[Entry]:
        fence = self._fences[number]
        after: Fence | None = self._fences[number + 1] if number + 1 < len(self._fences) else None
        end = self._footer.fences_position if after is None else after.position
        return parse_block(self._read_index(fence.position, end - fence.position), fence, after, self._starts[-1])

    def _read_index(self, offset: int, length: int) -> bytes:
        out = bytearray(length)
        self._index.read_into(offset, memoryview(out))
        return bytes(out)


def check_stored(source: BlobSource, part: Part) -> None:
    """Return if the source says that it holds a part whole; what it holds is compared when it is read.

    Raises:
        VolumeIncomplete, ObjectTruncated, ObjectOverlong: it does not.

    Source: docs/spec/sealed-volume.md §8 (S-24).
    """
    _check_size(source, payload_name(part.number), part.facts.layout.sealed_bytes)
    _check_size(source, tree_name(part.number), TreeLayout(0, part.facts.layout.segments).end)


def _check_size(source: BlobSource, name: str, length: int) -> None:
    # S-24
    try:
        size = source.size(name)
    except NoSuchObject:
        raise VolumeIncomplete(f"It lacks {name}.") from None
    check_length(name, size, length)


def _index_stream(manifest: Manifest, source: BlobSource, data_key: DataKey, options: OpenOptions) -> SealedStream:
    name, facts = index_name(manifest.volume), manifest.index
    # S-4
    key = StreamKey(data_key.raw(), facts.header, stream_label(manifest.volume, "index"))
    return SealedStream(
        source,
        name,
        facts,
        HashTree(source, name, manifest.index_tree, facts.root, options.cached_tiles),
        key,
        opened=Cache(_INDEX_SEGMENTS),
        threads=options.threads,
        fetch_bytes=options.fetch_bytes,
    )
