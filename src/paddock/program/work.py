"""How much a program computes for one sample, worked out from its shapes before anything runs."""

from __future__ import annotations

import math

from paddock.errors import ProgramTooLarge
from paddock.program.model import Limits, Operation, Program, TensorType, Type

_MATRICES = frozenset({"matmul", "bmm"})


def work_bound(program: Program) -> int:
    """Multiplications with additions, or elements made where nothing is multiplied, for one sample forwards.

    Source: docs/spec/program.md (P-12).
    """
    return sum(_work(program, each) for each in program.operations)


def check_work(program: Program, limits: Limits) -> None:
    """Return if a sample's work is within the limit.

    Raises:
        ProgramTooLarge: it is not.
    """
    # P-12
    found = work_bound(program)
    if found > limits.max_work:
        raise ProgramTooLarge(f"One sample takes {found} multiplications; at most {limits.max_work} are computed.")


def _work(program: Program, operation: Operation) -> int:
    made = sum(_elements(program.types[value]) for value in operation.outputs)
    return made * _for_each_element(program, operation)


def _for_each_element(program: Program, operation: Operation) -> int:
    name = operation.name
    if name in _MATRICES:
        left = _tensor(program, operation, 0)
        return abs(left.shape[-2] if operation.attributes.get("transpose_x") else left.shape[-1])
    if name.endswith("conv2d"):
        return math.prod(_tensor(program, operation, 1).shape[1:])
    if name.endswith("conv2d_transpose"):
        kernel = _tensor(program, operation, 1).shape
        groups: int = operation.attributes["groups"]
        return math.prod(kernel[2:]) * max(1, kernel[0] // groups)
    if name == "pool2d":
        adaptive = operation.attributes["adaptive"]
        window = _tensor(program, operation, 0).shape[2:] if adaptive else _fixed(program, operation, 1)
        return math.prod(window)
    if name == "rnn":
        about = operation.attributes
        widest = max(about["input_size"], 2 * about["hidden_size"]) + about["hidden_size"]
        return int(about["num_layers"] * 4 * widest)
    if name in {"mean", "sum", "max", "min", "all", "any", "p_norm"}:
        source = _elements(program.types[operation.operands[0] or 0])
        return max(1, source // max(1, sum(_elements(program.types[value]) for value in operation.outputs)))
    return 1


def _tensor(program: Program, operation: Operation, index: int) -> TensorType:
    found = program.types[operation.operands[index] or 0]
    if not isinstance(found, TensorType):
        raise TypeError("a list where a tensor was read")
    return found


def _fixed(program: Program, operation: Operation, index: int) -> tuple[int, ...]:
    return tuple(size for size in program.constants[operation.operands[index] or 0] if isinstance(size, int))


def _elements(found: Type) -> int:
    if isinstance(found, TensorType):
        return math.prod(abs(size) for size in found.shape)
    return sum(_elements(each) for each in found)
