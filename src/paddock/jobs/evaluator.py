"""Rebuilding a sealed program as a layer of PaddlePaddle that trains as the developer's own layer does.

PaddlePaddle's loader would run the saved graph as it was saved: in evaluation mode for good, without dropout, with
batch statistics frozen. Here every operation becomes a call of PaddlePaddle's public functions in dynamic graph, in
the program's order, so that random numbers are drawn, gradients are summed and statistics are moved exactly as the
developer's own layer would. No bytes of a party reach PaddlePaddle's deserialiser.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from paddock.jobs.engine import engine, functional
from paddock.jobs.operators import MAKERS, Binding, Compute
from paddock.program import Operation, Program
from paddock.program.memory import last_uses
from paddock.program.model import SELECT, Batches, TensorType
from paddock.program.operators.known import is_whole

Step = Callable[[list[Any]], None]


class ProgramLayer(engine.nn.Layer):
    """A program as a layer: `layer(*inputs)` gives the output, or a tuple of them where there are several.

    Args:
        program: as read.
        weights: array for every parameter's name, of exactly its shape and dtype (see `jobs.weights`).
    """

    def __init__(self, program: Program, weights: Mapping[str, Any]) -> None:
        super().__init__()
        self._program = program
        self._tensors: dict[str, Any] = {}
        for index, each in enumerate(program.parameters):
            if each.trainable:
                tensor = self.create_parameter(
                    list(each.type.shape),
                    attr=engine.ParamAttr(name=None, initializer=engine.nn.initializer.Assign(weights[each.name])),
                    dtype=each.type.dtype,
                )
                self.add_parameter(f"p{index}", tensor)
            else:
                tensor = engine.to_tensor(weights[each.name], dtype=each.type.dtype)
                tensor.stop_gradient = True
                self.register_buffer(f"p{index}", tensor)
            self._tensors[each.name] = tensor
        self._size = 1 + max(program.types)
        fixed = [(each.value, self._tensors[each.name]) for each in program.parameters]
        self._fixed = tuple(fixed)
        self._inputs = tuple(each.value for each in program.inputs)
        self._steps = {training: _compile(program, training=training) for training in (True, False)}

    def forward(self, *inputs: Any) -> Any:
        """Run the program on a batch.

        Args:
            inputs: one tensor per input of the program, in its order.
        """
        values: list[Any] = [None] * self._size
        for value, tensor in self._fixed:
            values[value] = tensor
        for value, tensor in zip(self._inputs, inputs, strict=True):
            values[value] = tensor
        for step in self._steps[self.training]:
            step(values)
        outputs = self._program.outputs
        return values[outputs[0]] if len(outputs) == 1 else tuple(values[value] for value in outputs)

    def tensors(self) -> dict[str, Any]:
        """Every parameter and buffer as its tensor, by the program's names."""
        return dict(self._tensors)

    def weights(self) -> dict[str, Any]:
        """Every parameter and buffer as an array, by the program's names."""
        return {name: tensor.numpy() for name, tensor in self._tensors.items()}


def _compile(program: Program, *, training: bool) -> tuple[Step, ...]:
    """The program as a flat list of calls, each of which reads and writes the list of values."""
    fused = _fuse_linear(program)
    fixed = {each.outputs[0] for each in fused if _is_fixed(program, each)}
    needed = _needed(program, fused, fixed)
    operations = [each for each in fused if needed.intersection(each.outputs)]
    steps: list[Step] = []
    for operation, freed in zip(operations, last_uses(operations, program.outputs), strict=True):
        if operation.outputs[0] in fixed:
            step = _step(_made(program, operation), operation.outputs, ())
        else:
            compute = _compute(program, operation, training=training)
            if operation.stops_gradient:
                compute = _without_gradient(compute)
            step = _step(compute, operation.outputs, _fed(program, operation))
        if operation.guards:
            step = _guarded(step, operation.guards)
        steps.append(_freeing(step, tuple(freed)) if freed else step)
    return tuple(steps)


def _is_fixed(program: Program, operation: Operation) -> bool:
    """Whether the reader knows the result: whole numbers or truth values, so it is made and not computed."""
    known = program.constants.get(operation.outputs[0])
    found = program.types[operation.outputs[0]]
    return (
        known is not None
        and isinstance(found, TensorType)
        and is_whole(found.dtype)
        and not any(isinstance(each, Batches) for each in known)
    )


def _made(program: Program, operation: Operation) -> Compute:
    found, known = program.types[operation.outputs[0]], program.constants[operation.outputs[0]]
    if not isinstance(found, TensorType):
        raise TypeError("a list where a tensor was read")
    array = np.array(known, dtype=found.dtype).reshape(found.shape)
    return lambda: engine.to_tensor(array)


def _fed(program: Program, operation: Operation) -> tuple[int, ...]:
    """The values that are handed over; what was bound as a fixed number is None in the list of values, and not read."""
    like_batch = program.inputs[0].value
    if operation.name == "full_with_tensor":
        return (like_batch,)
    if operation.name == "expand":
        return (operation.operands[0] or 0, like_batch)
    return tuple(value or 0 for value in operation.operands)


