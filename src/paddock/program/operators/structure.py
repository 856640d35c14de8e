"""Operators that carry values around and compute nothing."""

from __future__ import annotations

from paddock.program.operators.entry import Call, Kind, Operator, Result


def _combine(call: Call) -> Result:
    types = tuple(call.tensor(index) for index in range(len(call.operands)))
    constants = [call.operand(index).constant for index in range(len(call.operands))]
    joined = None
    if all(constant is not None and len(constant) == 1 for constant in constants):
        joined = tuple(constant[0] for constant in constants if constant is not None)
    return Result((types,), (joined,))


def _split(call: Call) -> Result:
    return Result(call.tensors(0))


def _fetch(call: Call) -> Result:
    found = call.tensor(0)
    if not found.shape or found.shape[0] != -1 or any(size < 0 for size in found.shape[1:]):
        call.refuse(f"an output must have the batch as its first dimension, and it is {found}.")  # P-8
    return Result((found,))


def _same(call: Call) -> Result:
    operand = call.operand(0)
    return Result((call.tensor(0),), (operand.constant,))


STRUCTURE = {
    "builtin.combine": Operator(("tensor",), _combine, repeated=True),
    "builtin.split": Operator(("list",), _split),
    "fetch": Operator(("tensor",), _fetch, {"name": Kind("str"), "col": Kind("i32", low=0)}),
    "assign": Operator(("tensor",), _same),
    "share_data_": Operator(("tensor",), _same),
}
