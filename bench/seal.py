"""Sealed volumes: how fast they are written and read, beside bare AES-256-GCM, and how much memory that takes.

The bar is the same library's AES-256-GCM (`AESGCM.encrypt_into`, `decrypt_into`) over the same buffers in segments of
the same size, on one core, in turns with what it is compared with. A volume does more: it hashes every stored byte
up to the asset's id.
"""

from __future__ import annotations

import gc
import os
import statistics
from collections.abc import Iterable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.harness import Row, Timings, interleaved, peak_memory_bytes, reset_peak_memory, row
from paddock.crypto.streaming import HEADER_BYTES, TAG_BYTES, Buffer, StreamKey, StreamLayout, derive
from paddock.seal import DataKey, SealOptions, VolumeReader, write_volume
from paddock.seal.memory import open_into, seal_into
from paddock.seal.writer import stream_label
from paddock.testing.stores import MemoryStore

SEGMENT_BYTES = 1 << 20
LABEL = b"bench"
ZEROS = memoryview(bytes(SEGMENT_BYTES))
TARGET = "ratio >= 0.6"
AREA = "seal"


def rows(quick: bool) -> list[Row]:
    size = (256 << 20) if quick else (2 << 30)
    return [*_memory(), *_streams(size, 3 if quick else 5), *_volumes(size, 3)]


def _gib(size: int) -> str:
    return f"{size >> 30} GiB" if size >= 1 << 30 else f"{size >> 20} MiB"


class Bare:
    """AES-256-GCM of the same library alone, over the same buffers: no hashes, no threads, no checks.

    It uses the key and nonces of the stream that stands in the buffer, so it makes and opens the very same bytes.
    """

    def __init__(self, layout: StreamLayout, data_key: DataKey) -> None:
        self._data_key = data_key
        self._ranges = []
        for number in range(layout.segments):
            at, length = layout.plain_range(number)
            end = sum(layout.sealed_range(number))
            nonce = number.to_bytes(4, "big") + bytes([number + 1 == layout.segments])
            self._ranges.append((nonce, slice(at, at + length), slice(end - length - TAG_BYTES, end)))

    def seal(self, plain: memoryview, sealed: memoryview, label: bytes) -> None:
        """Encrypt every segment; the header in `sealed` stays."""
        key, prefix = self._key(sealed, label)
        for nonce, there, here in self._ranges:
            key.encrypt_into(prefix + nonce, plain[there], None, sealed[here])

    def open(self, sealed: memoryview, plain: memoryview, label: bytes) -> None:
        """Decrypt every segment."""
        key, prefix = self._key(sealed, label)
        for nonce, there, here in self._ranges:
            key.decrypt_into(prefix + nonce, sealed[here], None, plain[there])

    def _key(self, sealed: memoryview, label: bytes) -> tuple[AESGCM, bytes]:
        return AESGCM(derive(self._data_key.raw(), label, bytes(sealed[1:33]))), bytes(sealed[33:HEADER_BYTES])


def _streams(size: int, repeat: int) -> list[Row]:
    plain = memoryview(bytearray(os.urandom(1 << 20) * (size >> 20)))
    layout = StreamLayout.of_plaintext(SEGMENT_BYTES, size)
    sealed = memoryview(bytearray(layout.sealed_bytes))
    key = DataKey.generate()
    bare = Bare(layout, key)
    facts = seal_into(plain, sealed, key, LABEL, segment_bytes=SEGMENT_BYTES, threads=1)

    def seal(threads: int) -> None:
        nonlocal facts
        facts = seal_into(plain, sealed, key, LABEL, segment_bytes=SEGMENT_BYTES, threads=threads)

    def open_(threads: int) -> None:
        open_into(sealed, plain, key, LABEL, facts, threads=threads)

    taken = interleaved(
        {
            "bare seal": lambda: bare.seal(plain, sealed, LABEL),
            "bare open": lambda: bare.open(sealed, plain, LABEL),
            "seal two": lambda: seal(2),
            "open two": lambda: open_(2),
            "seal one": lambda: seal(1),
            "open one": lambda: open_(1),
        },
        repeat=repeat,
    )
    rates = {name: _rate(size, times) for name, times in taken.items()}
    what = _gib(size)
    return [
        row(f"AES-256-GCM alone, encrypt {what}, one core", AREA, rates["bare seal"], "MB/s"),
        row(f"AES-256-GCM alone, decrypt {what}, one core", AREA, rates["bare open"], "MB/s"),
        row(f"seal {what} in memory, two threads", AREA, rates["seal two"], "MB/s",
            baseline=rates["bare seal"], target=TARGET),
        row(f"open {what} in memory, two threads", AREA, rates["open two"], "MB/s",
            baseline=rates["bare open"], target=TARGET),
        row(f"seal {what} in memory, one thread", AREA, rates["seal one"], "MB/s", baseline=rates["bare seal"]),
        row(f"open {what} in memory, one thread", AREA, rates["open one"], "MB/s", baseline=rates["bare open"]),
    ]  # fmt: skip


