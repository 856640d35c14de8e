"""Digests, and how they are written."""

from __future__ import annotations

import binascii
import hashlib
import re

from paddock.errors import EncodingRefused

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def sha256(data: bytes) -> bytes:
    """SHA-256 of `data` (FIPS 180-4), 32 bytes."""
    return hashlib.sha256(data).digest()


def sha256_id(data: bytes) -> str:
    """The digest of `data` as Paddock writes ids: `sha256:` and 64 lower-case hex digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def is_digest(text: object) -> bool:
    """Whether `text` has the form that `sha256_id` writes."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def b64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648 §4)."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def unb64(text: object, length: int | None = None) -> bytes:
    """Decode standard base64 strictly: only the one encoding that `b64` writes is accepted.

    Args:
        text: what should be base64.
        length: the number of bytes it must decode to, where the format fixes it.

    Raises:
        EncodingRefused: not a string, not canonical base64, or of another length.
    """
    if not isinstance(text, str):
        raise EncodingRefused("A base64 field is not a string.")
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise EncodingRefused("A field is not base64.") from error
    if b64(data) != text:
        raise EncodingRefused("A field is not canonical base64.")
    if length is not None and len(data) != length:
        raise EncodingRefused(f"A field has {len(data)} bytes, {length} were expected.")
    return data
