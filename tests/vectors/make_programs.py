"""Writes tests/vectors/programs: graphs as stock `paddle.jit.save` writes them. Run by hand for a new PaddlePaddle."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from tests.vectors import control_networks

FOLDER = Path(__file__).parent / "programs"


class Pictures(nn.Layer):
    """Down, normalise, up again with a transposed convolution, join."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2D(1, 4, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2D(4)
        self.up = nn.Conv2DTranspose(4, 4, 2, stride=2)
        self.out = nn.Conv2D(5, 1, 1)

    def forward(self, x: Any) -> Any:
        return self.out(paddle.concat([x, self.up(nn.functional.relu(self.norm(self.down(x))))], axis=1))


class Series(nn.Layer):
    """A recurrent network over whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 8)
        self.series = nn.GRU(8, 16, num_layers=2, dropout=0.2)
        self.out = nn.Linear(16, 2)

    def forward(self, x: Any) -> Any:
        output, _ = self.series(self.words(x))
        return self.out(output[:, -1])


def tables() -> Any:
    """Batch normalisation and dropout."""
    return nn.Sequential(nn.Linear(30, 16), nn.BatchNorm1D(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))


def main() -> None:
    """Write them all."""
    warnings.simplefilter("ignore")
    FOLDER.mkdir(exist_ok=True)
    _write("tables", tables(), [-1, 30], "float32")
    _write("pictures", Pictures(), [-1, 1, 8, 8], "float32")
    _write("series", Series(), [-1, 5], "int64")
    for name in (
        "Branch",
        "NestedBranch",
        "BranchInLoop",
        "NestedLoop",
        "EndedByWeights",
        "Printed",
        "OwnGradient",
        "Listed",
    ):
        _write(name, getattr(control_networks, name)(), [-1, 4], "float32")


def _write(name: str, layer: Any, shape: Sequence[int], dtype: str) -> None:
    layer.train()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        paddle.jit.save(layer, str(path), input_spec=[paddle.static.InputSpec(list(shape), dtype, "x")])
        (FOLDER / f"{name}.json").write_bytes(path.with_suffix(".json").read_bytes())


if __name__ == "__main__":
    main()
