"""Sealed streams: the wire format of Tink's streaming AEAD AES256-GCM-HKDF.

    stream   = header || segment 0 || segment 1 || …
    header   = 1 byte 40 || salt (32) || nonce prefix (7)
    key      = HKDF-SHA256(ikm = data key, salt, info = associated data), 32 bytes
    segment  = AES-256-GCM(key, nonce = prefix || u32be(number) || last (0 or 1), no associated data), tag included

Every segment but the last, the header counted to the first one, has exactly `segment_bytes` bytes. So segment i of a
stream stands at `i * segment_bytes`, and any segment can be opened alone.

Source: Tink, "Streaming AEAD" and "AES-GCM-HKDF Streaming AEAD" (developers.google.com/tink/wire-format);
docs/spec/sealed-volume.md §3.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from paddock.errors import EncodingRefused, TagRefused, VolumeTooLarge

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Contiguous bytes; memoryviews are of format `B`."""

DATA_KEY_BYTES = 32
SALT_BYTES = 32
PREFIX_BYTES = 7
HEADER_BYTES = 1 + SALT_BYTES + PREFIX_BYTES
TAG_BYTES = 16
MIN_SEGMENT_BYTES = 4 << 10
MAX_SEGMENT_BYTES = 4 << 20
MAX_SEGMENTS = 1 << 32
MAX_STREAM_BYTES = (1 << 53) - 1
"""The largest integer that canonical JSON writes exactly (RFC 8785 §3.2.2.3)."""


def is_segment_size(value: object) -> bool:
    """Whether `value` is a power of two from 4 KiB to 4 MiB."""
    # bool is an int in Python, and never a size.
    if type(value) is not int:
        return False
    return MIN_SEGMENT_BYTES <= value <= MAX_SEGMENT_BYTES and value & (value - 1) == 0


def new_header(entropy: Callable[[int], bytes] = os.urandom) -> bytes:
    """A header with fresh salt and nonce prefix.

    Args:
        entropy: source of random bytes; another than the operating system's serves test vectors alone.
    """
    return bytes([HEADER_BYTES]) + entropy(SALT_BYTES) + entropy(PREFIX_BYTES)


def derive(data_key: bytes, info: bytes, salt: bytes | None = None) -> bytes:
    """32 bytes of HKDF-SHA256 (RFC 5869) from a data key."""
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(data_key)