def _compute(program: Program, operation: Operation, *, training: bool) -> Compute:
    if operation.name == _LINEAR:
        fused: Compute = functional.linear
        return fused
    if operation.name == SELECT:
        return _selected
    return MAKERS[operation.name](Binding(program, operation, training=training))


def _step(compute: Compute, out: tuple[int, ...], fed: tuple[int, ...]) -> Step:
    if len(out) == 1 and len(fed) == 1:
        return _one_to_one(compute, fed[0], out[0])
    if len(out) == 1 and len(fed) == 2:
        return _two_to_one(compute, fed[0], fed[1], out[0])
    if len(out) == 1:
        return _many_to_one(compute, fed, out[0])
    return _many_to_many(compute, fed, out)


def _one_to_one(compute: Compute, source: int, target: int) -> Step:
    def run(values: list[Any]) -> None:
        values[target] = compute(values[source])

    return run


def _two_to_one(compute: Compute, left: int, right: int, target: int) -> Step:
    def run(values: list[Any]) -> None:
        values[target] = compute(values[left], values[right])

    return run


def _many_to_one(compute: Compute, sources: tuple[int, ...], target: int) -> Step:
    def run(values: list[Any]) -> None:
        values[target] = compute(*[values[source] for source in sources])

    return run


def _many_to_many(compute: Compute, sources: tuple[int, ...], targets: tuple[int, ...]) -> Step:
    def run(values: list[Any]) -> None:
        for target, value in zip(targets, compute(*[values[source] for source in sources]), strict=True):
            values[target] = value

    return run


def _freeing(run: Step, freed: tuple[int, ...]) -> Step:
    def run_and_free(values: list[Any]) -> None:
        run(values)
        for value in freed:
            values[value] = None

    return run_and_free


def _guarded(run: Step, guards: tuple[tuple[int, bool], ...]) -> Step:
    def run_if(values: list[Any]) -> None:
        for condition, wanted in guards:
            if bool(values[condition]) is not wanted:
                return
        run(values)

    return run_if


def _selected(condition: Any, one: Any, other: Any) -> Any:
    return one if bool(condition) else other


def _without_gradient(compute: Compute) -> Compute:
    def run(*operands: Any) -> Any:
        with engine.no_grad():
            return compute(*operands)

    return run


_LINEAR = "linear"


def _fuse_linear(program: Program) -> list[Operation]:
    """Join a product with a matrix of weights and the sum with its bias: PaddlePaddle's own layer does both at once.

    The results are the same bit for bit; a step saves a call.
    """
    parameters = {each.value: each for each in program.parameters}
    uses: dict[int, int] = {}
    for operation in program.operations:
        for value in operation.operands:
            uses[value or 0] = uses.get(value or 0, 0) + 1
    for value in program.outputs:
        uses[value] = uses.get(value, 0) + 1
    fused: list[Operation] = []
    for operation in program.operations:
        before = fused[-1] if fused else None
        if (
            before is not None
            and operation.name == "add"
            and before.name == "matmul"
            and operation.operands[0] == before.outputs[0]
            and uses[before.outputs[0]] == 1
            and not any(before.attributes.values())
            and not before.stops_gradient
            and not operation.stops_gradient
            and before.guards == operation.guards
            and (weight := parameters.get(before.operands[1] or 0)) is not None
            and (bias := parameters.get(operation.operands[1] or 0)) is not None
            and len(weight.type.shape) == 2
            and bias.type.shape == weight.type.shape[1:]
        ):
            operands = (*before.operands, operation.operands[1])
            fused[-1] = Operation(
                _LINEAR, operation.place, operands, {}, operation.outputs, stops_gradient=False, guards=operation.guards
            )
        else:
            fused.append(operation)
    return fused


def _needed(program: Program, operations: Sequence[Operation], fixed: Collection[int]) -> set[int]:
    """The values that outputs are computed from; numbers that were bound when compiling are not among them."""
    needed = set(program.outputs)
    for operation in reversed(operations):
        if needed.intersection(operation.outputs) or operation.name in _DRAWS_OR_MOVES:
            needed.update(operation.outputs)
            needed.update(condition for condition, _ in operation.guards)
            if operation.outputs[0] not in fixed:
                needed.update(value for value in _read(operation) if value is not None)
    return needed


# These act on more than their result (random numbers, running statistics): they run even if nothing uses it.
_DRAWS_OR_MOVES = frozenset({"dropout", "rnn", "batch_norm_"})
_BOUND = {
    "scale": 1, "clip": 1, "dropout": 1, "pool2d": 1, "conv2d_transpose": 2, "depthwise_conv2d_transpose": 2,
    "mean": 1, "sum": 1, "max": 1, "min": 1, "reshape": 1, "squeeze": 1, "unsqueeze": 1, "concat": 1, "slice": 1,
    "split": 1, "split_with_num": 1, "expand": 1, "tile": 1, "pad3d": 1, "full_like": 1, "full_with_tensor": 0,
    "arange": 0,
}  # fmt: skip


def _read(operation: Operation) -> tuple[int | None, ...]:
    """The operands whose tensors are really read: after so many, the others are fixed numbers."""
    return operation.operands[: _BOUND.get(operation.name, len(operation.operands))]
