"""Operators that make numbers: fixed ones, and those that come from shapes."""

from __future__ import annotations

import math

from paddock.program.model import DTYPE_BYTES, Batches, Number, TensorType
from paddock.program.operators.entry import Call, Kind, Operator, Result, checked, size_of, tensor
from paddock.program.operators.known import KNOWN_UP_TO, fits, is_whole

_DTYPE = Kind("dtype", allowed=tuple(DTYPE_BYTES))
_PLACE = Kind("place", optional=True)
_FULL_KNOWN_UP_TO = 64


def _full(call: Call) -> Result:
    shape = checked(call, call.attributes["shape"])
    if any(size < 0 for size in shape):
        call.refuse("its shape is not fixed.")
    value, dtype = call.attributes["value"], call.attributes["dtype"]
    if is_whole(dtype):
        if not fits(dtype, value):
            call.refuse(f"{value} is not a value of {dtype}.")
        value = bool(value) if dtype == "bool" else int(value)
    count = math.prod(shape)
    known = (value,) * count if count <= _FULL_KNOWN_UP_TO else None
    return Result((TensorType(dtype, shape),), (known,))


def _full_int_array(call: Call) -> Result:
    values = call.attributes["value"]
    return Result((TensorType(call.attributes["dtype"], (len(values),)),), (values,))


def _arange(call: Call) -> Result:
    start, end, step = (call.number(index) for index in range(3))
    dtype = call.attributes["dtype"]
    if step == 0 or abs((end - start) / step) > 1 << 31:
        call.refuse("it counts without end.")
    count = math.ceil((end - start) / step)
    if count < 1:
        call.refuse("it counts nothing.")
    found = TensorType(dtype, (count,))
    if count > KNOWN_UP_TO or not is_whole(dtype):
        return Result((found,))
    values = [start + place * step for place in range(count)]
    if not all(fits(dtype, value) for value in values):
        call.refuse(f"it counts in numbers that are not {dtype}.")
    return Result((found,), (tuple(int(value) for value in values),))


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
    "arange": Operator(
        ("constant", "constant", "constant"),
        _arange,
        {"dtype": Kind("dtype", ("int32", "int64", "float32", "float64")), "place": _PLACE},
    ),
    "full_with_tensor": Operator(("constant", "constant"), _full_with_tensor, {"dtype": _DTYPE}),
    "full_like": Operator(("tensor", "constant"), _full_like, {"dtype": _DTYPE, "place": _PLACE}),
    "shape64": Operator(("tensor",), _shape),
}
