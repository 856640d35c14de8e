"""Bytes to JSON values, with what a later look at the values could not find or could not survive refused here."""

from __future__ import annotations

import json
import re
from array import array
from itertools import accumulate
from typing import Any

from paddock.errors import ProgramTooLarge, ProgramUnreadable
from paddock.program.model import Limits

# An unterminated text is taken to the end of the file, so that no byte is looked at twice; JSON refuses it later.
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
# One up, one down, as signed bytes.
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


def read_json(data: bytes, limits: Limits) -> Any:
    """The file's JSON as values.

    Raises:
        ProgramTooLarge: too many bytes, or nested too deep (P-1); found before any value is made.
        ProgramUnreadable: not UTF-8, not JSON, a key twice, NaN or infinity (P-2).
    """
    # P-1
    if len(data) > limits.max_bytes:
        raise ProgramTooLarge(f"The file has {len(data)} bytes; at most {limits.max_bytes} are read.")
    _check_depth(data, limits.max_depth)
    # P-2
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ProgramUnreadable("The file is not JSON.") from error


def _check_depth(data: bytes, max_depth: int) -> None:
    steps = array("b", _TEXT.sub(b"", data).translate(_STEPS, _NOT_BRACKETS))
    if max(accumulate(steps), default=0) > max_depth:
        raise ProgramTooLarge(f"The file's JSON is nested deeper than {max_depth}.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
