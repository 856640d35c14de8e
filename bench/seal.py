"""Sealed volumes: how fast they are written and read, beside bare AES-256-GCM, and how much memory that takes.

The bar is the same library's AES-256-GCM (`AESGCM.encrypt_into`, `decrypt_into`) over the same buffers in segments of
the same size, on one core, in turns with what it is compared with. A volume does more: it hashes every stored byte
up to the asset's id.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.harness import Row, Timings, interleaved, peak_memory_bytes, reset_peak_memory, row
from paddock.crypto.streaming import HEADER_BYTES, TAG_BYTES, Buffer, StreamKey, StreamLayout
from paddock.seal import DataKey, SealOptions, VolumeReader, write_volume
from paddock.seal.memory import open_into, seal_into
from paddock.seal.writer import stream_label
from paddock.testing.stores import MemoryStore

SEGMENT_BYTES = 1 << 20
LABEL = b"bench"
TARGET = "ratio >= 0.6"
AREA = "seal"


def rows(quick: bool) -> list[Row]:
    size = (256 << 20) if quick else (2 << 30)
    return [*_memory(), *_streams(size, 3 if quick else 5), *_volumes(size, 3)]


def _gib(size: int) -> str:
    return f"{size >> 30} GiB" if size >= 1 << 30 else f"{size >> 20} MiB"


def _streams(size: int, repeat: int) -> list[Row]:
    plain = memoryview(bytearray(os.urandom(1 << 20) * (size >> 20)))
    layout = StreamLayout.of_plaintext(SEGMENT_BYTES, size)
    sealed = memoryview(bytearray(layout.sealed_bytes))
    key = DataKey.generate()
    raw = AESGCM(key.raw())
    nonce = bytes(12)
    plain_bytes = SEGMENT_BYTES - TAG_BYTES
    raw_segments = [
        (slice(at, at + plain_bytes), slice(number * SEGMENT_BYTES, (number + 1) * SEGMENT_BYTES))
        for number, at in enumerate(range(0, size - plain_bytes + 1, plain_bytes))
    ]

    facts = seal_into(plain, sealed, key, LABEL, segment_bytes=SEGMENT_BYTES, threads=1)

    def raw_seal() -> None:
        for source, target in raw_segments:
            raw.encrypt_into(nonce, plain[source], None, sealed[target])

    def raw_open() -> None:
        for source, target in raw_segments:
            raw.decrypt_into(nonce, sealed[target], None, plain[source])

    def seal(threads: int) -> None:
        nonlocal facts
        facts = seal_into(plain, sealed, key, LABEL, segment_bytes=SEGMENT_BYTES, threads=threads)

    def open_(threads: int) -> None:
        open_into(sealed, plain, key, LABEL, facts, threads=threads)

    sealing = interleaved({"raw": raw_seal, "one": lambda: seal(1), "two": lambda: seal(2)}, repeat=repeat, warmup=1)
    # raw_open must find what raw_seal made, open_ what seal made: the baseline runs before and after.
    raw_seal()
    before = interleaved({"raw": raw_open}, repeat=repeat)
    seal(2)
    opening = interleaved({"one": lambda: open_(1), "two": lambda: open_(2)}, repeat=repeat)
    raw_seal()
    after = interleaved({"raw": raw_open}, repeat=repeat)
    raw_seal_rate = _rate(size, sealing["raw"])
    raw_open_rate = _rate(size, Timings(before["raw"].seconds + after["raw"].seconds))
    what = _gib(size)
    return [
        row(f"AES-256-GCM alone, encrypt {what}, one core", AREA, raw_seal_rate, "MB/s"),
        row(f"AES-256-GCM alone, decrypt {what}, one core", AREA, raw_open_rate, "MB/s"),
        row(f"seal {what} in memory, two threads", AREA, _rate(size, sealing["two"]), "MB/s",
            baseline=raw_seal_rate, target=TARGET),
        row(f"open {what} in memory, two threads", AREA, _rate(size, opening["two"]), "MB/s",
            baseline=raw_open_rate, target=TARGET),
        row(f"seal {what} in memory, one thread", AREA, _rate(size, sealing["one"]), "MB/s",
            baseline=raw_seal_rate),
        row(f"open {what} in memory, one thread", AREA, _rate(size, opening["one"]), "MB/s",
            baseline=raw_open_rate),
    ]  # fmt: skip


def _volumes(size: int, repeat: int) -> list[Row]:
    """The whole road: a volume of one file into a store in memory and back into a buffer."""
    content = memoryview(bytearray(os.urandom(1 << 20) * (size >> 20)))
    out = memoryview(bytearray(size))
    key = DataKey.generate()
    raw = AESGCM(key.raw())
    store = FlatStore(size + (1 << 20))
    asset = ""

    def raw_seal() -> None:
        step = SEGMENT_BYTES - TAG_BYTES
        for number, at in enumerate(range(0, size - step + 1, step)):
            target = store.flat[number * SEGMENT_BYTES : (number + 1) * SEGMENT_BYTES]
            raw.encrypt_into(bytes(12), content[at : at + step], None, target)

    def seal() -> None:
        nonlocal asset
        asset = write_volume([("file", [content])], key, store, options=SealOptions(padding="none")).asset

    def open_() -> None:
        with VolumeReader.open(asset, store, key).open_file("file") as file:
            file.readinto(out)  # type: ignore[attr-defined]

    def raw_open() -> None:
        step = SEGMENT_BYTES - TAG_BYTES
        for number, at in enumerate(range(0, size - step + 1, step)):
            source = store.flat[number * SEGMENT_BYTES : (number + 1) * SEGMENT_BYTES]
            raw.decrypt_into(bytes(12), source, None, out[at : at + step])

    sealing = interleaved({"raw": raw_seal, "volume": seal}, repeat=repeat)
    raw_seal()
    raw_opening = interleaved({"raw": raw_open}, repeat=repeat)
    seal()
    opening = interleaved({"volume": open_}, repeat=repeat)
    if out != content:
        raise RuntimeError("what was opened is not what was sealed")
    what = _gib(size)
    return [
        row(f"write a volume of {what} to a store in memory", AREA, _rate(size, sealing["volume"]), "MB/s",
            baseline=_rate(size, sealing["raw"])),
        row(f"read a volume of {what} from a store in memory", AREA, _rate(size, opening["volume"]), "MB/s",
            baseline=_rate(size, raw_opening["raw"])),
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
        plain = bytes(length - skip - TAG_BYTES)
        key.seal_segment(offset // SEGMENT_BYTES, last, plain, memoryview(stored)[skip:])
        return bytes(stored)


def _memory() -> list[Row]:
    _peak_growth(64 << 20)  # what the first use of the libraries takes, once
    small, large = _peak_growth(256 << 20), _peak_growth(2 << 30)
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
    zeros = bytes(1 << 20)
    sealed = write_volume([("file", (zeros for _ in range(size >> 20)))], key, store)
    with VolumeReader.open(sealed.asset, store, key).open_file("file") as file:
        count = 0
        while piece := file.read(8 << 20):
            count += len(piece)
    if count != size:
        raise RuntimeError("not everything was read")
    return peak_memory_bytes() - before
