"""Comparisons, truth values and what chooses by them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from paddock.program.model import TensorType
from paddock.program.operators.entry import Call, Kind, Operator, Result, broadcast, checked, tensor
from paddock.program.operators.known import work_out

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less_than": operator.lt,
    "less_equal": operator.le,
    "greater_than": operator.gt,
    "greater_equal": operator.ge,
}
_CONNECTIVES: dict[str, Callable[[Any, Any], bool]] = {
    "logical_and": lambda one, other: bool(one and other),
    "logical_or": lambda one, other: bool(one or other),
    "logical_xor": lambda one, other: bool(one) != bool(other),
}


def _pair(function: Callable[[Any, Any], bool], *, truths: bool) -> Callable[[Call], Result]:
    def rule(call: Call) -> Result:
        left, right = call.tensor(0), call.tensor(1)
        if left.dtype != right.dtype or (truths and left.dtype != "bool"):
            call.refuse(f"it compares {left.dtype} and {right.dtype}.")
        found = TensorType("bool", broadcast(call, left.shape, right.shape))
        return Result((found,), (work_out(call, found, 2, lambda pair: function(*pair)),))

    return rule


def _truths(call: Call) -> TensorType:
    found = call.tensor(0)
    if found.dtype != "bool":
        call.refuse(f"operand 0 is {found.dtype}, not truth values.")
    return found


def _not(call: Call) -> Result:
    found = _truths(call)
    return Result((found,), (work_out(call, found, 1, lambda one: not one[0]),))


def _reduce(call: Call) -> Result:
    found = _truths(call)
    rank = len(found.shape)
    axes = {call.axis(axis, rank) for axis in call.attributes["axis"]} or set(range(rank))
    if any(found.shape[axis] < 0 for axis in axes):
        call.refuse("it mixes the samples of a batch.")  # P-8
    keep = call.attributes["keepdim"]
    sizes = [1 if axis in axes else size for axis, size in enumerate(found.shape) if keep or axis not in axes]
    return tensor("bool", checked(call, sizes))


def _where(call: Call) -> Result:
    condition, one, other = _truths(call), call.tensor(1), call.tensor(2)
    if one.dtype != other.dtype:
        call.refuse(f"it chooses between {one.dtype} and {other.dtype}.")
    return tensor(one.dtype, broadcast(call, condition.shape, broadcast(call, one.shape, other.shape)))


_AXES = {"axis": Kind("i64*", length=8), "keepdim": Kind("bool")}

LOGIC = {
    **{name: Operator(("tensor", "tensor"), _pair(each, truths=False)) for name, each in _COMPARISONS.items()},
    **{name: Operator(("tensor", "tensor"), _pair(each, truths=True)) for name, each in _CONNECTIVES.items()},
    "logical_not": Operator(("tensor",), _not),
    "all": Operator(("tensor",), _reduce, _AXES),
    "any": Operator(("tensor",), _reduce, _AXES),
    "where": Operator(("tensor", "tensor", "tensor"), _where),
}
