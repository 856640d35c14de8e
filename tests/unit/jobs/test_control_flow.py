"""Branches and loops, saved by stock Paddle: what can be bounded trains as its own layer does, the rest is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paddock.errors import OperationRefused, OperatorRefused, ProgramRefused, ProgramTooLarge
from paddock.jobs import export
from paddock.jobs.engine import engine
from paddock.jobs.evaluator import ProgramLayer
from paddock.jobs.export import InputSpec, export_layer
from paddock.program import STANDARD_LIMITS, Program, memory_bound, read_program
from tests.vectors import control_networks as networks

CARRIED: dict[str, Callable[[], Any]] = {
    "branch taken": networks.Branch,
    "branch left": lambda: networks.Branch(-0.5),
    "branch in a branch": networks.NestedBranch,
    "branch in a branch, other weights": lambda: networks.NestedBranch(1.5),
    "no branch of two": lambda: networks.NestedBranch(2.0),
    "early return": lambda: networks.EarlyReturn(-1.0),
    "chosen one by one": networks.Chosen,
    "plain loop": networks.PlainLoop,
    "counted loop": networks.CountedLoop,
    "loop in a loop": networks.NestedLoop,
    "branch in a loop": networks.BranchInLoop,
    "functions of PaddlePaddle": networks.Functions,
}

REFUSED: dict[str, tuple[type[Any], type[ProgramRefused], str]] = {
    "ended by weights": (networks.EndedByWeights, OperationRefused, r"pd_op\.while at op \d+.*not fixed"),
    "ended by fractions": (networks.EndedByFractions, OperationRefused, r"pd_op\.while at op \d+.*not fixed"),
    "endless": (networks.Endless, ProgramTooLarge, "unroll into more than 2000"),
    "ended by data": (networks.Unbounded, OperationRefused, r"pd_op\.max at op \d+.*mixes the samples"),
    "decided by data": (networks.ByData, OperationRefused, r"pd_op\.mean at op \d+.*mixes the samples"),
    "decided by the batch": (networks.BySample, OperationRefused, r"at op \d+.*number of samples in a batch"),
    "divided by the batch": (networks.DividedByBatch, OperationRefused, r"at op \d+.*number of samples in a batch"),
    "printed": (networks.Printed, OperatorRefused, r"pd_op\.print at op \d+"),
    "own gradient": (networks.OwnGradient, OperatorRefused, r"pd_op\.pylayer at op \d+"),
    "list": (networks.Listed, OperatorRefused, r"pd_op\.create_array at op \d+"),
    "random": (networks.Random, OperatorRefused, r"pd_op\.uniform at op \d+"),
    "fused": (networks.Fused, OperatorRefused, r"pd_op\.fused_softmax_mask at op \d+"),
}


@pytest.mark.parametrize("name", CARRIED)
@pytest.mark.filterwarnings("ignore")
def test_branches_and_loops_train_as_their_layer_does(name: str, tmp_path: Path) -> None:
    # The comparison of outputs, and of weights after two steps, bit for bit, is part of exporting.
    export_layer(CARRIED[name](), [InputSpec("x", "float32", (-1, 4))], tmp_path)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_bounded_or_is_not_listed_is_refused_by_name_and_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, error, said = REFUSED[name]
    monkeypatch.setattr(export, "STANDARD_LIMITS", replace(STANDARD_LIMITS, max_operations=2_000))
    with pytest.raises(error, match=said):
        export_layer(make(), [InputSpec("x", "float32", (-1, 4))], tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_one_program_follows_its_weights_from_one_branch_to_the_other(tmp_path: Path) -> None:
    layer = networks.Branch()
    program = _exported(layer, tmp_path)
    tensors = {tensor.name: tensor.numpy() for tensor in layer.state_dict().values()}
    x, results = engine.to_tensor(np.ones((2, 4), "float32")), []
    for gate in (0.5, -0.5):
        weights = {**tensors, layer.gate.name: np.array([gate], "float32")}
        rebuilt = ProgramLayer(program, {each.name: weights[each.name] for each in program.parameters})
        layer.gate.set_value(weights[layer.gate.name])
        layer.eval()
        rebuilt.eval()
        results.append(rebuilt(x).numpy())
        assert results[-1].tobytes() == layer(x).numpy().tobytes()
    assert results[0].tobytes() != results[1].tobytes()


@pytest.mark.filterwarnings("ignore")
def test_the_turns_of_a_loop_count_for_memory(tmp_path: Path) -> None:
    counted = memory_bound(_exported(networks.CountedLoop(), tmp_path / "a"), 1000, training=True)
    plain = memory_bound(_exported(networks.PlainLoop(), tmp_path / "b"), 1000, training=True)
    assert counted >= plain > 3 * 2 * 1000 * 4 * 4


def _exported(layer: Any, folder: Path) -> Program:
    export_layer(layer, [InputSpec("x", "float32", (-1, 4))], folder)
    return read_program((folder / "program.json").read_bytes(), STANDARD_LIMITS)
