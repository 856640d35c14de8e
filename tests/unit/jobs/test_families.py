"""Whole networks, saved by stock Paddle: rebuilt from the saved graph they evaluate and train like their own layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paddock.jobs.engine import engine
from paddock.jobs.evaluator import ProgramLayer
from paddock.program import STANDARD_LIMITS, read_program
from tests.fixtures.families import FAMILIES, Family

nn: Any = engine.nn
_STEPS = 20
_SAMPLES = 2
# What remains of equality where PaddlePaddle does not repeat its own bits.
_NEAR = 1e-6


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.filterwarnings("ignore")
def test_a_rebuilt_network_evaluates_and_trains_as_its_own_layer_does(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    engine.seed(3)
    own = family.make()
    own.train()
    path, batch = tmp_path / "n", [engine.to_tensor(each) for each in family.batch(_SAMPLES)]
    engine.jit.save(own, str(path), input_spec=_specification(family))
    program = read_program(path.with_suffix(".json").read_bytes(), STANDARD_LIMITS)
    tensors = {tensor.name: tensor for tensor in own.state_dict().values()}
    weights = {each.name: tensors[each.name].numpy() for each in program.parameters}
    rebuilt = ProgramLayer(program, weights)

    # 1. What the layer and PaddlePaddle's own loader give in evaluation, before anything is trained.
    evaluated = _evaluated(rebuilt, batch)
    assert _bits(evaluated) == _bits(_evaluated(own, batch))
    _assert_alike(evaluated, _evaluated(engine.jit.load(str(path)), batch))
    # 2. Twenty steps: every loss, every weight and every statistic.
    trained = _trained(rebuilt, batch)
    owned = _trained(own, batch)
    if _bits(trained) != _bits(owned):
        own.set_state_dict({key: weights[tensor.name] for key, tensor in own.state_dict().items()})
        again = _trained(own, batch)
        assert _bits(again) != _bits(owned), "PaddlePaddle repeats its own bits, and the rebuilt network does not"
        _assert_alike(trained, owned)
    assert trained.keys() == {*weights, *(f"loss {step}" for step in range(_STEPS))}
    # 3. It did train.
    trainable = {each.name for each in program.parameters if each.trainable}
    moved = {name for name in trainable if trained[name].tobytes() != weights[name].tobytes()}
    assert len(moved) > len(trainable) / 2


@pytest.mark.filterwarnings("ignore")
def test_dropout_and_batch_statistics_are_at_work_in_training_and_not_in_evaluation() -> None:
    path = Path(__file__).parents[2] / "vectors" / "programs" / "tables.json"
    program = read_program(path.read_bytes(), STANDARD_LIMITS)
    random = np.random.default_rng(1)
    weights = {
        each.name: np.abs(random.standard_normal(each.type.shape)).astype("float32") for each in program.parameters
    }
    layer, x = ProgramLayer(program, weights), [engine.to_tensor(random.standard_normal((8, 30)).astype("float32"))]
    still = {each.name for each in program.parameters if not each.trainable}
    assert _bits(_evaluated(layer, x)) == _bits(_evaluated(layer, x))
    assert all(layer.weights()[name].tobytes() == weights[name].tobytes() for name in still)
    layer.train()
    one, other = (layer(*x).numpy().tobytes() for _ in range(2))
    assert one != other
    assert all(layer.weights()[name].tobytes() != weights[name].tobytes() for name in still)


def _specification(family: Family) -> list[Any]:
    return [engine.static.InputSpec([-1, *each.shape], each.dtype, each.name) for each in family.inputs]


def _evaluated(layer: Any, batch: Sequence[Any]) -> dict[str, Any]:
    layer.eval()
    with engine.no_grad():
        return {str(index): each.numpy() for index, each in enumerate(_outputs(layer, batch))}


def _trained(layer: Any, batch: Sequence[Any]) -> dict[str, Any]:
    """Every loss, and the weights and statistics after the last step."""
    layer.train()
    engine.seed(9)
    trainable = [parameter for parameter in layer.parameters() if not parameter.stop_gradient]
    optimizer = engine.optimizer.Momentum(1e-3, parameters=trainable)
    found: dict[str, Any] = {}
    for step in range(_STEPS):
        loss = sum((each * each).mean() for each in _outputs(layer, batch))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        found[f"loss {step}"] = loss.numpy()
    if isinstance(layer, ProgramLayer):
        return {**found, **layer.weights()}
    return {**found, **{tensor.name: tensor.numpy() for tensor in layer.state_dict().values()}}


def _outputs(layer: Any, batch: Sequence[Any]) -> list[Any]:
    outputs = layer(*batch)
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def _bits(arrays: dict[str, Any]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in arrays.items()}


def _assert_alike(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        scale = max(float(np.abs(array).max()), 1e-30)
        assert float(np.abs(found[name] - array).max()) <= _NEAR * scale, name
