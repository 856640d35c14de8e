"""How much memory a program takes, worked out from its shapes before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Sequence

from paddock.program.model import DTYPE_BYTES, Operation, Program, TensorType, Type

# A weight, its gradient, and at most two moments of an optimiser.
_COPIES_IN_TRAINING = 4
# What is computed from an output after the program: a loss with labels and its gradients; probabilities and metrics.
_COPIES_OF_OUTPUTS = {True: 6, False: 3}
_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
_NORMS = frozenset({"batch_norm_", "layer_norm", "group_norm", "instance_norm"})


def memory_bound(program: Program, batch_size: int, *, training: bool) -> int:
    """Bytes that one step takes at most for tensors: weights, what the graph holds, and work space of operators.

    In training, every value is counted twice (itself and its gradient) and all are alive at once, with what operators
    keep for their gradients; otherwise a value is counted from where it is made to where it is last used.

    Args:
        program: as read.
        batch_size: samples per step, at least 1.
        training: whether gradients and an optimiser's state are needed.

    Source: docs/spec/program.md (P-10); the work space of operators was measured with PaddlePaddle 3.3.
    """
    # P-10
    weights = sum(each.type.bytes_per_sample() for each in program.parameters)
    trainable = sum(each.type.bytes_per_sample() for each in program.parameters if each.trainable)
    inputs = sum(_bytes(each.type, batch_size) for each in program.inputs)
    outputs = _COPIES_OF_OUTPUTS[training] * sum(_bytes(program.types[value], batch_size) for value in program.outputs)
    work = max((_work_space(program, each, batch_size) for each in program.operations), default=0)
    if training:
        made = sum(_made(program, each, batch_size) for each in program.operations)
        kept = sum(_kept(program, each, batch_size) for each in program.operations)
        return weights + (_COPIES_IN_TRAINING - 1) * trainable + 2 * (inputs + made + work) + kept + outputs
    kept = max((_kept(program, each, batch_size) for each in program.operations), default=0)
    return weights + inputs + _peak(program, batch_size) + work + kept + outputs


def _peak(program: Program, batch_size: int) -> int:
    last = last_uses(program.operations, program.outputs)
    alive, peak = 0, 0
    for index, operation in enumerate(program.operations):
        alive += _made(program, operation, batch_size)
        peak = max(peak, alive)
        alive -= sum(_bytes(program.types[value], batch_size) for value in last[index])
    return peak


def last_uses(operations: Sequence[Operation], outputs: Sequence[int]) -> list[list[int]]:
    """For every operation, the values made by operations that nothing needs after it."""
    seen = set(outputs)
    made = {value for operation in operations for value in operation.outputs}
    freed: list[list[int]] = []
    for operation in reversed(operations):
        conditions = [condition for condition, _ in operation.guards]
        values = {value for value in (*operation.operands, *operation.outputs, *conditions) if value in made}
        freed.append(sorted(value for value in values if value is not None and value not in seen))
        seen.update(value for value in values if value is not None)
    return freed[::-1]


def _made(program: Program, operation: Operation, batch_size: int) -> int:
    return sum(_bytes(program.types[value], batch_size) for value in operation.outputs)


def _bytes(found: Type, batch_size: int) -> int:
    if isinstance(found, TensorType):
        return found.bytes_per_sample() * (batch_size if found.grows() else 1)
    return sum(_bytes(each, batch_size) for each in found)


def _kept(program: Program, operation: Operation, batch_size: int) -> int:
    """What an operator keeps for its gradient beside its result, and makes in evaluation too."""
    made = _made(program, operation, batch_size)
    if operation.name == "dropout" or operation.name in _NORMS:
        return made  # a mask of bytes; means and variances, of which a row of one element has two
    if operation.name == "max_pool2d_with_index":
        return 2 * made  # places
    if operation.name == "rnn":
        about = operation.attributes
        gates = _GATES[about["mode"]] + 4
        directions = 2 if about["is_bidirec"] else 1
        return int(about["num_layers"] * gates * directions * made)
    return 0


def _work_space(program: Program, operation: Operation, batch_size: int) -> int:
    """An operator's own work space: a copy of its result at most, and what convolutions unroll.

    A convolution on the processor unrolls one picture: a column of kernel size for each output element.
    """
    made = _made(program, operation, batch_size)
    if "conv2d" not in operation.name:
        return made
    kernel, result = program.types[operation.operands[1] or 0], program.types[operation.outputs[0]]
    source = program.types[operation.operands[0] or 0]
    if not (isinstance(kernel, TensorType) and isinstance(result, TensorType) and isinstance(source, TensorType)):
        return made
    pictures = max(math.prod(result.shape[2:]), math.prod(source.shape[2:]))
    return made + math.prod(kernel.shape[1:]) * pictures * DTYPE_BYTES[result.dtype]
