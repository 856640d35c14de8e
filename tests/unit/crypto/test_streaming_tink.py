"""Streams of ours and of Tink open each other's, byte for byte the same format."""

from __future__ import annotations

import io
import os

import pytest
import tink
from tink import cleartext_keyset_handle, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

from paddock.crypto.streaming import HEADER_BYTES, StreamKey, StreamLayout, first_capacity, new_header
from paddock.errors import TagRefused
from paddock.seal import DataKey
from paddock.seal.memory import open_into, seal_into
from paddock.seal.pipeline import StreamSealer

KEY = bytes(range(32))
LABEL = b"paddock/volume/v1/00112233445566778899aabbccddeeff/payload"
SEGMENTS = [4 << 10, 64 << 10, 1 << 20]


def _lengths(segment: int) -> list[int]:
    first, more = first_capacity(segment), segment - 16
    return [0, 1, first - 1, first, first + 1, first + more, first + more + 1, first + 2 * more - 1]


def _tink(segment_bytes: int) -> streaming_aead.StreamingAead:
    streaming_aead.register()
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(
        version=0,
        key_value=KEY,
        params=aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingParams(
            ciphertext_segment_size=segment_bytes, derived_key_size=32, hkdf_hash_type=common_pb2.SHA256
        ),
    )
    keyset = tink_pb2.Keyset(primary_key_id=1)
    keyset.key.add(
        key_data=tink_pb2.KeyData(
            type_url="type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey",
            value=key.SerializeToString(),
            key_material_type=tink_pb2.KeyData.SYMMETRIC,
        ),
        status=tink_pb2.ENABLED,
        key_id=1,
        output_prefix_type=tink_pb2.RAW,
    )
    handle = cleartext_keyset_handle.read(tink.BinaryKeysetReader(keyset.SerializeToString()))
    return handle.primitive(streaming_aead.StreamingAead)


@pytest.mark.parametrize("segment_bytes", SEGMENTS)
@pytest.mark.parametrize("which", range(8))
def test_tink_opens_what_we_seal(segment_bytes: int, which: int) -> None:
    plain = os.urandom(_lengths(segment_bytes)[which])
    header = new_header()
    sealer = StreamSealer(StreamKey(KEY, header, LABEL), header, segment_bytes, 2)
    stored = b"".join(bytes(segment) for segment in sealer.run([plain[:100], plain[100:]]))
    with _tink(segment_bytes).new_decrypting_stream(io.BytesIO(stored), LABEL) as stream:
        assert stream.read() == plain


@pytest.mark.parametrize("segment_bytes", SEGMENTS)
@pytest.mark.parametrize("which", range(8))
def test_we_open_what_tink_seals(segment_bytes: int, which: int) -> None:
    plain = os.urandom(_lengths(segment_bytes)[which])
    kept = io.BytesIO()
    kept.close = lambda: None  # type: ignore[method-assign]
    with _tink(segment_bytes).new_encrypting_stream(kept, LABEL) as stream:
        stream.write(plain)
    stored = kept.getvalue()
    layout = StreamLayout(segment_bytes, len(stored))
    assert layout.plain_bytes == len(plain)
    key = StreamKey(KEY, stored[:HEADER_BYTES], LABEL)
    opened = bytearray(len(plain))
    for number in range(layout.segments):
        at, size = layout.sealed_range(number)
        start, length = layout.plain_range(number)
        sealed = stored[at : at + size][-length - 16 :]
        key.open_segment(number, number + 1 == layout.segments, sealed, memoryview(opened)[start : start + length])
    assert opened == plain


def test_tink_opens_what_the_memory_road_seals_and_refuses_another_label() -> None:
    plain = os.urandom(300_000)
    layout = StreamLayout.of_plaintext(64 << 10, len(plain))
    stored = bytearray(layout.sealed_bytes)
    facts = seal_into(plain, memoryview(stored), DataKey(KEY), LABEL, segment_bytes=64 << 10, threads=2)
    with _tink(64 << 10).new_decrypting_stream(io.BytesIO(stored), LABEL) as stream:
        assert stream.read() == plain
    opened = bytearray(len(plain))
    open_into(stored, memoryview(opened), DataKey(KEY), LABEL, facts, threads=2)
    assert opened == plain
    with pytest.raises(tink.TinkError), _tink(64 << 10).new_decrypting_stream(io.BytesIO(stored), b"other") as stream:
        stream.read()


def test_a_refused_segment_leaves_no_plaintext() -> None:
    header = new_header()
    key = StreamKey(KEY, header, LABEL)
    sealed, out = bytearray(116), bytearray(b"x" * 100)
    key.seal_segment(3, False, b"p" * 100, memoryview(sealed))
    with pytest.raises(TagRefused):
        key.open_segment(4, False, sealed, memoryview(out))
    assert out == bytes(100)
    assert repr(key) == "StreamKey(…)"
