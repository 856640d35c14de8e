"""From volumes to arrays: what the mapping names, checked against what the program takes, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paddock.errors import DataUnreadable, MemoryExceeded, ShapeMismatch, StepInputRefused, ValuesRefused
from paddock.jobs import normalising
from paddock.jobs.api import Files
from paddock.jobs.arrays import read_array
from paddock.jobs.parameters import LABEL, FieldMapping
from paddock.jobs.tables import Table, read_table, table_files
from paddock.program import Program

_RANGES = {name: np.iinfo(name) for name in ("int32", "int64")}
# A table's cells as numbers and the array made of them are in memory at the same time.
_COPIES = 3


@dataclass(frozen=True)
class Samples:
    """Arrays of equal length, ready for the program.

    Args:
        inputs: one array per input of the program, in its order; the first dimension counts samples.
        label: the label's array; None where there is none.
        ids: the texts of the id column; None where there is none.
        fitted: what normalised inputs were normalised by.
    """

    inputs: tuple[Any, ...]
    label: Any
    ids: list[str] | None
    fitted: Mapping[str, Mapping[str, Any]]

    @property
    def count(self) -> int:
        """Number of samples."""
        return int(self.inputs[0].shape[0])


def load_samples(
    program: Program,
    volumes: Sequence[Files],
    mapping: Mapping[str, FieldMapping],
    *,
    fitted: Mapping[str, Mapping[str, Any]] | None,
    id_column: str | None,
    memory_limit_bytes: int,
) -> Samples:
    """Read, pool, normalise and check.

    1. The mapping names every input of the program, with its dtype (J-2).
    2. Volumes are read in the signed order and put one after the other (J-3, J-4).
    3. Inputs are normalised by what was fitted in training, or fitted now (J-5).
    4. Shapes are those of the program, values are usable (J-6, J-7).

    Args:
        program: what the arrays are for.
        volumes: data inputs, in the signed order.
        mapping: from the contract.
        fitted: what to normalise by; None in training, where it is fitted.
        id_column: a column to be copied as text.
        memory_limit_bytes: what the data may take.

    Raises:
        StepInputRefused, DataUnreadable, FieldMissing, ShapeMismatch, ValuesRefused, MemoryExceeded: what is wrong,
            by field and count, never by content.
    """
    _check_mapping(program, mapping)
    if not volumes:
        raise StepInputRefused("There is no data input.")
    _check_memory(volumes, memory_limit_bytes)
    parts: dict[str, list[Any]] = {name: [] for name in mapping}
    ids: list[str] | None = None if id_column is None else []
    for number, volume in enumerate(volumes, start=1):
        fields, own_ids = _read_volume(volume, number, mapping, id_column)
        for name, values in fields.items():
            parts[name].append(values)
        if ids is not None:
            ids.extend(own_ids)
    pooled = {name: _pooled(name, values) for name, values in parts.items()}  # J-4
    used: dict[str, Mapping[str, Any]] = {}
    for name, field in mapping.items():
        pooled[name] = _prepared(name, pooled[name], field, fitted, used)
    for each in program.inputs:
        _check_input(each.name, pooled[each.name], each.type.shape, each.below)
    inputs = tuple(pooled[each.name] for each in program.inputs)
    return Samples(inputs, pooled.get(LABEL), ids, used)


def _check_mapping(program: Program, mapping: Mapping[str, FieldMapping]) -> None:
    # J-2
    wanted = {each.name: each.type.dtype for each in program.inputs}
    if LABEL in wanted:
        raise ShapeMismatch(f"An input of the program is called '{LABEL}', which stands for the label.")
    given = {name: field.dtype for name, field in mapping.items() if name != LABEL}
    if set(given) != set(wanted):
        said = ", ".join(f"'{name}'" for name in wanted)
        raise ShapeMismatch(f"The program's inputs are {said}; the mapping must name these and no others.")
    for name, dtype in given.items():
        if dtype != wanted[name]:
            raise ShapeMismatch(f"Input '{name}' is {wanted[name]} in the program and {dtype} in the mapping.")


def _check_memory(volumes: Sequence[Files], limit: int) -> None:
    stored = sum(volume.size(name) for volume in volumes for name in volume.names())
    if stored * _COPIES > limit:  # J-9
        raise MemoryExceeded(f"The data inputs hold {stored} bytes; the step may use {limit} bytes in all.")


def _read_volume(
    volume: Files, number: int, mapping: Mapping[str, FieldMapping], id_column: str | None
) -> tuple[dict[str, Any], list[str]]:
    columns = [column for field in mapping.values() for column in _named_columns(field)]
    table: Table | None = None
    if columns or id_column is not None:
        if not table_files(volume):
            raise StepInputRefused(f"Data input {number} holds no CSV file.")
        table = read_table(volume, number, dict.fromkeys(columns), [] if id_column is None else [id_column])
    fields: dict[str, Any] = {}
    for name, field in mapping.items():
        fields[name] = _columns(table, field) if field.array is None else read_array(volume, number, field.array)
    counts = {int(values.shape[0]) for values in fields.values()} | ({table.rows} if table is not None else set())
    if counts == {0}:
        raise ValuesRefused(f"Data input {number} holds no samples.")
    if len(counts) != 1:
        raise ShapeMismatch(f"Fields of data input {number} have different numbers of samples: {sorted(counts)}.")
    return fields, table.texts[id_column] if table is not None and id_column is not None else []


def _named_columns(field: FieldMapping) -> list[str]:
    return field.columns or ([] if field.column is None else [field.column])


def _columns(table: Table | None, field: FieldMapping) -> Any:
    if table is None:
        raise DataUnreadable("There is no table.")
    if field.column is not None:
        return np.array(table.numbers[field.column], dtype="float64")
    made = np.empty((table.rows, len(field.columns or ())), dtype="float64")
    for index, column in enumerate(field.columns or ()):
        made[:, index] = table.numbers[column]
    return made


def _pooled(name: str, parts: Sequence[Any]) -> Any:
    # J-4
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) != 1:
        said = ", ".join(str(list(shape)) for shape in sorted(shapes))
        raise ShapeMismatch(f"Field '{name}' has different shapes in the data inputs: {said}.")
    return np.concatenate(list(parts))


def _prepared(
    name: str,
    values: Any,
    field: FieldMapping,
    fitted: Mapping[str, Mapping[str, Any]] | None,
    used: dict[str, Mapping[str, Any]],
) -> Any:
    if values.dtype.kind == "f" and not np.isfinite(values).all():  # J-6
        count = int((~np.isfinite(values)).sum())
        raise ValuesRefused(f"Field '{name}' holds {count} values that are not finite numbers.")
    if field.normalise != "none":
        wide = values.astype("float64")
        used[name] = normalising.fit(wide, field.normalise) if fitted is None else fitted[name]
        if len(used[name]["subtract"]) != (wide.shape[1] if wide.ndim > 1 else 1):
            raise ShapeMismatch(f"Field '{name}' was normalised with another number of columns in training.")
        values = normalising.apply(wide, used[name])
    if field.dtype in _RANGES:
        _check_whole(name, values, field.dtype)
    made = np.ascontiguousarray(values, dtype=field.dtype)
    if made.dtype.kind == "f" and not np.isfinite(made).all():  # J-6
        raise ValuesRefused(f"Field '{name}' holds values that are too large for {field.dtype}.")
    return made


def _check_whole(name: str, values: Any, dtype: str) -> None:
    # J-6
    limits = _RANGES[dtype]
    wrong = (values < limits.min) | (values > limits.max)
    if values.dtype.kind == "f":
        wrong |= (values != np.floor(values)) | (np.abs(values) >= 1 << 53)
    if wrong.any():
        raise ValuesRefused(f"Field '{name}' holds {int(wrong.sum())} values that are not whole numbers of {dtype}.")


def _check_input(name: str, values: Any, shape: Sequence[int], below: int | None) -> None:
    # J-7
    if values.shape[1:] != tuple(shape[1:]):
        wanted, found = ["batch", *shape[1:]], ["batch", *values.shape[1:]]
        raise ShapeMismatch(
            f"Input '{name}' of the program takes {wanted}; the data give {found}.".replace("'batch'", "batch")
        )
    if below is not None and values.size and (int(values.min()) < 0 or int(values.max()) >= below):  # P-9
        raise ValuesRefused(f"Input '{name}' must hold whole numbers from 0 to {below - 1}, and some are outside.")
