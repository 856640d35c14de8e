"""Operators that make numbers: fixed ones, and those that come from shapes."""

from __future__ import annotations

import math

from paddock.program.model import DTYPE_BYTES, Batches, Number, TensorType
from paddock.program.operators.entry import Call, Kind, Operator, Result, checked, size_of, tensor

_DTYPE = Kind("dtype", allowed=tuple(DTYPE_BYTES))
_PLACE = Kind("place", optional=True)
_KNOWN_UP_TO = 64


def _full(call: Call) -> Result:
    shape = checked(call, call.attributes["shape"])
    if any(size < 0 for size in shape):
        call.refuse("its shape is not fixed.")
    value, dtype = call.attributes["value"], call.attributes["dtype"]
    if dtype not in {"float32", "float64"} and value != int(value):
        call.refuse(f"{value} is not a value of {dtype}.")
    count = math.prod(shape)
    known = (value,) * count if count <= _KNOWN_UP_TO else None
    return Result((TensorType(dtype, shape),), (known,))


def _full_int_array(call: Call) -> Result:
    values = call.attributes["value"]
    return Result((TensorType(call.attributes["dtype"], (len(values),)),), (values,))


def _full_with_tensor(call: Call) -> Result:
    call.number(0)
    return tensor(call.attributes["dtype"], checked(call, [size_of(call, number) for number in call.numbers(1)]))


def _full_like(call: Call) -> Result:
    call.number(1)
    return tensor(call.attributes["dtype"], call.tensor(0).shape)


def _shape(call: Call) -> Result:
    sizes = call.tensor(0).shape
    known: tuple[Number, ...] = tuple(Batches(-size) if size < 0 else size for size in sizes)
    return Result((TensorType("int64", (len(sizes),)),), (known,))


NUMBERS = {
    "full": Operator((), _full, {"shape": Kind("ints", low=1), "value": Kind("f64"), "dtype": _DTYPE, "place": _PLACE}),
    "full_int_array": Operator(
        (), _full_int_array, {"value": Kind("i64*"), "dtype": Kind("dtype", ("int64",)), "place": _PLACE}
    ),
    "full_with_tensor": Operator(("constant", "constant"), _full_with_tensor, {"dtype": _DTYPE}),
    "full_like": Operator(("tensor", "constant"), _full_like, {"dtype": _DTYPE, "place": _PLACE}),
    "shape64": Operator(("tensor",), _shape),
}
