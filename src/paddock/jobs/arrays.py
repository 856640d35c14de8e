"""Array files: `.npy` and `.safetensors`, read without ever unpickling."""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.lib import format as npy
from safetensors import SafetensorError
from safetensors.numpy import load

from paddock.errors import DataUnreadable, FieldMissing
from paddock.jobs.api import Files

_MAX_HEADER = 4096
_NUMBERS = frozenset("fiu")


def read_array(volume: Files, number: int, name: str) -> Any:
    """Read one array of a volume: `NAME.npy`, or the tensor NAME of a `.safetensors` file.

    Args:
        volume: any files.
        number: which of the step's data inputs it is, from 1, for messages.
        name: of the array.

    Raises:
        FieldMissing: no file holds an array of that name.
        DataUnreadable: the file is damaged, or holds something other than numbers.
    """
    found = None
    for path in sorted(volume.names()):
        file = PurePosixPath(path)
        if file.suffix == ".npy" and file.stem == name:
            found = _npy(volume, path, number) if found is None else _twice(name, number)
        elif file.suffix == ".safetensors":
            tensors = read_safetensors(_content(volume, path), f"A .safetensors file of data input {number}")
            if name in tensors:
                found = tensors[name] if found is None else _twice(name, number)
    if found is None:
        raise FieldMissing(f"Array '{name}' is not in data input {number}.")
    if found.dtype.kind not in _NUMBERS or found.ndim < 1:
        raise DataUnreadable(f"Array '{name}' of data input {number} is not a list of numbers.")
    return found


def read_safetensors(content: bytes, what: str) -> dict[str, Any]:
    """All tensors of a `.safetensors` file.

    Raises:
        DataUnreadable: it is not one, or holds a dtype that numpy lacks.
    """
    try:
        tensors: dict[str, Any] = load(content)
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError):
        raise DataUnreadable(f"{what} is damaged.") from None
    return tensors


def _twice(name: str, number: int) -> Any:
    raise DataUnreadable(f"Array '{name}' is in data input {number} more than once.")


def _content(volume: Files, path: str) -> bytes:
    with volume.open(path) as stream:
        return stream.read()


def _npy(volume: Files, path: str, number: int) -> Any:
    where = f"A .npy file of data input {number}"
    with volume.open(path) as stream:
        try:
            version = npy.read_magic(stream)
            read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
            shape, fortran, dtype = read_header(stream, max_header_size=_MAX_HEADER)
        except (ValueError, KeyError, SyntaxError, TypeError, EOFError):
            raise DataUnreadable(f"{where} has no header that is understood.") from None
        # An object array is a pickle; dtype kinds other than numbers are refused before any byte of it is read.
        if dtype.kind not in _NUMBERS or dtype.hasobject:
            raise DataUnreadable(f"{where} does not hold numbers.")
        expected = math.prod(shape) * dtype.itemsize
        if any(size < 0 for size in shape) or expected > volume.size(path):
            raise DataUnreadable(f"{where} is cut short.")
        content = stream.read(expected + 1)
    if len(content) != expected:
        raise DataUnreadable(f"{where} has another length than its header says.")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
