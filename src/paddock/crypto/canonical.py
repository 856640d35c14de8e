"""Canonical JSON (RFC 8785): one object, one string of bytes."""

from __future__ import annotations

import json
import math
from typing import Any

import rfc8785

from paddock.errors import EncodingRefused

Json = dict[str, Any]
MAX_DOCUMENT_BYTES = 8 << 20
_MAX_DEPTH = 64


def canonical(value: Any) -> bytes:
    """Write `value` as canonical JSON.

    Args:
        value: dictionaries with string keys, lists, strings, booleans, None, integers within ±(2**53 - 1), floats.

    Raises:
        EncodingRefused: a value that JSON cannot hold (NaN, too large an integer, a lone surrogate, another type).

    Source: RFC 8785.
    """
    if _is_plain(value, _MAX_DEPTH):
        return _PLAIN.encode(value).encode("ascii")
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeError) as error:
        raise EncodingRefused("A value cannot be written as canonical JSON.") from error


def parse(data: bytes, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> Json:
    """Read one JSON object strictly: UTF-8, no key twice, no NaN or infinity, bounded size and depth.

    Raises:
        EncodingRefused: anything else.
    """
    if len(data) > max_bytes:
        raise EncodingRefused(f"The document has {len(data)} bytes; at most {max_bytes} are read.")
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise EncodingRefused("The document is not JSON.") from error
    if not isinstance(value, dict):
        raise EncodingRefused("The document is not a JSON object.")
    _check_depth(value)
    return value


def parse_canonical(data: bytes, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> Json:
    """Read one JSON object that must already be canonical, byte for byte.

    Raises:
        EncodingRefused: not JSON, or JSON written in any other way than RFC 8785 writes it.
    """
    plain = _parse_plain(data) if len(data) <= max_bytes else None
    if plain is not None:
        return plain
    value = parse(data, max_bytes=max_bytes)
    if canonical(value) != data:
        raise EncodingRefused("The document is JSON but not in canonical form (RFC 8785).")
    return value


# Most documents hold neither fractions nor anything but ASCII. Of these the standard library writes, with sorted keys,
# what RFC 8785 demands, in a tenth of the time: all else goes the long way.
_PLAIN = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False)
_LARGEST = (1 << 53) - 1


def _is_plain(value: Any, depth: int) -> bool:
    kind = type(value)
    if kind is str:
        return bool(value.isascii())
    if kind is dict and depth > 1:
        return all(type(key) is str and key.isascii() and _is_plain(item, depth - 1) for key, item in value.items())
    if kind is list and depth > 1:
        return all(_is_plain(item, depth - 1) for item in value)
    if kind is int:
        return bool(-_LARGEST <= value <= _LARGEST)
    return value is None or kind is bool


def _parse_plain(data: bytes) -> Json | None:
    """The object, if the document is plain and canonical; then no key can be in it twice.

    Without an escape, texts are as plain as the document, and what opens no more than so often is not nested deeper.
    """
    if b"\\" in data or data.count(b"{") + data.count(b"[") >= _MAX_DEPTH:
        return None
    try:
        value = _PLAIN_READER.decode(data.decode("ascii"))
    except (ValueError, RecursionError):
        return None
    return value if type(value) is dict and _PLAIN.encode(value).encode("ascii") == data else None


def _small(text: str) -> int:
    number = int(text)
    if abs(number) > _LARGEST:
        raise ValueError("a number is too large")
    return number


def _fraction(_text: str) -> Any:
    raise ValueError("a number is no integer")


_PLAIN_READER = json.JSONDecoder(parse_int=_small, parse_float=_fraction, parse_constant=_fraction)


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _check_depth(value: Any) -> None:
    stack = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if depth > _MAX_DEPTH:
            raise EncodingRefused(f"The document is nested deeper than {_MAX_DEPTH}.")
        if isinstance(item, dict):
            stack.extend((child, depth + 1) for child in item.values())
        elif isinstance(item, list):
            stack.extend((child, depth + 1) for child in item)
