"""Training a sealed program beside training the developer's own layer, in the same process and the same minute."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import Row, interleaved, row
from paddock.jobs.api import NoCheckpoints
from paddock.jobs.data import Samples
from paddock.jobs.engine import engine
from paddock.jobs.evaluator import ProgramLayer
from paddock.jobs.export import InputSpec, export_layer
from paddock.jobs.parameters import TrainParameters, read_parameters
from paddock.jobs.training import train
from paddock.jobs.weights import check_weights
from paddock.program import Program
from paddock.samples import plain_training

_AREA = "training"
_SEED = 7
_RATE = 0.002
_TARGET = "ratio <= 1.02"


class ConvNet(engine.nn.Layer):
    """A small network for pictures, with batch normalisation and dropout: float32[batch, 1, 28, 28] to ten classes."""

    def __init__(self) -> None:
        super().__init__()
        nn = engine.nn
        self.layers = nn.Sequential(
            nn.Conv2D(1, 8, 3, padding=1), nn.BatchNorm2D(8), nn.ReLU(), nn.MaxPool2D(2),
            nn.Conv2D(8, 16, 3, padding=1), nn.BatchNorm2D(16), nn.ReLU(), nn.MaxPool2D(2),
            nn.Flatten(), nn.Dropout(0.25), nn.Linear(16 * 49, 10),
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        """The ten classes' logits."""
        return self.layers(x)


@dataclass(frozen=True)
class _Case:
    """The same network twice, and the same samples."""

    own: Any
    program: Program
    rebuilt: ProgramLayer
    samples: Samples

    def run_plain(self, epochs: int, batch_size: int) -> None:
        x, y = self.samples.inputs[0], self.samples.label
        plain_training.train(self.own, x, y, epochs=epochs, batch_size=batch_size, seed=_SEED, rate=_RATE)

    def run_sealed(self, epochs: int, batch_size: int) -> None:
        train(
            self.rebuilt,
            self.samples,
            _parameters(epochs, batch_size),
            progress=_ignore,
            check=_nothing,
            checkpoints=NoCheckpoints(),
        )

    def equal(self) -> bool:
        own = {tensor.name: tensor.numpy() for tensor in self.own.state_dict().values()}
        rebuilt = self.rebuilt.weights()
        return own.keys() == rebuilt.keys() and all(own[name].tobytes() == rebuilt[name].tobytes() for name in own)


def rows(quick: bool) -> list[Row]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the plain layer's batch normalisation says how it works
        tumour = _case(plain_training.make_network, (30,), 2, 4096)
        pictures = _case(ConvNet, (1, 28, 28), 10, 512)
        made = [
            _equality("tumour network, weights after training, bit for bit", tumour, 2 if quick else 10, 32),
            _equality("convolutional network, weights after training, bit for bit", pictures, 1 if quick else 3, 32),
        ]
        made.append(_steps("tumour network, step of 256 samples", tumour, 256, 4, 5 if quick else 31))
        made.append(_steps("convolutional network, step of 64 samples", pictures, 64, 1, 5 if quick else 41))
    return made


def _case(make: Callable[[], Any], shape: tuple[int, ...], classes: int, count: int) -> _Case:
    own = make()
    with tempfile.TemporaryDirectory() as folder:
        program = export_layer(own, [InputSpec("x", "float32", (-1, *shape))], Path(folder))
        weights = check_weights(program, (Path(folder) / "weights.safetensors").read_bytes())
    random = np.random.default_rng(_SEED)
    label = random.integers(0, classes, count)
    x = random.standard_normal((count, *shape)).astype("float32")
    return _Case(own, program, ProgramLayer(program, weights), Samples((x,), label, None, {}))


def _equality(name: str, case: _Case, epochs: int, batch_size: int) -> Row:
    case.run_plain(epochs, batch_size)
    case.run_sealed(epochs, batch_size)
    return row(name, _AREA, float(case.equal()), "equal", target="value == 1")


def _steps(name: str, case: _Case, batch_size: int, epochs: int, repeat: int) -> Row:
    timings = interleaved(
        {
            "plain": lambda: case.run_plain(epochs, batch_size),
            "sealed": lambda: case.run_sealed(epochs, batch_size),
        },
        repeat=repeat,
    )
    steps = epochs * -(-case.samples.count // batch_size)
    plain, sealed = (1e6 * timings[which].median / steps for which in ("plain", "sealed"))
    return row(name, _AREA, sealed, "us", baseline=plain, target=_TARGET)


def _parameters(epochs: int, batch_size: int) -> TrainParameters:
    return read_parameters(
        TrainParameters,
        {
            "seed": _SEED,
            "epochs": epochs,
            "batch_size": batch_size,
            "loss": {"kind": "cross_entropy"},
            "optimizer": {"kind": "adam", "learning_rate": _RATE},
            "mapping": {
                "x": {"array": "x", "dtype": "float32"},
                "label": {"array": "y", "dtype": "int64"},
            },
        },
    )


def _ignore(_: object) -> None:
    pass


def _nothing() -> None:
    pass
