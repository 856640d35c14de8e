"""JSON that a job wrote: in messages on the socket, in files of outputs, in headers of tensors. One strict reading of all."""

from __future__ import annotations

import json
from typing import Any

Buffer = bytes | bytearray | memoryview


def read_strictly(content: Buffer) -> Any:
    """A JSON value: UTF-8, no name twice, no NaN and no infinity by name. Who asks bounds the bytes beforehand.

    A number like 1e999 becomes infinite all the same: whoever takes numbers asks `messages.is_number`.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(bytes(content).decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(name)
