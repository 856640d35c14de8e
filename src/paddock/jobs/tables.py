"""Tables: CSV files with a header, read column by column. No error ever shows a cell."""

from __future__ import annotations

import csv
import io
import math
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from paddock.errors import DataUnreadable, FieldMissing, ValuesRefused
from paddock.jobs.api import Files

_MAX_CELL = 4096
_MAX_ID = 200


@dataclass(frozen=True)
class Table:
    """The wanted columns of a volume: numbers as float64, texts as they are."""

    rows: int
    numbers: dict[str, array[float]]
    texts: dict[str, list[str]]


def table_files(volume: Files) -> list[str]:
    """The CSV files of a volume, in path order."""
    return sorted(name for name in volume.names() if name.lower().endswith(".csv"))


def read_table(volume: Files, number: int, columns: Collection[str], text_columns: Collection[str]) -> Table:
    """Read columns of a volume's CSV files, one file after the other in path order (J-3).

    Args:
        volume: holds at least one CSV file; all have the same header.
        number: which of the step's data inputs it is, from 1, for messages.
        columns: to be read as numbers.
        text_columns: to be read as texts.

    Raises:
        DataUnreadable: a file is not such a CSV file.
        FieldMissing: a column is not in the header.
        ValuesRefused: cells that are empty or not finite numbers, by column and count; never by content.
    """
    numbers = {name: array("d") for name in columns}
    texts: dict[str, list[str]] = {name: [] for name in text_columns}
    faults = dict.fromkeys([*numbers, *texts], 0)
    header: list[str] | None = None
    rows = 0
    for place, name in enumerate(table_files(volume), start=1):
        where = f"CSV file {place} of data input {number}"
        with volume.open(name) as stream:
            lines = _lines(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), where)
            own = next(lines, [])
            if header is None:
                header = _header(own, where)
                wanted = {column: _index(header, column, number) for column in faults}
            elif own != header:
                raise DataUnreadable(f"The header of {where} differs from that of the first one.")
            for line in lines:
                if len(line) != len(header):
                    raise DataUnreadable(f"{where} has a row of {len(line)} cells under {len(header)} columns.")
                rows += 1
                for column, values in numbers.items():
                    value = _number(line[wanted[column]])
                    faults[column] += math.isnan(value)
                    values.append(value)
                for column, cells in texts.items():
                    cell = line[wanted[column]]
                    faults[column] += not cell or len(cell) > _MAX_ID or not cell.isprintable()
                    cells.append(cell)
    for column, count in faults.items():  # J-6
        if count:
            raise ValuesRefused(
                f"Column '{column}' of data input {number}: {count} of {rows} cells are empty or not usable."
            )
    return Table(rows, numbers, texts)


def _lines(stream: io.TextIOWrapper, where: str) -> Iterator[list[str]]:
    try:
        for line in csv.reader(stream, strict=True):
            if line:
                if any(len(cell) > _MAX_CELL for cell in line):
                    raise DataUnreadable(f"{where} has a cell of more than {_MAX_CELL} characters.")
                yield line
    except (csv.Error, UnicodeError):
        raise DataUnreadable(f"{where} is not CSV in UTF-8.") from None


def _header(cells: list[str], where: str) -> list[str]:
    if not cells or len(set(cells)) != len(cells):
        raise DataUnreadable(f"{where} has no header, or one that names a column twice.")
    return cells


def _index(header: list[str], column: str, number: int) -> int:
    if column not in header:
        raise FieldMissing(f"Column '{column}' is not in data input {number}.")
    return header.index(column)


def _number(cell: str) -> float:
    """The number in a cell, or NaN where there is none that is finite and exact."""
    if "_" in cell:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
