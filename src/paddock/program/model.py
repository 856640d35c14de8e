"""What a program is once it has been read: values, parameters, operations, all checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DTYPE_BYTES = {"float32": 4, "float64": 8, "int32": 4, "int64": 8, "bool": 1, "uint8": 1}
FLOATING = frozenset({"float32", "float64"})


@dataclass(frozen=True)
class Limits:
    """What a reader accepts before it has looked at anything in detail.

    Args:
        max_bytes: of the file.
        max_depth: how deep its JSON may be nested.
        max_operations: operators and parameters together, in the file and after loops have been unrolled.
        max_elements: of any one tensor, per sample of a batch.
        max_work: multiplications with additions, or elements made, of all operations together, per sample.
    """

    max_bytes: int
    max_depth: int
    max_operations: int
    max_elements: int
    max_work: int


# DenseNet-264 has about 1,100 operations, 660 parameters and 1.2 MB; these leave room for thirty times that. A level of
# regions takes six levels of JSON. The largest vision transformers take 2^40 multiplications for a picture.
STANDARD_LIMITS = Limits(
    max_bytes=32 << 20, max_depth=64, max_operations=50_000, max_elements=1 << 31, max_work=1 << 44
)


@dataclass(frozen=True)
class TensorType:
    """Shape and dtype. A negative size -k stands for k times the batch size; -1 is the batch itself."""

    dtype: str
    shape: tuple[int, ...]

    def bytes_per_sample(self) -> int:
        """Bytes for a batch of one."""
        return math.prod(abs(size) for size in self.shape) * DTYPE_BYTES[self.dtype]

    def grows(self) -> bool:
        """Whether its size depends on the batch."""
        return any(size < 0 for size in self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(_size(size) for size in self.shape)}]"


def _size(size: int) -> str:
    return str(size) if size >= 0 else "batch" if size == -1 else f"{-size}*batch"


@dataclass(frozen=True)
class Batches:
    """A number known only with the batch size: `times` times it."""

    times: int


Number = int | float | bool | Batches
Type = TensorType | tuple[TensorType, ...]


def agrees(declared: Type, found: Type) -> bool:
    """Whether a declared type is the one that was found; a file writes -1 for any size that depends on the batch."""
    if isinstance(declared, tuple) or isinstance(found, tuple):
        return (
            isinstance(declared, tuple)
            and isinstance(found, tuple)
            and len(declared) == len(found)
            and all(agrees(one, other) for one, other in zip(declared, found, strict=True))
        )
    return declared == found or (
        declared.dtype == found.dtype
        and len(declared.shape) == len(found.shape)
        and all(one == other or (one < 0 and other < 0) for one, other in zip(declared.shape, found.shape, strict=True))
    )


@dataclass(frozen=True)
class Input:
    """What a program is fed with.

    Args:
        name: as the developer gave it in `input_spec`.
        value: number of the value.
        type: dtype and shape; only the first size is -1.
        below: where it selects rows of an embedding, the number of rows; every element must be below it.
    """

    name: str
    value: int
    type: TensorType
    below: int | None = None


@dataclass(frozen=True)
class Parameter:
    """A tensor of the weights.

    Args:
        name: as PaddlePaddle named it, e.g. `linear_0.w_0`; the same name in the weights file.
        value: number of the value.
        type: dtype and shape, all sizes fixed.
        trainable: False for buffers (running statistics) and frozen parameters.
    """

    name: str
    value: int
    type: TensorType
    trainable: bool


@dataclass(frozen=True)
class Operation:
    """One call of an operator.

    Args:
        name: of the operator, without dialect: `conv2d`.
        place: its place in the file, from 0; parameters count.
        operands: numbers of values; None where the operator allows to leave one out.
        attributes: checked against the operator's table.
        outputs: numbers of the values that may be used; what an operator keeps for its own gradient is left out.
        stops_gradient: whether no gradient flows back through it although its operands could take one.
        guards: it runs only if each of these values is true or false as said; they are single truth values that
            depend on weights alone.
    """

    name: str
    place: int
    operands: tuple[int | None, ...]
    attributes: Mapping[str, Any]
    outputs: tuple[int, ...]
    stops_gradient: bool
    guards: tuple[tuple[int, bool], ...] = ()


SELECT = "select"
"""The operation that a reader writes after two branches: operands are the condition and the value of each branch."""


@dataclass(frozen=True)
class Program:
    """A sealed program: a graph as data.

    Args:
        inputs: in the order of the file.
        parameters: in the order in which the developer's layer made them.
        operations: in the order in which they run; every operand is made before. Loops are unrolled, branches guarded.
        outputs: value numbers, in the order of the developer's `return`.
        types: of every value that may be used.
        constants: values that are known without running anything.
    """

    inputs: tuple[Input, ...]
    parameters: tuple[Parameter, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[int, ...]
    types: Mapping[int, Type]
    constants: Mapping[int, tuple[Number, ...]]

    def output_types(self) -> tuple[TensorType, ...]:
        """Dtype and shape of every output."""
        types = (self.types[value] for value in self.outputs)
        return tuple(each for each in types if isinstance(each, TensorType))

    def operator_counts(self) -> dict[str, int]:
        """How often each operator is used."""
        counts: dict[str, int] = {}
        for operation in self.operations:
            counts[operation.name] = counts.get(operation.name, 0) + 1
        return counts