@dataclass(frozen=True)
class StreamLayout:
    """Where the segments of a stream stand; follows from two numbers.

    Args:
        segment_bytes: a power of two, see `is_segment_size`.
        sealed_bytes: length of the whole stream, header and tags included.

    Raises:
        EncodingRefused: no stream has this length (S-7).
        VolumeTooLarge: more segments than the nonce can count.
    """

    segment_bytes: int
    sealed_bytes: int

    def __post_init__(self) -> None:
        if not is_segment_size(self.segment_bytes):
            raise EncodingRefused("The segment size is not a power of two from 4 KiB to 4 MiB.")
        # S-7
        if self.segments > MAX_SEGMENTS or self.sealed_bytes > MAX_STREAM_BYTES:
            raise VolumeTooLarge
        if self.sealed_bytes < HEADER_BYTES + TAG_BYTES:
            raise EncodingRefused("A sealed stream is shorter than an empty one.")
        if self.segments > 1 and self.sealed_bytes - (self.segments - 1) * self.segment_bytes <= TAG_BYTES:
            raise EncodingRefused("The last segment of a sealed stream holds nothing.")

    @classmethod
    def of_plaintext(cls, segment_bytes: int, plain_bytes: int) -> StreamLayout:
        """The layout of the stream that seals `plain_bytes` bytes."""
        rest = plain_bytes - first_capacity(segment_bytes)
        segments = 1 + max(0, -(-rest // (segment_bytes - TAG_BYTES)))
        return cls(segment_bytes, HEADER_BYTES + plain_bytes + TAG_BYTES * segments)

    @property
    def segments(self) -> int:
        """Number of segments, at least 1."""
        return max(1, -(-self.sealed_bytes // self.segment_bytes))

    @property
    def plain_bytes(self) -> int:
        """Length of the plaintext."""
        return self.sealed_bytes - HEADER_BYTES - TAG_BYTES * self.segments

    def sealed_range(self, number: int) -> tuple[int, int]:
        """First byte and length of a segment in the stream; segment 0 includes the header."""
        start = number * self.segment_bytes
        return start, min(self.segment_bytes, self.sealed_bytes - start)

    def plain_range(self, number: int) -> tuple[int, int]:
        """First byte and length of a segment's plaintext."""
        start, length = self.sealed_range(number)
        if number == 0:
            return 0, length - HEADER_BYTES - TAG_BYTES
        return start - HEADER_BYTES - TAG_BYTES * number, length - TAG_BYTES

    def segment_of(self, plain_offset: int) -> int:
        """The number of the segment that holds a byte of the plaintext."""
        return (plain_offset + HEADER_BYTES) // (self.segment_bytes - TAG_BYTES)


def first_capacity(segment_bytes: int) -> int:
    """Plaintext bytes that the first segment of a stream can hold; each further one holds `HEADER_BYTES` more."""
    return segment_bytes - HEADER_BYTES - TAG_BYTES


class StreamKey:
    """The key of one stream. Safe to use from several threads.

    Args:
        data_key: 32 secret bytes.
        header: the stream's 40-byte header.
        associated_data: what the stream belongs to; the opener must give the same bytes.

    Raises:
        EncodingRefused: the header or key has another form (S-5).
    """

    __slots__ = ("_aead", "_prefix")

    def __init__(self, data_key: bytes, header: bytes, associated_data: bytes) -> None:
        if len(data_key) != DATA_KEY_BYTES:
            raise EncodingRefused(f"A data key has {len(data_key)} bytes, {DATA_KEY_BYTES} were expected.")
        # S-5
        if len(header) != HEADER_BYTES or header[0] != HEADER_BYTES:
            raise EncodingRefused("The header of a sealed stream is not well formed.")
        salt, self._prefix = header[1 : 1 + SALT_BYTES], header[1 + SALT_BYTES :]
        self._aead = AESGCM(derive(data_key, associated_data, salt))

    def seal_segment(self, number: int, last: bool, plain: Buffer, out: memoryview) -> None:
        """Seal one segment. A number is used once per stream: two segments under one nonce reveal both.

        Args:
            number: segment counter, 0 <= number < 2**32.
            last: whether this is the final segment; bound into the nonce.
            plain: the segment's plaintext.
            out: exactly `len(plain) + 16` bytes that receive ciphertext and tag.

        Source: docs/spec/sealed-volume.md (S-6).
        """
        self._aead.encrypt_into(self._nonce(number, last), plain, None, out)

    def open_segment(self, number: int, last: bool, sealed: Buffer, out: memoryview) -> None:
        """Open one segment.

        Args:
            number: segment counter, 0 <= number < 2**32.
            last: whether the caller claims that this is the final segment; bound into the nonce.
            sealed: ciphertext and 16-byte tag.
            out: exactly `len(sealed) - 16` bytes that receive the plaintext; zeroed when refused.

        Raises:
            TagRefused: bytes, number, last flag or key differ from those that were sealed.

        Source: docs/spec/sealed-volume.md (S-6).
        """
        try:
            self._aead.decrypt_into(self._nonce(number, last), sealed, None, out)
        except InvalidTag:
            out[:] = bytes(len(out))
            raise TagRefused from None

    def _nonce(self, number: int, last: bool) -> bytes:
        return self._prefix + number.to_bytes(4, "big") + (b"\x01" if last else b"\x00")

    def __repr__(self) -> str:
        return "StreamKey(…)"
