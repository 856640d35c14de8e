"""Normalising: numbers fitted on the pooled training data, kept beside the weights, used again unchanged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from paddock.errors import StepInputRefused
from paddock.jobs.api import Files
from paddock.jobs.parameters import FieldMapping

FILE = "preprocessing.json"
_MAX_BYTES = 64 << 20
_VERSION = 1


def fit(values: Any, kind: str) -> dict[str, Any]:
    """What to subtract and what to divide by, per column (or per channel of pictures and the like) (J-5).

    Args:
        values: float64[samples, columns] or float64[samples, channels, …].
        kind: `standard` (mean and population standard deviation) or `minmax` (smallest, and largest minus smallest).
    """
    # J-5: a column that never changes is divided by 1.
    axes = tuple(axis for axis in range(values.ndim) if axis != 1)
    if kind == "standard":
        subtract, divide = values.mean(axis=axes), values.std(axis=axes)
    else:
        subtract = values.min(axis=axes)
        divide = values.max(axis=axes) - subtract
    divide = np.where(divide == 0, 1.0, divide)
    return {"normalise": kind, "subtract": np.atleast_1d(subtract).tolist(), "divide": np.atleast_1d(divide).tolist()}


def apply(values: Any, fitted: Mapping[str, Any]) -> Any:
    """Normalise in float64."""
    shape = (1, -1) + (1,) * (values.ndim - 2) if values.ndim > 1 else (-1,)
    subtract, divide = (np.asarray(fitted[name], dtype="float64").reshape(shape) for name in ("subtract", "divide"))
    return (values - subtract) / divide


def write(fitted: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The file beside the weights."""
    document = {"version": _VERSION, "inputs": fitted}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def read(volume: Files | None, mapping: Mapping[str, FieldMapping]) -> dict[str, dict[str, Any]]:
    """What was fitted in training, for the inputs that the mapping normalises.

    Raises:
        StepInputRefused: the file is missing or damaged, or was fitted for another mapping.
    """
    wanted = {name: field.normalise for name, field in mapping.items() if field.normalise != "none"}
    present = volume is not None and FILE in volume.names()
    if volume is None or not present:
        if wanted:
            raise StepInputRefused(f"The mapping normalises, but there is no {FILE} beside the weights.")
        return {}
    if volume.size(FILE) > _MAX_BYTES:
        raise StepInputRefused(f"{FILE} is too large.")
    with volume.open(FILE) as stream:
        try:
            document = json.loads(stream.read().decode("utf-8"))
        except (ValueError, RecursionError):
            raise StepInputRefused(f"{FILE} is damaged.") from None
    fitted = document.get("inputs") if isinstance(document, dict) and document.get("version") == _VERSION else None
    if not isinstance(fitted, dict) or not all(_sound(each) for each in fitted.values()):
        raise StepInputRefused(f"{FILE} is damaged.")
    if {name: each["normalise"] for name, each in fitted.items()} != wanted:
        raise StepInputRefused("The mapping does not normalise as it did in training.")
    return fitted


def _sound(row: object) -> bool:
    if not isinstance(row, dict) or set(row) != {"normalise", "subtract", "divide"}:
        return False
    lists = (row["subtract"], row["divide"])
    return (
        row["normalise"] in {"standard", "minmax"}
        and all(isinstance(values, list) and len(values) > 0 for values in lists)
        and len(lists[0]) == len(lists[1])
        and all(type(value) in {int, float} and np.isfinite(value) for values in lists for value in values)
        and all(value > 0 for value in lists[1])
    )
