"""Weights: a `.safetensors` file with exactly the program's names, shapes and dtypes. Never a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import save

from paddock.errors import DataUnreadable, WeightsRefused
from paddock.jobs.api import Files
from paddock.jobs.arrays import read_safetensors
from paddock.program import Program

FILE = "weights.safetensors"
_SPARE = 8 << 20  # room for the file's own header


def read_weights(program: Program, volume: Files) -> dict[str, Any]:
    """Read a volume's weights for a program (J-8).

    Raises:
        WeightsRefused: no file, damaged, or names, shapes or dtypes that are not the program's.
    """
    if FILE not in volume.names():
        raise WeightsRefused(f"There is no {FILE}.")
    expected = sum(each.type.bytes_per_sample() for each in program.parameters)
    if volume.size(FILE) > expected + _SPARE:
        raise WeightsRefused(f"{FILE} is larger than the program's weights.")
    with volume.open(FILE) as stream:
        return check_weights(program, stream.read())


def check_weights(program: Program, content: bytes) -> dict[str, Any]:
    """Read the bytes of a weights file; see `read_weights`."""
    # J-8
    try:
        tensors = read_safetensors(content, FILE)
    except DataUnreadable as error:
        raise WeightsRefused(error.detail) from None
    wanted = {each.name: each.type for each in program.parameters}
    if missing := sorted(wanted.keys() - tensors.keys()):
        raise WeightsRefused(f"{len(missing)} of the program's parameters are missing, first {missing[0]}.")
    if len(tensors) != len(wanted):
        raise WeightsRefused(f"{FILE} holds {len(tensors) - len(wanted)} tensors that the program does not have.")
    for name, found in wanted.items():
        tensor = tensors[name]
        if tensor.shape != found.shape or tensor.dtype != np.dtype(found.dtype):
            given = f"{tensor.dtype}{list(tensor.shape)}"
            raise WeightsRefused(f"{name} is {found} in the program and {given} in {FILE}.")
    return tensors


def write_weights(tensors: Mapping[str, Any]) -> bytes:
    """The file's bytes; the same tensors always give the same bytes."""
    content: bytes = save({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)})
    return content
