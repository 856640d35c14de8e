"""Running `predict`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from paddock.errors import ShapeMismatch
from paddock.jobs.api import JobContext, Outputs, Role
from paddock.jobs.inference import infer, prepare
from paddock.jobs.inputs import check_roles
from paddock.jobs.losses import only_output
from paddock.jobs.parameters import PredictParameters

_DECIMALS = 6
_MAX_WIDTH = 10_000


def run(context: JobContext, parameters: PredictParameters, roles: Mapping[str, Role]) -> Outputs:
    """One row per sample, in the data's order (J-14)."""
    check_roles(context, roles)
    program, make_layer, samples = prepare(context, parameters, id_column=parameters.id_column)
    output = only_output(program)
    if len(output.shape) != 2 or output.shape[1] > _MAX_WIDTH:
        raise ShapeMismatch(f"Predictions are rows of at most {_MAX_WIDTH} numbers; the program gives {output}.")
    outputs = infer(make_layer(), samples, parameters.batch_size, context)
    header, rows = _table(outputs.astype("float64"), parameters.output)
    # J-14
    names: list[object] = list(samples.ids) if samples.ids is not None else list(range(1, samples.count + 1))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([parameters.id_column or "row", *header])
    writer.writerows([name, *row] for name, row in zip(names, rows, strict=True))
    return {"predictions": {"predictions.csv": text.getvalue().encode()}}


def _table(outputs: Any, kind: str) -> tuple[list[str], list[list[object]]]:
    width = outputs.shape[1]
    if kind == "raw":
        return [f"output_{index}" for index in range(width)], [[_written(each) for each in row] for row in outputs]
    if kind == "sigmoid":
        chances = 1 / (1 + np.exp(-np.clip(outputs, -700, 700)))
        header = ["probability"] if width == 1 else [f"probability_{index}" for index in range(width)]
        return header, [[_written(each) for each in row] for row in chances]
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    chances = powers / powers.sum(axis=1, keepdims=True)
    rows = [[int(row.argmax()), *(_written(each) for each in row)] for row in chances]
    return ["class", *(f"probability_{index}" for index in range(width))], rows


def _written(value: float) -> str:
    return f"{value:.{_DECIMALS}f}"
