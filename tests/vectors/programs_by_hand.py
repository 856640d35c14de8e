"""Saved programs, and small changes to them, for tests of the reader."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paddock.program import STANDARD_LIMITS, Program, read_program

FOLDER = Path(__file__).parent / "programs"


def document(name: str) -> dict[str, Any]:
    """A saved program as JSON values."""
    value: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_bytes())
    return value


def operations(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Its operations."""
    found: list[dict[str, Any]] = value["program"]["regions"][0]["blocks"][0]["ops"]
    return found


def operation(value: dict[str, Any], name: str) -> dict[str, Any]:
    """Its first operation of that name."""
    return next(each for each in operations(value) if each["#"] == name)


def attribute(op: dict[str, Any], name: str) -> dict[str, Any]:
    """An attribute's kind and value, to be changed in place."""
    found: dict[str, Any] = next(each["AT"] for each in op["A"] if each["N"] == name)
    return found


def read(value: Any) -> Program:
    """Read JSON values as a program."""
    return read_program(json.dumps(value).encode(), STANDARD_LIMITS)


def changed(name: str, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """A saved program with one change."""
    value = copy.deepcopy(document(name))
    change(value)
    return value
