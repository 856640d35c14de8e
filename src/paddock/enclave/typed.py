"""What files of a typed output may hold: one function for each type, the content as it may leave out.

A type that is not free cannot carry words: its files are numbers under names, and in one form, so that neither blanks nor
the order of digits say anything. Source: docs/spec/gateway.md §5 (J-17 to J-20).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from paddock.enclave.tensors import TensorForm, check_tensors
from paddock.errors import OutputRefused
from paddock.gateway.messages import is_number
from paddock.gateway.strict import read_strictly
from paddock.jobs.inputs import json_file

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?|")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.:/+-]{0,64}")
_MAX_DEPTH = 5
_MAX_COLUMNS = 65_536
_MAX_CELL_CHARACTERS = 1000
_MAX_JSON_BYTES = 8 << 20
_MAX_LINE_CHARACTERS = 1 << 20
"""What is parsed at once is bounded before: objects made of it take many times its bytes."""
_PREPROCESSING = "preprocessing.json"


@dataclass(frozen=True)
class Strictness:
    """How much a level lets through.

    Args:
        words: whether cells of a table may hold text, and files any name.
        tensors: exactly the tensors that weights must hold; None: any.
        text_columns: columns of a table that may hold identifiers where words may not be.
        fitted: the names that preprocessing may have numbers for; None: any.
    """

    words: bool
    tensors: Mapping[str, TensorForm] | None = None
    text_columns: frozenset[str] = frozenset()
    fitted: frozenset[str] | None = None


def weights(path: str, content: bytes, strict: Strictness) -> bytes:
    """Tensors as `.safetensors`, and how their inputs were normalised."""
    if path == _PREPROCESSING:
        return _preprocessing(content, strict)
    if not path.endswith(".safetensors"):
        raise OutputRefused("Weights are .safetensors files and preprocessing.json, and nothing else.")
    found = check_tensors(content, path)
    if strict.tensors is not None and dict(found) != dict(strict.tensors):  # J-17
        raise OutputRefused(f"{path} does not hold exactly the tensors of the step's program.")
    return content


def numbers(path: str, content: bytes, _strict: Strictness) -> bytes:
    """Finite numbers under names, as JSON; written anew in one form."""
    # J-18
    if not path.endswith(".json"):
        raise OutputRefused("Metrics and curves are .json files, and nothing else.")
    document = _json(path, content)
    if not isinstance(document, dict):
        raise OutputRefused(f"{path} is no JSON object.")
    return json_file(_numbers(path, document, 0))


def table(path: str, content: bytes, strict: Strictness) -> bytes:
    """Rows of cells under a header, as CSV; written anew in one form."""
    # J-19
    if not path.endswith(".csv"):
        raise OutputRefused("Tables are .csv files, and nothing else.")
    rows = _rows(path, content)
    written = io.BytesIO()
    lines = io.TextIOWrapper(written, "utf-8", newline="", write_through=True)
    writer = csv.writer(lines, lineterminator="\n")
    try:
        header = next(rows, [])
        if not 0 < len(header) <= _MAX_COLUMNS or len(set(header)) != len(header):
            raise OutputRefused(f"{path} has no header, or a column twice.")
        for name in header:
            if not (_cell(name) if strict.words or name in strict.text_columns else _NAME.fullmatch(name)):
                raise OutputRefused(f"{path} has a column with a name that none may have.")
        writer.writerow(header)
        for row in rows:
            if len(row) != len(header):
                raise OutputRefused(f"{path} has a row with another number of cells than its header.")
            for name, value in zip(header, row, strict=True):
                _check_cell(path, name, value, strict)
            writer.writerow(row)
    except (csv.Error, UnicodeDecodeError):
        raise OutputRefused(f"{path} is no strict CSV in UTF-8.") from None
    lines.detach()
    return written.getvalue()


def text(path: str, content: bytes, _strict: Strictness) -> bytes:
    """Words: UTF-8, no control signs but tabs and line ends."""
    # J-20
    found = _utf8(path, content)
    if not all(sign.isprintable() or sign in "\n\t\r" for sign in found):
        raise OutputRefused(f"{path} holds control signs.")
    return content


def any_file(_path: str, content: bytes, _strict: Strictness) -> bytes:
    """Whatever it is."""
    return content


def _rows(path: str, content: bytes) -> Iterator[list[str]]:
    lines = io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="")
    while line := lines.readline(_MAX_LINE_CHARACTERS + 1):
        if len(line) > _MAX_LINE_CHARACTERS:
            raise OutputRefused(f"{path} has a line of more than {_MAX_LINE_CHARACTERS} characters.")
        yield from csv.reader([line], strict=True)  # one at a time: no row goes over several


def _check_cell(path: str, column: str, value: str, strict: Strictness) -> None:
    if strict.words:
        allowed = _cell(value)
    elif column in strict.text_columns:
        allowed = bool(_IDENTIFIER.fullmatch(value))
    else:
        allowed = bool(_NUMBER.fullmatch(value))
    if not allowed:
        raise OutputRefused(f"{path} has a cell with what none may hold.")


def _cell(value: str) -> bool:
    return len(value) <= _MAX_CELL_CHARACTERS and value.isprintable()


def _utf8(path: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise OutputRefused(f"{path} is no UTF-8.") from None


def _json(path: str, content: bytes) -> Any:
    if len(content) > _MAX_JSON_BYTES:
        raise OutputRefused(f"{path} has {len(content)} bytes; at most {_MAX_JSON_BYTES} of numbers are read.")
    try:
        return read_strictly(content)
    except ValueError:
        raise OutputRefused(f"{path} is no strict JSON.") from None


def _numbers(path: str, value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise OutputRefused(f"{path} is nested too deep.")
    if isinstance(value, dict):
        if not all(_NAME.fullmatch(name) for name in value):
            raise OutputRefused(f"{path} has a number with a name that none may have.")
        return {name: _numbers(path, each, depth + 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_numbers(path, each, depth + 1) for each in value]
    if is_number(value):
        return value
    raise OutputRefused(f"{path} holds something other than finite numbers.")


def _preprocessing(content: bytes, strict: Strictness) -> bytes:
    # J-17: beside weights stand the numbers that inputs were normalised by, and no words but their names.
    document = _json(_PREPROCESSING, content)
    inputs = document.get("inputs") if isinstance(document, dict) else None
    if not isinstance(inputs, dict) or set(document) != {"version", "inputs"} or document["version"] != 1:
        raise OutputRefused(f"{_PREPROCESSING} has another form.")
    for name, row in inputs.items():
        if strict.fitted is not None and name not in strict.fitted:
            raise OutputRefused(f"{_PREPROCESSING} names an input that the step does not normalise.")
        if not _cell(name) or not isinstance(row, dict) or set(row) != {"normalise", "subtract", "divide"}:
            raise OutputRefused(f"{_PREPROCESSING} has another form.")
        if row["normalise"] not in {"standard", "minmax"}:
            raise OutputRefused(f"{_PREPROCESSING} has another form.")
        for numbers_of in (row["subtract"], row["divide"]):
            if not isinstance(numbers_of, list) or not all(map(is_number, numbers_of)):
                raise OutputRefused(f"{_PREPROCESSING} holds something other than finite numbers.")
    if json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() != content:
        raise OutputRefused(f"{_PREPROCESSING} is not in its one form.")
    return content
