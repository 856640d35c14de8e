"""The header of a `.safetensors` file, read so that nothing can hide in one: no text, no gap, no byte that no tensor owns.

Source: docs/spec/gateway.md §5 (J-17); the format at huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paddock.errors import OutputRefused
from paddock.gateway.strict import read_strictly

_SIZE_BYTES = 8
_MAX_HEADER_BYTES = 4 << 20
_MAX_DIMENSIONS = 16
_ALIGNED = 8
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@-]{0,199}")
_DTYPES = {
    "F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2),
    "I64": ("int64", 8), "I32": ("int32", 4), "I16": ("int16", 2), "I8": ("int8", 1),
    "U64": ("uint64", 8), "U32": ("uint32", 4), "U16": ("uint16", 2), "U8": ("uint8", 1), "BOOL": ("bool", 1),
}  # fmt: skip


@dataclass(frozen=True)
class TensorForm:
    """Dtype and shape of a tensor."""

    dtype: str
    shape: tuple[int, ...]


def check_tensors(content: bytes, name: str) -> Mapping[str, TensorForm]:
    """Return the tensors of a file that holds them and nothing else.

    Args:
        content: of the file.
        name: of it, for messages.

    Raises:
        OutputRefused: it is no such file (J-17).
    """
    # J-17
    length = int.from_bytes(content[:_SIZE_BYTES], "little")
    if len(content) < _SIZE_BYTES or not 0 < length <= min(_MAX_HEADER_BYTES, len(content) - _SIZE_BYTES):
        raise OutputRefused(f"{name} has no header of tensors.")
    raw = content[_SIZE_BYTES : _SIZE_BYTES + length]
    try:
        header = read_strictly(raw)
    except ValueError:
        raise OutputRefused(f"{name} has a header that is no strict JSON.") from None
    if not isinstance(header, dict):
        raise OutputRefused(f"{name} has a header that lists no tensors.")
    at = 0
    found: dict[str, TensorForm] = {}
    rows = [(tensor, *_row(tensor, row, name)) for tensor, row in header.items()]
    for tensor, form, begin, end in sorted(rows, key=lambda row: row[2:]):
        if begin != at:  # gaps and overlaps alike
            raise OutputRefused(f"{name} has tensors that do not follow one another without a gap.")
        at, found[tensor] = end, form
    if at != len(content) - _SIZE_BYTES - length:
        raise OutputRefused(f"{name} has bytes that belong to no tensor.")
    written = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    if raw != written + b" " * (-len(written) % _ALIGNED):
        raise OutputRefused(f"{name} has a header that is not in its one form.")
    return found


def _row(tensor: str, row: Any, name: str) -> tuple[TensorForm, int, int]:
    if not _NAME.fullmatch(tensor) or tensor == "__metadata__":
        raise OutputRefused(f"{name} holds text, or a tensor with a name that none may have.")
    if not isinstance(row, dict) or list(row) != ["dtype", "shape", "data_offsets"] or row["dtype"] not in _DTYPES:
        raise OutputRefused(f"{name} describes a tensor in another form.")
    dtype, item_bytes = _DTYPES[row["dtype"]]
    shape, offsets = row["shape"], row["data_offsets"]
    if not _numbers(shape) or not _numbers(offsets) or len(offsets) != 2 or len(shape) > _MAX_DIMENSIONS:
        raise OutputRefused(f"{name} describes a tensor in another form.")
    begin, end = offsets
    if end - begin != math.prod(shape) * item_bytes:
        raise OutputRefused(f"{name} has a tensor whose bytes are not those of its shape.")
    return TensorForm(dtype, tuple(shape)), begin, end


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int and 0 <= each < 1 << 53 for each in value)
