"""The bound on memory, beside what PaddlePaddle really allocates in evaluation and in steps of training with Adam."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paddock.jobs.engine import engine, functional
from paddock.jobs.evaluator import ProgramLayer
from paddock.program import STANDARD_LIMITS, memory_bound, read_program

nn: Any = engine.nn
statistics: Any = engine.base.core
_SAMPLES = 32


class Around(nn.Layer):
    """A trained number that everything hangs on, so that all gradients are made, and an operator."""

    def __init__(self, function: Callable[[Any, Any], Any], inside: Any) -> None:
        super().__init__()
        self.function, self.inside = function, inside
        self.factor = self.create_parameter([1])

    def forward(self, x: Any) -> Any:
        return self.function(self.inside, x * self.factor)


def _through(inside: Any, x: Any) -> Any:
    return inside(x)


# The operators that take most beside their results, as measured over all of them.
HUNGRY: dict[str, tuple[tuple[int, ...], Callable[[], Any], Callable[[Any, Any], Any]]] = {
    "narrow series": ((128, 4), lambda: nn.LSTM(4, 32), lambda inside, x: inside(x)[0][:, -1]),
    "deep series": ((64, 32), lambda: nn.LSTM(32, 64, num_layers=3), lambda inside, x: inside(x)[0]),
    "series both ways": ((64, 32), lambda: nn.GRU(32, 64, direction="bidirect"), lambda inside, x: inside(x)[0]),
    "softmax": ((16, 256), nn.Identity, lambda _, x: functional.softmax(x)),
    "layer norm": ((16, 256), lambda: nn.LayerNorm(256), _through),
    "batch norm": ((16, 16, 16), lambda: nn.BatchNorm2D(16), _through),
    "kernel of seven": ((3, 32, 32), lambda: nn.Conv2D(3, 2, 7, padding=3), _through),
    "channels one by one": ((32, 16, 16), lambda: nn.Conv2D(32, 32, 5, padding=2, groups=32), _through),
    "transposed": ((16, 8, 8), lambda: nn.Conv2DTranspose(16, 16, 4, stride=2), _through),
    "places of the largest": ((16, 16, 16), nn.Identity, lambda _, x: functional.adaptive_max_pool2d(x, 8)),
    "larger pictures": (
        (4, 16, 16),
        nn.Identity,
        lambda _, x: functional.interpolate(x, scale_factor=3, mode="bilinear"),
    ),
    "dropout": ((4096,), nn.Identity, lambda _, x: functional.dropout(functional.dropout(x))),
    "extremes": ((16, 256), nn.Identity, lambda _, x: x.max([2]) + x.min([2]) + x.mean([2])),
    "attention": ((64, 32), lambda: nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1), _through),
}


@pytest.mark.parametrize("name", HUNGRY)
@pytest.mark.filterwarnings("ignore")
def test_no_step_takes_more_than_the_bound_says(name: str, tmp_path: Path) -> None:
    shape, make, function = HUNGRY[name]
    own = Around(function, make())
    own.train()
    specification = [engine.static.InputSpec([-1, *shape], "float32", "x")]
    engine.jit.save(own, str(tmp_path / "n"), input_spec=specification)
    program = read_program((tmp_path / "n.json").read_bytes(), STANDARD_LIMITS)
    tensors = {tensor.name: tensor.numpy() for tensor in own.state_dict().values()}
    weights = {each.name: tensors[each.name] for each in program.parameters}
    x = np.random.default_rng(1).standard_normal((_SAMPLES, *shape)).astype("float32")
    del own, tensors
    gc.collect()

    before = statistics.host_memory_stat_current_value("Allocated", 0)
    layer, batch = ProgramLayer(program, weights), engine.to_tensor(x)
    layer.eval()
    _start_again()
    with engine.no_grad():
        layer(batch)
    assert 0 < _most() - before <= memory_bound(program, _SAMPLES, training=False)

    layer.train()
    trained = [parameter for parameter in layer.parameters() if not parameter.stop_gradient]
    optimizer = engine.optimizer.Adam(1e-3, parameters=trained)
    _start_again()
    for _ in range(2):
        output = layer(batch)
        (output * output).mean().backward()
        optimizer.step()
        optimizer.clear_grad()
        del output
    assert 0 < _most() - before <= memory_bound(program, _SAMPLES, training=True)


def _start_again() -> None:
    statistics.host_memory_stat_reset_peak_value("Allocated", 0)


def _most() -> int:
    found: int = statistics.host_memory_stat_peak_value("Allocated", 0)
    return found
