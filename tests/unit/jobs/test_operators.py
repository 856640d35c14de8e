"""Every operator of the allow-list, in a little network: it is exported, rebuilt, and must train alike bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paddock.jobs.engine import engine, functional
from paddock.jobs.export import InputSpec, export_layer
from paddock.jobs.operators import MAKERS
from paddock.program import STANDARD_LIMITS, read_program
from paddock.program.operators import OPERATORS

nn: Any = engine.nn

# What reads shapes or makes fixed numbers is done by the reader, or bound when compiling.
_DONE_BY_THE_READER = {"fetch", "full_int_array", "shape64"}


class Around(nn.Layer):
    """A linear layer, the function, a linear layer: so gradients flow through the function to weights."""

    def __init__(self, function: Callable[[Any], Any], inside: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.inside = list(inside)
        self.before = nn.Linear(12, 12)

    def forward(self, x: Any) -> Any:
        return self.function(engine.reshape(self.before(x), [-1, *self.inside])).flatten(1)


FLAT: dict[str, Callable[[Any], Any]] = {
    "relu": functional.relu,
    "relu6": functional.relu6,
    "hardswish": functional.hardswish,
    "hardsigmoid": functional.hardsigmoid,
    "sigmoid": functional.sigmoid,
    "tanh": engine.tanh,
    "silu": functional.silu,
    "swish": functional.swish,
    "softsign": functional.softsign,
    "logsigmoid": functional.log_sigmoid,
    "exp": engine.exp,
    "log": lambda x: engine.log(engine.exp(x)),
    "sqrt": lambda x: engine.sqrt(engine.exp(x)),
    "rsqrt": lambda x: engine.rsqrt(engine.exp(x)),
    "square": engine.square,
    "sin": engine.sin,
    "cos": engine.cos,
    "abs": engine.abs,
    "gelu": functional.gelu,
    "gelu approximate": lambda x: functional.gelu(x, approximate=True),
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.2),
    "elu": lambda x: functional.elu(x, 0.7),
    "selu": functional.selu,
    "mish": functional.mish,
    "softplus": lambda x: functional.softplus(x, 2.0, 5.0),
    "hardtanh": lambda x: functional.hardtanh(x, -0.5, 0.4),
    "softmax": functional.softmax,
    "log_softmax": functional.log_softmax,
    "pow": lambda x: engine.pow(engine.exp(x), 1.5),
    "scale": lambda x: 1 - x * 0.3,
    "clip": lambda x: engine.clip(x, -0.5, 0.5),
    "add": lambda x: x + x,
    "subtract": lambda x: x - engine.tanh(x),
    "multiply": lambda x: x * x,
    "divide": lambda x: x / engine.exp(x),
    "maximum": lambda x: engine.maximum(x, engine.tanh(x) * 0.5),
    "minimum": lambda x: engine.minimum(x, engine.tanh(x) * 0.5),
    "elementwise_pow": lambda x: x**2,
    "p_norm": functional.normalize,
    "cast": lambda x: engine.cast(engine.cast(x, "float64") * 2, "float32"),
    "assign": engine.assign,
    "share_data_": lambda x: x * x.detach(),
    "full_like": lambda x: x * engine.full_like(x, 3.0),
    "erf": engine.erf,
    "log1p": lambda x: engine.log1p(engine.exp(x)),
    "reciprocal": lambda x: engine.reciprocal(engine.exp(x)),
    "celu": lambda x: functional.celu(x, 0.8),
    "full": lambda x: engine.concat([x, x + engine.full([1, 12], 2.0)], 1),
}

BLOCKS: dict[str, Callable[[Any], Any]] = {
    "mean": lambda x: x.mean([1]),
    "sum": lambda x: x.sum([2], keepdim=True),
    "max": lambda x: x.max(1),
    "min": lambda x: x.min([1, 2], keepdim=True),
    "transpose": lambda x: x.transpose([0, 2, 1]),
    "unsqueeze and squeeze": lambda x: engine.tanh(x.unsqueeze(1)).squeeze(1),
    "concat": lambda x: engine.concat([x, engine.tanh(x)], axis=-1),
    "stack": lambda x: engine.stack([x, engine.tanh(x)], axis=1),
    "slice": lambda x: x[:, 1:3] * x[:, -1:],
    "slice of the last": lambda x: x[:, -1],
    "split": lambda x: engine.tanh(engine.split(x, [1, -1], axis=1)[1]),
    "split_with_num": lambda x: engine.split(x, 3, axis=2)[0],
    "unbind": lambda x: engine.unbind(x, axis=1)[2],
    "expand": lambda x: x.unsqueeze(1).expand([-1, 2, -1, -1]),
    "tile": lambda x: engine.tile(x, [1, 2, 1]),
    "matmul": lambda x: engine.matmul(x, x, transpose_y=True),
    "bmm": lambda x: engine.bmm(x, x.transpose([0, 2, 1])),
}

LAYERS: dict[str, Callable[[], Any]] = {
    "batch_norm": lambda: nn.BatchNorm1D(4, momentum=0.7),
    "layer_norm": lambda: nn.LayerNorm(3),
    "group_norm": lambda: nn.GroupNorm(2, 4),
    "instance_norm": lambda: nn.InstanceNorm1D(4),
    "prelu": lambda: nn.PReLU(4),
    "convolution": lambda: nn.Conv1D(4, 6, 3, padding=1, stride=2),
    "depthwise": lambda: nn.Conv1D(4, 8, 3, padding=1, groups=4),
    "transposed": lambda: nn.Conv1DTranspose(4, 3, 2, stride=2),
    "largest": lambda: nn.MaxPool1D(2, ceil_mode=True),
    "average": lambda: nn.AvgPool1D(2, stride=1, padding=1, exclusive=False),
    "adaptive": lambda: nn.AdaptiveAvgPool1D(2),
    "dropout": lambda: nn.Dropout(0.4),
    "dropout of the other mode": lambda: nn.Dropout(0.4, mode="downscale_in_infer"),
    "gru": lambda: _First(nn.GRU(3, 5, num_layers=2, dropout=0.5)),
    "lstm": lambda: _First(nn.LSTM(3, 5, direction="bidirect")),
    "simple recurrent": lambda: _First(nn.SimpleRNN(3, 5)),
    "attention": lambda: nn.TransformerEncoderLayer(3, 1, 6, dropout=0.2),
}

PICTURES: dict[str, Callable[[Any], Any]] = {
    "nearest": lambda x: functional.interpolate(x, scale_factor=2),
    "bilinear": lambda x: functional.interpolate(x, size=[5, 3], mode="bilinear"),
    "bilinear with corners": lambda x: functional.interpolate(x, size=[5, 3], mode="bilinear", align_corners=True),
    "pad": lambda x: functional.pad(x, [1, 0, 2, 1], value=0.5),
    "shuffle": lambda x: functional.pixel_shuffle(engine.concat([x, x, x, x], axis=1), 2),
    "largest": lambda x: functional.max_pool2d(x, 2, 1, "SAME"),
    "adaptive largest": lambda x: functional.adaptive_max_pool2d(x, [1, 2]),
    "transposed": lambda x: functional.conv2d_transpose(
        x, engine.ones([3, 2, 3, 3]) * 0.1, stride=2, padding=1, output_padding=1
    ),
}


class _First(nn.Layer):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any) -> Any:
        return self.layer(x)[0]


def _export(layer: Any, folder: Path) -> None:
    # The comparison of outputs, and of weights after two steps, bit for bit, is part of exporting.
    export_layer(layer, [InputSpec("x", "float32", (-1, 12))], folder)
    read_program((folder / "program.json").read_bytes(), STANDARD_LIMITS)


@pytest.mark.parametrize("name", FLAT)
def test_functions_of_rows(name: str, tmp_path: Path) -> None:
    _export(Around(FLAT[name], (12,)), tmp_path)


@pytest.mark.parametrize("name", BLOCKS)
def test_functions_of_blocks(name: str, tmp_path: Path) -> None:
    _export(Around(BLOCKS[name], (4, 3)), tmp_path)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.filterwarnings("ignore")
def test_layers(name: str, tmp_path: Path) -> None:
    _export(Around(LAYERS[name](), (4, 3)), tmp_path)


@pytest.mark.parametrize("name", PICTURES)
def test_functions_of_pictures(name: str, tmp_path: Path) -> None:
    _export(Around(PICTURES[name], (3, 2, 2)), tmp_path)


def test_every_operator_that_is_read_can_be_evaluated() -> None:
    assert OPERATORS.keys() - _DONE_BY_THE_READER == MAKERS.keys()
