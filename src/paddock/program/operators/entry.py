"""What an entry of the allow-list is made of, and what its shape rule is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from paddock.errors import OperationRefused
from paddock.program.model import Batches, Number, TensorType, Type

OperandKind = Literal["tensor", "optional", "list", "constant", "nothing", "state"]


@dataclass(frozen=True)
class Kind:
    """The type of an attribute, and which values it may have.

    Args:
        kind: as the file says it (`i32`, `f32`, `bool`, `str`, `dtype`, `ints`, `place`), or `i32*` for a list.
        allowed: the values it may have; all where it is None.
        low: smallest number.
        high: largest number.
        length: of a list, at most.
        optional: whether it may be left out.
    """

    kind: str
    allowed: Collection[Any] | None = None
    low: float | None = None
    high: float | None = None
    length: int = 16
    optional: bool = False

    def faults(self, value: Any) -> bool:
        """Whether one value, or one of a list, is not allowed."""
        values = value if isinstance(value, tuple) else (value,)
        if isinstance(value, tuple) and len(value) > self.length:
            return True
        if self.allowed is not None:
            return any(each not in self.allowed for each in values)
        return any(
            (self.low is not None and each < self.low) or (self.high is not None and each > self.high)
            for each in values
        )


@dataclass(frozen=True)
class Operand:
    """A value that an operation is given, as far as it is known before anything runs."""

    value: int
    type: Type
    constant: tuple[Number, ...] | None
    is_parameter: bool
    trainable: bool


@dataclass(frozen=True)
class Call:
    """One operation, with its operands looked up and its attributes checked; `where` is its name and place."""

    where: str
    operands: Sequence[Operand | None]
    attributes: Mapping[str, Any]
    declared: Sequence[Type | None]

    def refuse(self, why: str) -> NoReturn:
        """Refuse the program for this operation."""
        raise OperationRefused(f"{self.where}: {why}")

    def operand(self, index: int) -> Operand:
        """An operand that must be there."""
        operand = self.operands[index]
        if operand is None:
            self.refuse(f"operand {index} is left out.")
        return operand

    def tensor(self, index: int) -> TensorType:
        """The type of an operand that is a tensor."""
        found = self.operand(index).type
        if not isinstance(found, TensorType):
            self.refuse(f"operand {index} is a list, not a tensor.")
        return found

    def tensors(self, index: int) -> tuple[TensorType, ...]:
        """The types of an operand that is a list of tensors."""
        found = self.operand(index).type
        if isinstance(found, TensorType):
            self.refuse(f"operand {index} is a tensor, not a list.")
        return found

    def numbers(self, index: int) -> tuple[Number, ...]:
        """An operand that is known before anything runs."""
        constant = self.operand(index).constant
        if constant is None:
            self.refuse(f"operand {index} is computed from data where a fixed number is needed.")
        return constant

    def whole_numbers(self, index: int) -> tuple[int, ...]:
        """An operand of fixed whole numbers."""
        numbers = self.numbers(index)
        if any(isinstance(number, Batches) or number != int(number) for number in numbers):
            self.refuse(f"operand {index} does not hold fixed whole numbers.")
        return tuple(int(number) for number in numbers if not isinstance(number, Batches))

    def number(self, index: int) -> float:
        """An operand of one fixed number."""
        numbers = self.numbers(index)
        if len(numbers) != 1 or isinstance(numbers[0], Batches):
            self.refuse(f"operand {index} is not one fixed number.")
        return float(numbers[0])

    def axis(self, axis: int, rank: int) -> int:
        """An axis counted from the front."""
        if not -rank <= axis < rank:
            self.refuse(f"axis {axis} is outside a tensor of {rank} dimensions.")
        return axis % rank

    def floating(self, index: int) -> TensorType:
        """The type of an operand of floating-point numbers."""
        found = self.tensor(index)
        if found.dtype not in {"float32", "float64"}:
            self.refuse(f"operand {index} is {found.dtype}, not floating-point.")
        return found


@dataclass(frozen=True)
class Result:
    """What a shape rule finds: the types of the outputs that may be used, and their values where they are known."""

    types: Sequence[Type]
    constants: Sequence[tuple[Number, ...] | None] = ()


Rule = Callable[[Call], Result]


@dataclass(frozen=True)
class Operator:
    """An entry of the allow-list.

    Args:
        operands: kind of each.
        rule: the shape rule.
        attributes: name to kind.
        repeated: whether the last kind may come any number of times (at least once).
        scratch: the outputs that PaddlePaddle keeps for gradients; nothing may use them.
    """

    operands: tuple[OperandKind, ...]
    rule: Rule
    attributes: Mapping[str, Kind] = field(default_factory=dict)
    repeated: bool = False
    scratch: tuple[int, ...] = ()


def tensor(dtype: str, shape: Sequence[int]) -> Result:
    """A result of one tensor."""
    return Result((TensorType(dtype, tuple(shape)),))


def broadcast(call: Call, left: Sequence[int], right: Sequence[int]) -> tuple[int, ...]:
    """The shape of an element-wise operation on two shapes."""
    width = max(len(left), len(right))
    padded = ((1,) * (width - len(left)) + tuple(left), (1,) * (width - len(right)) + tuple(right))
    sizes = []
    for one, other in zip(*padded, strict=True):
        if one != other and 1 not in {one, other}:
            call.refuse(f"shapes {list(left)} and {list(right)} do not fit together.")
        sizes.append(other if one == 1 else one)
    return checked(call, sizes)


def size_of(call: Call, number: Number) -> int:
    """A size as shapes hold it, from a number that is known."""
    if isinstance(number, Batches):
        return -number.times
    if number != int(number) or number < 1:
        call.refuse(f"{number} is not a size.")
    return int(number)


def checked(call: Call, sizes: Sequence[int]) -> tuple[int, ...]:
    """A shape with at most one size that depends on the batch, none of them zero, of a sane total."""
    if any(size == 0 for size in sizes):
        call.refuse(f"shape {list(sizes)} is empty.")
    if sum(size < 0 for size in sizes) > 1:
        call.refuse(f"shape {list(sizes)} depends on the batch in two dimensions.")
    if len(sizes) > 8 or math.prod(abs(size) for size in sizes) > 1 << 40:
        call.refuse("the result is too large.")
    return tuple(sizes)


def moved(call: Call, found: TensorType, shape: Sequence[int]) -> Result:
    """A result of the same elements in the same order under another shape, in which every sample stays a piece.

    The elements of a sample lie together where no other size stands before the batch; what stands before it must stay.
    """
    if _before_the_batch(found.shape) != _before_the_batch(shape):
        call.refuse("it moves elements from one sample of a batch to another.")  # P-8
    return tensor(found.dtype, checked(call, shape))


def _before_the_batch(shape: Sequence[int]) -> int | None:
    for axis, size in enumerate(shape):
        if size < 0:
            return math.prod(shape[:axis])
    return None