def _volumes(size: int, repeat: int) -> list[Row]:
    """The whole road: a volume of one file into a store in memory and back into a buffer."""
    content = memoryview(bytearray(os.urandom(1 << 20) * (size >> 20)))
    out = memoryview(bytearray(size))
    key = DataKey.generate()
    layout = StreamLayout.of_plaintext(SEGMENT_BYTES, size)
    bare = Bare(layout, key)
    store = FlatStore(layout.sealed_bytes)
    sealed = write_volume([("file", [content])], key, store, options=SealOptions(padding="none"))

    def seal() -> None:
        nonlocal sealed
        sealed = write_volume([("file", [content])], key, store, options=SealOptions(padding="none"))

    def open_() -> None:
        with VolumeReader.open(sealed.asset, store, key).open_file("file") as file:
            file.readinto(out)  # type: ignore[attr-defined]

    taken = interleaved(
        {
            "bare seal": lambda: bare.seal(content, store.flat, stream_label(sealed.volume, "payload")),
            "bare open": lambda: bare.open(store.flat, out, stream_label(sealed.volume, "payload")),
            "seal": seal,
            "open": open_,
        },
        repeat=repeat,
    )
    if out != content:
        raise RuntimeError("what was opened is not what was sealed")
    what = _gib(size)
    return [
        row(f"write a volume of {what} to a store in memory", AREA, _rate(size, taken["seal"]), "MB/s",
            baseline=_rate(size, taken["bare seal"])),
        row(f"read a volume of {what} from a store in memory", AREA, _rate(size, taken["open"]), "MB/s",
            baseline=_rate(size, taken["bare open"])),
    ]  # fmt: skip


def _rate(size: int, taken: Timings) -> float:
    return size / taken.median / 1e6


class FlatStore(MemoryStore):
    """Keeps each payload in one prepared buffer, so that what is measured is not the allocation of memory."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.flat = memoryview(bytearray(size))

    def put(self, name: str, chunks: Iterable[Buffer]) -> int:
        """See `Store.put`."""
        if not name.endswith("/payload"):
            return super().put(name, chunks)
        at = 0
        for chunk in chunks:
            self.flat[at : at + len(chunk)] = chunk
            at += len(chunk)
        self.objects = {name: self.flat[:at]}
        return at


class GeneratingStore(MemoryStore):
    """Throws payloads away and makes their segments again when asked: a volume of zeros that takes no memory."""

    def __init__(self, key: DataKey) -> None:
        super().__init__()
        self._key = key
        self._header = b""
        self._length = 0

    def put(self, name: str, chunks: Iterable[Buffer]) -> int:
        """See `Store.put`."""
        if not name.endswith("/payload"):
            return super().put(name, chunks)
        self._length = 0
        for chunk in chunks:
            if not self._length:
                self._header = bytes(chunk[:HEADER_BYTES])
            self._length += len(chunk)
        return self._length

    def size(self, name: str) -> int:
        """See `Store.size`."""
        return self._length if name.endswith("/payload") else super().size(name)

    def read(self, name: str, offset: int, length: int) -> Buffer:
        """See `Store.read`."""
        if not name.endswith("/payload"):
            return super().read(name, offset, length)
        key = StreamKey(self._key.raw(), self._header, stream_label(name.split("/")[1], "payload"))
        skip = HEADER_BYTES if offset == 0 else 0
        stored = bytearray(length)
        stored[:skip] = self._header[:skip]
        last = offset + length == self._length
        plain = ZEROS[: length - skip - TAG_BYTES]
        key.seal_segment(offset // SEGMENT_BYTES, last, plain, memoryview(stored)[skip:])
        return stored


def _memory() -> list[Row]:
    _peak_growth(64 << 20)  # what the first use of the libraries takes, once
    # The allocator keeps or gives back some tens of MiB as it likes: turns, and their medians.
    turns = [(_peak_growth(256 << 20), _peak_growth(2 << 30)) for _ in range(3)]
    small, large = (statistics.median(grown) for grown in zip(*turns, strict=True))
    mib = 1 << 20
    return [
        row("peak memory of sealing and reading 256 MiB", AREA, small / mib, "MiB"),
        row("peak memory of sealing and reading 2 GiB", AREA, large / mib, "MiB", target="value <= 64"),
        row("peak memory, 2 GiB more than 256 MiB", AREA, (large - small) / mib, "MiB", target="value <= 16"),
    ]


def _peak_growth(size: int) -> int:
    key = DataKey.generate()
    store = GeneratingStore(key)
    gc.collect()
    reset_peak_memory()
    before = peak_memory_bytes()
    sealed = write_volume([("file", (ZEROS for _ in range(size >> 20)))], key, store)
    with VolumeReader.open(sealed.asset, store, key).open_file("file") as file:
        count = 0
        while piece := file.read(8 << 20):
            count += len(piece)
    if count != size:
        raise RuntimeError("not everything was read")
    return peak_memory_bytes() - before
