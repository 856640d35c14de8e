"""One object, one string of bytes; and reading that takes nothing else."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from paddock.crypto.canonical import canonical, parse, parse_canonical
from paddock.crypto.digest import b64, is_digest, sha256, sha256_id, unb64
from paddock.crypto.moment import read_moment, write_moment
from paddock.errors import EncodingRefused
from tests.fixtures.cast import NOW


def test_rfc_8785_section_3_2_2_example() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert canonical(value) == (
        b'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        b'"string":"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_members_are_sorted_by_utf_16() -> None:
    assert canonical({"\ue000": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ue000":1}'.encode()


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**53, "\ud800", {1: 2}, {"a": object()}, b"x"])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(EncodingRefused):
        canonical({"a": value} if not isinstance(value, dict) else value)


def test_a_value_without_end_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(EncodingRefused):
        canonical(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"{}{}",
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":-1e999}',
        b"\xff{}",
        b"{'a':1}",
        b'{"a":' + b"[" * 64 + b"]" * 64 + b"}",
        b'{"a":' + b"[" * 10**6,
        b'{"a":' + b"1" * 5000 + b"}",
    ],
)
def test_reading_takes_one_object_and_nothing_else(data: bytes) -> None:
    with pytest.raises(EncodingRefused):
        parse(data)


def test_reading_is_bounded() -> None:
    assert parse(b'{"a":1}', max_bytes=7) == {"a": 1}
    with pytest.raises(EncodingRefused, match="at most 6"):
        parse(b'{"a":1}', max_bytes=6)
    assert parse(b'{"a":' + b"[" * 62 + b"]" * 62 + b"}")


def test_only_the_canonical_form_is_canonical() -> None:
    assert parse_canonical(b'{"a":1,"b":1.5}') == {"a": 1, "b": 1.5}
    for data in (b'{"b":1,"a":1}', b'{"a": 1}', b'{"a":1.0}', b'{"a":-0}', b'{"a":1e2}', b'{"a":"\\u0041"}', b"{} "):
        with pytest.raises(EncodingRefused, match="canonical"):
            parse_canonical(data)


def test_digests_are_written_in_one_way() -> None:
    text = sha256_id(b"abc")
    assert text == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(b"abc").hex() == text.removeprefix("sha256:")
    assert is_digest(text)
    for other in (text.upper(), text + "\n", text[:-1], "sha512:" + text[7:], " " + text, None, 7, b"x"):
        assert not is_digest(other)


def test_base64_is_read_in_one_form() -> None:
    assert unb64(b64(b"paddock"), 7) == b"paddock"
    for text in ("cGFkZG9jaw", "cGFkZG9jaw==\n", "cGFkZG9ja w==", "cGFkZG9jax==", "é", "_-8=", None, 7, b"AA=="):
        with pytest.raises(EncodingRefused):
            unb64(text)
    with pytest.raises(EncodingRefused, match="7 bytes, 8"):
        unb64(b64(b"paddock"), 8)


def test_moments_are_read_in_one_form() -> None:
    assert read_moment(write_moment(NOW)) == NOW
    for text in (
        "2026-11-01T12:00:00",
        "2026-11-01T12:00:00+00:00",
        "2026-11-01t12:00:00z",
        "2026-11-01T12:00:00.0Z",
        "2026-11-01T12:00:00Z\n",
        "2026-11-01T24:00:00Z",
        "2026-11-01T12:00:60Z",
        "2026-02-29T12:00:00Z",
        "0000-01-01T00:00:00Z",
        "２０２６-11-01T12:00:00Z",
    ):
        with pytest.raises(ValueError, match=r".+"):
            read_moment(text)


# --- the short way for plain documents gives what the long one gives ------------------------------------------------

_TEXTS = st.text(st.characters(codec="utf-8"), max_size=8) | st.text('\x00\x1f\x7f"\\/\b\f\n\r\tab ', max_size=8)
_NUMBERS = st.integers(-(2**53) - 2, 2**53 + 2) | st.floats(allow_nan=True, allow_infinity=True)
_LEAVES = st.none() | st.booleans() | _NUMBERS | _TEXTS
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4), max_leaves=12
)


def long_way(value: Any) -> bytes | None:
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeError):
        return None


@given(_VALUES)
def test_the_short_way_writes_what_rfc_8785_does(value: Any) -> None:
    try:
        written = canonical(value)
    except EncodingRefused:
        written = None
    assert written == long_way(value)


@given(st.dictionaries(_TEXTS, _VALUES, max_size=4), st.booleans(), st.booleans(), st.booleans())
def test_the_short_way_reads_what_the_long_one_does(value: Any, ascii_only: bool, spaced: bool, ordered: bool) -> None:
    separators = (", ", ": ") if spaced else (",", ":")
    data = json.dumps(value, ensure_ascii=ascii_only, separators=separators, sort_keys=ordered).encode()
    try:
        read = parse_canonical(data)
    except EncodingRefused:
        assert long_way(value) != data or not _readable(data)
    else:
        assert long_way(value) == data
        assert read == value


def _readable(data: bytes) -> bool:
    try:
        parse(data)
    except EncodingRefused:
        return False
    return True


@pytest.mark.parametrize("levels", [62, 63, 64, 65])
def test_depth_is_bounded_the_same_both_ways(levels: int) -> None:
    for leaf in ('"a"', '"ä"'):
        data = b'{"a":' * levels + leaf.encode() + b"}" * levels
        if levels < 64:
            assert canonical(parse_canonical(data)) == data
        else:
            with pytest.raises(EncodingRefused):
                parse_canonical(data)
