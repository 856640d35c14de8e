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
    value = parse(data, max_bytes=max_bytes)
    if canonical(value) != data:
        raise EncodingRefused("The document is JSON but not in canonical form (RFC 8785).")
    return value


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
