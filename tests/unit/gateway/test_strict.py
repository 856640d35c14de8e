"""The one strict reading of JSON that a job wrote."""

from __future__ import annotations

import pytest

from paddock.gateway.strict import read_strictly


@pytest.mark.parametrize(
    "content",
    [
        b'{"a":1,"a":1}',
        b'[{"b":{"a":1,"a":2}}]',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b"\xff",
        b'"\xed\xa0\x80"',  # half of a pair
        b"\xef\xbb\xbf1",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 5000,
        b"",
        b"1 2",
    ],
)
def test_what_is_no_strict_json_is_a_value_error(content: bytes) -> None:
    for given in (content, bytearray(content), memoryview(content)):
        with pytest.raises(ValueError):  # noqa: PT011 - of whatever words: each caller says its own
            read_strictly(given)


def test_what_is_one_is_read() -> None:
    assert read_strictly(memoryview(b'{"a":[1,2.5,null,true,"\xc3\xa9"]}')) == {"a": [1, 2.5, None, True, "é"]}
