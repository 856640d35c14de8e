"""Sealed volumes: how fast they are written and read, beside bare AES-256-GCM, and how much memory that takes.

The bar is the same library's AES-256-GCM (`AESGCM.encrypt_into`, `decrypt_into`) over the same buffers in segments of
the same size, on one core, in turns with what it is compared with. A volume does more: it hashes every stored byte
up to the asset's id.
"""

from __future__ import annotations

import gc
import io
import os
import statistics
from collections.abc import Iterable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tink import new_keyset_handle, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

from bench.harness import Row, Timings, interleaved, peak_memory_bytes, reset_peak_memory, row
from paddock.crypto.streaming import HEADER_BYTES, TAG_BYTES, Buffer, StreamLayout, derive
from paddock.seal import DataKey, SealOptions, VolumeReader, write_volume
from paddock.seal.memory import open_into, seal_into
from paddock.seal.tree import leaf_hash
from paddock.testing.stores import MemoryStore
from paddock.testing.volumes import GeneratingStore

SEGMENT_BYTES = SealOptions().segment_bytes
LABEL = b"bench"
ZEROS = memoryview(bytes(1 << 20))
AREA = "seal"


def rows(quick: bool) -> list[Row]:
    size = (256 << 20) if quick else (2 << 30)
    return [*_memory(), *_streams(size, 3 if quick else 5), *_tink(3), *_volumes(size // 2, 3)]


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
        row(f"seal {what} in memory, one thread", AREA, rates["seal one"], "MB/s",
            baseline=rates["bare seal"], target="ratio >= 0.5"),
        row(f"open {what} in memory, one thread", AREA, rates["open one"], "MB/s",
            baseline=rates["bare open"], target="ratio >= 0.7"),
        row(f"seal {what} in memory, two threads, beside bare on one core", AREA, rates["seal two"], "MB/s",
            baseline=rates["bare seal"], target="ratio >= 0.6"),
        row(f"open {what} in memory, two threads, beside bare on one core", AREA, rates["open two"], "MB/s",
            baseline=rates["bare open"], target="ratio >= 0.6"),
        row(f"seal {what} in memory, two threads beside one", AREA, rates["seal two"], "MB/s",
            baseline=rates["seal one"], target="ratio >= 1.7"),
        row(f"open {what} in memory, two threads beside one", AREA, rates["open two"], "MB/s",
            baseline=rates["open one"], target="ratio >= 1.7"),
        *_profile(plain, sealed, bare),
    ]  # fmt: skip


def _profile(plain: memoryview, sealed: memoryview, bare: Bare) -> list[Row]:
    """Where the time of opening goes: hashing every stored byte takes as long as decrypting it."""
    length = min(len(sealed), 256 << 20)
    pieces = [sealed[at : at + SEGMENT_BYTES] for at in range(0, length, SEGMENT_BYTES)]
    taken = interleaved(
        {"hash": lambda: [leaf_hash(piece) for piece in pieces], "open": lambda: bare.open(sealed, plain, LABEL)},
        repeat=3,
    )
    rate = _rate(len(plain), taken["open"])
    return [
        row("BLAKE3 of the stored bytes alone, one core", AREA, _rate(length, taken["hash"]), "MB/s", baseline=rate)
    ]


def _tink(repeat: int) -> list[Row]:
    """The same wire format written and read by tink-py, one thread each."""
    size = 64 << 20
    plain = memoryview(bytearray(os.urandom(1 << 20) * (size >> 20)))
    streaming_aead.register()
    shape = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKeyFormat(key_size=32)
    shape.params.ciphertext_segment_size, shape.params.derived_key_size = SEGMENT_BYTES, 32
    shape.params.hkdf_hash_type = common_pb2.HashType.SHA256
    kind = "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey"
    template = tink_pb2.KeyTemplate(type_url=kind, value=shape.SerializeToString(), output_prefix_type=tink_pb2.RAW)
    tink = new_keyset_handle(template).primitive(streaming_aead.StreamingAead)
    layout = StreamLayout.of_plaintext(SEGMENT_BYTES, size)
    sealed, out = memoryview(bytearray(layout.sealed_bytes)), memoryview(bytearray(size))
    key = DataKey.generate()
    facts = seal_into(plain, sealed, key, LABEL, segment_bytes=SEGMENT_BYTES, threads=1)
    bare = Bare(layout, key)
    theirs, again = b"", memoryview(bytearray(len(sealed)))

    def tink_seal() -> None:
        nonlocal theirs
        sink = Kept()
        with tink.new_encrypting_stream(sink, LABEL) as stream:
            for at in range(0, size, 1 << 20):
                stream.write(plain[at : at + (1 << 20)])
        theirs = sink.getvalue()

    def tink_open() -> None:
        with tink.new_decrypting_stream(io.BytesIO(theirs), LABEL) as stream:
            while stream.read(1 << 20):
                pass

    tink_seal()
    taken = interleaved(
        {
            "tink seal": tink_seal,
            "tink open": tink_open,
            "bare": lambda: bare.open(sealed, out, LABEL),
            "seal": lambda: seal_into(plain, again, key, LABEL, segment_bytes=SEGMENT_BYTES, threads=1),
            "open": lambda: open_into(sealed, out, key, LABEL, facts, threads=1),
        },
        repeat=repeat,
    )
    rates = {name: _rate(size, times) for name, times in taken.items()}
    return [
        row(f"{what} 64 MiB, one thread, beside tink-py", AREA, rates[what], "MB/s",
            baseline=rates[f"tink {what}"], target="ratio >= 10")
        for what in ("seal", "open")
    ] + [
        row("AES-256-GCM alone, decrypt 64 MiB, beside tink-py", AREA, rates["bare"], "MB/s", baseline=rates["tink open"])
    ]  # fmt: skip


class Kept(io.BytesIO):
    """Can be read after the stream over it was closed."""

    def close(self) -> None:
        """Stay open: Tink closes what it writes to."""


def _volumes(size: int, repeat: int) -> list[Row]:
    """The whole road: a volume of one file into a store in memory and back into a buffer."""
    content = memoryview(os.urandom(1 << 20) * (size >> 20))
    out = memoryview(bytearray(size))
    key = DataKey.generate()
    layout = StreamLayout.of_plaintext(SEGMENT_BYTES, size)
    bare = Bare(layout, key)
    beside = memoryview(bytearray(layout.sealed_bytes))
    seal_into(content, beside, key, LABEL, segment_bytes=SEGMENT_BYTES, threads=2)
    store = FlatStore(layout.sealed_bytes + (1 << 20))
    sealed = write_volume([("file", [content])], key, store, options=SealOptions(padding="none"))

    def seal() -> None:
        nonlocal sealed
        store.clear()
        sealed = write_volume([("file", [content])], key, store, options=SealOptions(padding="none"))

    def open_() -> None:
        VolumeReader.open(sealed.asset, store, key).find("file").read_into(0, out)

    taken = interleaved(
        {
            "bare seal": lambda: bare.seal(content, beside, LABEL),
            "bare open": lambda: bare.open(beside, out, LABEL),
            "seal": seal,
            "open": open_,
        },
        repeat=repeat,
    )
    if out != content:
        raise RuntimeError("what was opened is not what was sealed")
    what = _gib(size)
    return [
        row(f"write a volume of {what} to a store in memory, two threads", AREA, _rate(size, taken["seal"]), "MB/s",
            baseline=_rate(size, taken["bare seal"])),
        row(f"read a volume of {what} from a store in memory, two threads", AREA, _rate(size, taken["open"]), "MB/s",
            baseline=_rate(size, taken["bare open"])),
    ]  # fmt: skip


def _rate(size: int, taken: Timings) -> float:
    return size / taken.median / 1e6


class FlatStore(MemoryStore):
    """Keeps payloads in one prepared buffer, so that what is measured is not the allocation of memory."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._flat = memoryview(bytearray(size))
        self._end = 0

    def clear(self) -> None:
        """Forget everything."""
        self.objects.clear()
        self._end = 0

    def put(self, name: str, chunks: Iterable[Buffer]) -> int:
        """See `Store.put`."""
        if not name.endswith("/payload"):
            return super().put(name, chunks)
        start = self._end
        for chunk in chunks:
            self._flat[self._end : self._end + len(chunk)] = chunk
            self._end += len(chunk)
        self.objects[name] = self._flat[start : self._end]
        return self._end - start


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
    store = GeneratingStore()
    gc.collect()
    reset_peak_memory()
    before = peak_memory_bytes()
    sealed = write_volume([("file", (ZEROS for _ in range(size >> 20)))], key, store, part_done=store.learn)
    with VolumeReader.open(sealed.asset, store, key).open_file("file") as file:
        count = 0
        while piece := file.read(8 << 20):
            count += len(piece)
    if count != size:
        raise RuntimeError("not everything was read")
    return peak_memory_bytes() - before
