"""Volumes in memory, and a small classification task, for tests of jobs."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from paddock.jobs.api import JobContext, Progress
from paddock.jobs.weights import write_weights
from paddock.program import STANDARD_LIMITS, Program, read_program
from tests.vectors.programs_by_hand import FOLDER

COLUMNS = [f"c{number}" for number in range(30)]
ROOM = 1 << 30


class Volume:
    """Files by name."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)

    def names(self) -> list[str]:
        return sorted(self.files)

    def size(self, name: str) -> int:
        return len(self.files[name])

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self.files[name])


def program(name: str = "tables") -> Program:
    """A saved program."""
    return read_program((FOLDER / f"{name}.json").read_bytes(), STANDARD_LIMITS)


def initial_weights(made: Program, seed: int = 1) -> dict[str, Any]:
    """Some weights for a program."""
    random = np.random.default_rng(seed)
    return {
        each.name: np.abs(random.standard_normal(each.type.shape) * 0.3 + 0.1).astype(each.type.dtype)
        for each in made.parameters
    }


def network(name: str = "tables") -> Volume:
    """The program's volume."""
    content = (FOLDER / f"{name}.json").read_bytes()
    weights = write_weights(initial_weights(program(name)))
    return Volume({"program.json": content, "weights.safetensors": weights})


def csv_text(rows: Sequence[Sequence[object]], header: Sequence[str] = (*COLUMNS, "label")) -> bytes:
    """A CSV file."""
    lines = [",".join(header), *(",".join(str(cell) for cell in row) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def samples(count: int, seed: int) -> list[list[object]]:
    """Rows whose label can be told from the first column."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((count, 30)).round(4)
    return [[*(float(value) for value in row), int(row[0] > 0)] for row in values]


def table(count: int, seed: int) -> Volume:
    """A volume of one CSV file."""
    return Volume({"records.csv": csv_text(samples(count, seed))})


def mapping(normalise: str = "standard", *, label: bool = True) -> dict[str, Any]:
    """The mapping for the tables."""
    made: dict[str, Any] = {"x": {"columns": COLUMNS, "dtype": "float32", "normalise": normalise}}
    return {**made, "label": {"column": "label", "dtype": "int64"}} if label else made


def train_parameters(**changes: Any) -> dict[str, Any]:
    """Parameters of a short training."""
    return {
        "seed": 7,
        "epochs": 2,
        "batch_size": 16,
        "loss": {"kind": "cross_entropy"},
        "optimizer": {"kind": "adam", "learning_rate": 0.01},
        "metrics": ["accuracy"],
        "mapping": mapping(),
        **changes,
    }


def context(
    parameters: Mapping[str, Any],
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
    room: int = ROOM,
    **inputs: Sequence[Volume],
) -> JobContext:
    """What a job is given."""
    return JobContext(parameters, inputs, progress, check, room)
