"""Values that are known before anything runs: whole numbers and truth values, worked out as PaddlePaddle's kernels do.

Floating-point results are never worked out here: they would have to be rounded as a kernel rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from paddock.program.model import Batches, Number, TensorType
from paddock.program.operators.entry import Call

_RANGES = {
    "bool": (0, 1), "uint8": (0, 255), "int32": (-(1 << 31), (1 << 31) - 1), "int64": (-(1 << 63), (1 << 63) - 1),
}  # fmt: skip
KNOWN_UP_TO = 4096


def fits(dtype: str, value: float) -> bool:
    """Whether a number is one of a dtype of whole numbers."""
    low, high = _RANGES[dtype]
    return low <= value <= high and value == int(value)


def is_whole(dtype: str) -> bool:
    """Whether a dtype holds whole numbers or truth values."""
    return dtype in _RANGES


def work_out(
    call: Call, found: TensorType, count: int, function: Callable[[Sequence[int]], int | bool]
) -> tuple[Number, ...] | None:
    """The result of an element-wise operation on its first `count` operands, or None where it is not known."""
    given: list[tuple[int, ...]] = []
    size = math.prod(found.shape)
    for index in range(count):
        operand, constant = call.tensor(index), call.operand(index).constant
        if constant is None or not is_whole(operand.dtype) or any(isinstance(each, Batches) for each in constant):
            return None
        numbers = tuple(int(each) for each in constant if not isinstance(each, Batches))
        numbers = numbers * size if len(numbers) == 1 else numbers
        if len(numbers) != size:
            return None
        given.append(numbers)
    values = tuple(function(each) for each in zip(*given, strict=True))
    return values if all(fits(found.dtype, value) for value in values) else None


def times(numbers: tuple[Number, ...] | None, factor: float) -> tuple[Number, ...] | None:
    """Sizes that depend on the batch, multiplied by a whole number; None where the result would be no such size."""
    if numbers is None or factor != int(factor) or factor < 1 or not all(isinstance(each, Batches) for each in numbers):
        return None
    return tuple(Batches(each.times * int(factor)) for each in numbers if isinstance(each, Batches))
