"""Whole networks, saved by stock Paddle: rebuilt from the saved graph they evaluate and train like their own layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paddock.jobs.engine import engine, functional
from paddock.jobs.evaluator import ProgramLayer
from paddock.program import STANDARD_LIMITS, read_program
from paddock.samples import plain_training

nn: Any = engine.nn
_STEPS = 4


class Attention(nn.Layer):
    """Words, learnt places, two encoder layers, the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 16)
        self.places = self.create_parameter([1, 12, 16])
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1), 2)
        self.out = nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        return self.out(self.encoder(self.words(x) + self.places).mean(axis=1))


class Patches(nn.Layer):
    """A small vision transformer with a class token that is expanded to the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = nn.Conv2D(3, 16, 4, stride=4)
        self.token = self.create_parameter([1, 1, 16])
        self.encoder = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.1, activation="gelu", normalize_before=True)
        self.out = nn.Linear(16, 5)

    def forward(self, x: Any) -> Any:
        pieces = self.cut(x).flatten(2).transpose([0, 2, 1])
        token = self.token.expand([x.shape[0], -1, -1])
        return self.out(self.encoder(engine.concat([token, pieces], axis=1))[:, 0])


class Series(nn.Layer):
    """A recurrent layer and a classifier on its last output."""

    def __init__(self, kind: Any, **options: Any) -> None:
        super().__init__()
        self.series = kind(8, 16, **options)
        self.out = nn.Linear(16 * self.series.num_directions, 2)

    def forward(self, x: Any) -> Any:
        return self.out(self.series(x)[0][:, -1])


class Segmentation(nn.Layer):
    """Down, normalise, up again with a transposed convolution, join."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.norm = nn.Conv2D(1, 4, 3, padding=1, stride=2), nn.BatchNorm2D(4)
        self.up, self.out = nn.Conv2DTranspose(4, 4, 2, stride=2), nn.Conv2D(5, 1, 1)

    def forward(self, x: Any) -> Any:
        up = self.up(functional.relu(self.norm(self.down(x))))
        return self.out(engine.concat([x, up], axis=1))


class Partly(nn.Layer):
    """A frozen layer, and a value whose gradient is stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.free, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        for parameter in self.frozen.parameters():
            parameter.stop_gradient = True

    def forward(self, x: Any) -> Any:
        hidden = self.free(self.frozen(x))
        return self.out(hidden * functional.sigmoid(hidden.detach()))


models = engine.vision.models
FAMILIES: dict[str, tuple[Callable[[], Any], tuple[int, ...], str]] = {
    "tumour": (plain_training.make_network, (30,), "float32"),
    "lenet": (models.LeNet, (1, 28, 28), "float32"),
    "resnet18": (lambda: models.resnet18(num_classes=4), (3, 32, 32), "float32"),
    "mobilenet_v3": (lambda: models.mobilenet_v3_small(num_classes=4), (3, 32, 32), "float32"),
    "segmentation": (Segmentation, (1, 8, 8), "float32"),
    "gru": (lambda: Series(nn.GRU, num_layers=2, dropout=0.2), (5, 8), "float32"),
    "lstm": (lambda: Series(nn.LSTM, direction="bidirect"), (5, 8), "float32"),
    "attention": (Attention, (12,), "int64"),
    "patches": (Patches, (3, 16, 16), "float32"),
    "partly": (Partly, (6,), "float32"),
}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.filterwarnings("ignore")
def test_rebuilt_networks_evaluate_and_train_alike_bit_for_bit(name: str, tmp_path: Path) -> None:
    make, shape, dtype = FAMILIES[name]
    engine.seed(3)
    own = make()
    own.train()
    engine.jit.save(own, str(tmp_path / "n"), input_spec=[engine.static.InputSpec([-1, *shape], dtype, "x")])
    program = read_program((tmp_path / "n.json").read_bytes(), STANDARD_LIMITS)
    tensors = {tensor.name: tensor for tensor in own.state_dict().values()}
    rebuilt = ProgramLayer(program, {each.name: tensors[each.name].numpy() for each in program.parameters})
    random = np.random.default_rng(1)
    x = random.integers(0, 50, (3, *shape)) if dtype == "int64" else random.standard_normal((3, *shape)).astype(dtype)

    before = {name: array.copy() for name, array in rebuilt.weights().items()}
    assert _evaluated(own, x) == _evaluated(rebuilt, x)
    assert _trained(own, x) == _trained(rebuilt, x)
    assert _evaluated(own, x) == _evaluated(rebuilt, x)
    after = rebuilt.weights()
    assert {name for name, array in after.items() if array.tobytes() != tensors[name].numpy().tobytes()} == set()
    trainable = {each.name for each in program.parameters if each.trainable}
    unmoved = {name for name in trainable if before[name].tobytes() == after[name].tobytes()}
    assert len(unmoved) < len(trainable) / 2


@pytest.mark.filterwarnings("ignore")
def test_dropout_and_batch_statistics_are_at_work_in_training_and_not_in_evaluation() -> None:
    path = Path(__file__).parents[2] / "vectors" / "programs" / "tables.json"
    program = read_program(path.read_bytes(), STANDARD_LIMITS)
    random = np.random.default_rng(1)
    weights = {
        each.name: np.abs(random.standard_normal(each.type.shape)).astype("float32") for each in program.parameters
    }
    layer, x = ProgramLayer(program, weights), random.standard_normal((8, 30)).astype("float32")
    still = {each.name for each in program.parameters if not each.trainable}
    assert _evaluated(layer, x) == _evaluated(layer, x)
    assert all(layer.weights()[name].tobytes() == weights[name].tobytes() for name in still)
    layer.train()
    one, other = (layer(engine.to_tensor(x)).numpy().tobytes() for _ in range(2))
    assert one != other
    assert all(layer.weights()[name].tobytes() != weights[name].tobytes() for name in still)


def _evaluated(layer: Any, x: Any) -> bytes:
    layer.eval()
    with engine.no_grad():
        content: bytes = layer(engine.to_tensor(x)).numpy().tobytes()
    return content


def _trained(layer: Any, x: Any) -> list[float]:
    layer.train()
    engine.seed(9)
    trainable = [parameter for parameter in layer.parameters() if not parameter.stop_gradient]
    optimizer = engine.optimizer.Adam(1e-3, parameters=trainable)
    losses = []
    for _ in range(_STEPS):
        output = layer(engine.to_tensor(x))
        loss = (output * output).mean()
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    return losses
