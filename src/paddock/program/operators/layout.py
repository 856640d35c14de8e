"""Operators that only move elements: reshape, transpose, split, join."""

from __future__ import annotations

import math
from collections.abc import Sequence

from paddock.program.model import Batches, Number, TensorType
from paddock.program.operators.entry import Call, Kind, Operator, Result, checked, moved, size_of, tensor


def _reshape(call: Call) -> Result:
    found, target = call.tensor(0), call.numbers(1)
    sizes = [_target_size(call, number, found.shape, place) for place, number in enumerate(target)]
    unknown = [place for place, size in enumerate(sizes) if size is None]
    if len(unknown) > 1:
        call.refuse("its target leaves more than one size open.")
    total = math.prod(found.shape)
    rest = math.prod(size for size in sizes if size is not None)
    if unknown:
        if total % rest:
            call.refuse(f"{found} does not divide into {_written(target)}.")
        sizes[unknown[0]] = total // rest
    shape = [size for size in sizes if size is not None]
    if math.prod(shape) != total:
        call.refuse(f"{found} does not have the elements of {_written(target)}.")
    return moved(call, found, shape)


def _target_size(call: Call, number: Number, shape: Sequence[int], place: int) -> int | None:
    """A size of a reshape's target: 0 keeps that of the input, -1 (None) is worked out."""
    if isinstance(number, Batches):
        return -number.times
    if number == 0:
        if place >= len(shape):
            call.refuse("its target keeps a size that its input does not have.")
        return shape[place]
    if number != int(number) or number < -1:
        call.refuse("its target holds something that is no size.")
    return None if number == -1 else int(number)


def _written(target: Sequence[Number]) -> str:
    return str([f"{number.times}*batch" if isinstance(number, Batches) else number for number in target])


def _flatten(call: Call) -> Result:
    found = call.tensor(0)
    rank = len(found.shape)
    start, stop = (call.axis(call.attributes[name], rank) for name in ("start_axis", "stop_axis"))
    if start > stop:
        call.refuse("it begins after its end.")
    middle = math.prod(found.shape[start : stop + 1])
    return moved(call, found, (*found.shape[:start], middle, *found.shape[stop + 1 :]))


def _transpose(call: Call) -> Result:
    found, order = call.tensor(0), call.attributes["perm"]
    axes = [call.axis(axis, len(found.shape)) for axis in order]
    if sorted(axes) != list(range(len(found.shape))):
        call.refuse(f"{list(order)} is not an order of the dimensions of {found}.")
    return tensor(found.dtype, [found.shape[axis] for axis in axes])


def _squeeze(call: Call) -> Result:
    found = call.tensor(0)
    axes = {call.axis(axis, len(found.shape)) for axis in call.whole_numbers(1)}
    if not axes:
        axes = {axis for axis, size in enumerate(found.shape) if size == 1}
    return tensor(found.dtype, [s for d, s in enumerate(found.shape) if d not in axes or s != 1])


def _unsqueeze(call: Call) -> Result:
    sizes = list(call.tensor(0).shape)
    for axis in call.whole_numbers(1):
        sizes.insert(call.axis(axis, len(sizes) + 1), 1)
    return tensor(call.tensor(0).dtype, checked(call, sizes))


def _joined(call: Call) -> tuple[TensorType, ...]:
    types = call.tensors(0)
    if not types or len({each.dtype for each in types}) > 1 or len({len(each.shape) for each in types}) > 1:
        call.refuse("it joins tensors of different dtypes or ranks.")
    return types


def _concat(call: Call) -> Result:
    types = _joined(call)
    first = types[0]
    axis = call.axis(int(call.number(1)), len(first.shape))
    if any(
        each.shape[:axis] + each.shape[axis + 1 :] != first.shape[:axis] + first.shape[axis + 1 :] for each in types
    ):
        call.refuse("it joins tensors of different shapes.")
    sizes = [each.shape[axis] for each in types]
    if any(size < 0 for size in sizes):
        call.refuse("it joins samples of a batch with others.")  # P-8
    return tensor(first.dtype, checked(call, (*first.shape[:axis], sum(sizes), *first.shape[axis + 1 :])))


def _stack(call: Call) -> Result:
    types = _joined(call)
    first = types[0]
    if any(each != first for each in types):
        call.refuse("it stacks tensors of different shapes.")
    axis = call.axis(call.attributes["axis"], len(first.shape) + 1)
    known = call.operand(0).constant if not first.shape else None
    shape = checked(call, (*first.shape[:axis], len(types), *first.shape[axis:]))
    return Result((TensorType(first.dtype, shape),), (known,))


def _slice(call: Call) -> Result:
    operand, found = call.operand(0), call.tensor(0)
    starts, ends, axes = call.whole_numbers(1), call.whole_numbers(2), call.attributes["axes"]
    if not len(starts) == len(ends) == len(axes) == len(call.attributes["infer_flags"]) or len(set(axes)) != len(axes):
        call.refuse("its axes, starts and ends differ in number.")
    sizes, known = list(found.shape), operand.constant
    for start, end, raw_axis in zip(starts, ends, axes, strict=True):
        axis = call.axis(raw_axis, len(sizes))
        size = found.shape[axis]
        if size < 0:
            call.refuse("it cuts the batch.")  # P-8
        low, high, _ = slice(start, end).indices(size)
        if high <= low:
            call.refuse("it takes nothing.")
        sizes[axis] = high - low
        known = known[low:high] if known is not None and len(found.shape) == 1 else None
    dropped = call.attributes["decrease_axis"]
    if len(set(dropped)) != len(dropped) or not set(dropped) <= set(axes) or any(sizes[axis] != 1 for axis in dropped):
        call.refuse("it drops a dimension that it does not cut to size 1.")
    shape = tuple(size for axis, size in enumerate(sizes) if axis not in dropped)
    return Result((TensorType(found.dtype, shape),), (known,))


def _strided_axis(call: Call, index: int) -> tuple[TensorType, int]:
    found = call.tensor(0)
    axis = call.axis(int(call.number(index)), len(found.shape))
    if found.shape[axis] < 0:
        call.refuse("it cuts the batch.")  # P-8
    return found, axis


def _pieces(found: TensorType, axis: int, sizes: Sequence[int]) -> Result:
    return Result((tuple(TensorType(found.dtype, (*found.shape[:axis], s, *found.shape[axis + 1 :])) for s in sizes),))


def _split(call: Call) -> Result:
    found, axis = _strided_axis(call, 2)
    sections = list(call.whole_numbers(1))
    if sections.count(-1) == 1:
        sections[sections.index(-1)] = found.shape[axis] - sum(size for size in sections if size != -1)
    if not sections or min(sections) < 1 or sum(sections) != found.shape[axis]:
        call.refuse(f"its pieces do not make up {found}.")
    return _pieces(found, axis, sections)


def _split_with_num(call: Call) -> Result:
    found, axis = _strided_axis(call, 1)
    count = call.attributes["num"]
    if found.shape[axis] % count:
        call.refuse(f"{found} does not divide into {count} pieces.")
    return _pieces(found, axis, [found.shape[axis] // count] * count)


def _unbind(call: Call) -> Result:
    found = call.tensor(0)
    axis = call.axis(call.attributes["axis"], len(found.shape))
    if not 0 < found.shape[axis] <= 4096:
        call.refuse("it cuts the batch, or into too many pieces.")  # P-8
    piece = TensorType(found.dtype, (*found.shape[:axis], *found.shape[axis + 1 :]))
    return Result(((piece,) * found.shape[axis],))


def _expand(call: Call) -> Result:
    found, target = call.tensor(0), call.numbers(1)
    if len(target) < len(found.shape):
        call.refuse("its target has fewer dimensions than its input.")
    source = (1,) * (len(target) - len(found.shape)) + found.shape
    sizes = []
    for size, number in zip(source, target, strict=True):
        wanted = size if number == -1 else size_of(call, number)
        if size not in {1, wanted}:
            call.refuse(f"{found} does not expand to {_written(target)}.")
        sizes.append(wanted)
    return tensor(found.dtype, checked(call, sizes))


def _tile(call: Call) -> Result:
    found, times = call.tensor(0), call.whole_numbers(1)
    if len(times) != len(found.shape) or min(times, default=1) < 1:
        call.refuse("it does not repeat each dimension at least once.")
    if any(size < 0 and count != 1 for size, count in zip(found.shape, times, strict=True)):
        call.refuse("it repeats the samples of a batch.")  # P-8
    return tensor(found.dtype, checked(call, [s * t for s, t in zip(found.shape, times, strict=True)]))


LAYOUT = {
    "reshape": Operator(("tensor", "constant"), _reshape),
    "flatten": Operator(("tensor",), _flatten, {"start_axis": Kind("i32"), "stop_axis": Kind("i32")}),
    "transpose": Operator(("tensor",), _transpose, {"perm": Kind("i32*", length=8)}),
    "squeeze": Operator(("tensor", "constant"), _squeeze),
    "unsqueeze": Operator(("tensor", "constant"), _unsqueeze),
    "concat": Operator(("list", "constant"), _concat),
    "stack": Operator(("list",), _stack, {"axis": Kind("i32")}),
    "slice": Operator(
        ("tensor", "constant", "constant"),
        _slice,
        # PaddlePaddle's kernel writes outside its memory for a negative dropped axis; it never saves one.
        {
            "axes": Kind("i64*", low=0, high=7, length=8),
            "infer_flags": Kind("i64*", allowed=(1, -1), length=8),
            "decrease_axis": Kind("i64*", low=0, high=7, length=8),
        },
    ),
    "split": Operator(("tensor", "constant", "constant"), _split),
    "split_with_num": Operator(("tensor", "constant"), _split_with_num, {"num": Kind("i32", low=1, high=4096)}),
    "unbind": Operator(("tensor",), _unbind, {"axis": Kind("i32")}),
    "expand": Operator(("tensor", "constant"), _expand),
    "tile": Operator(("tensor", "constant"), _tile),
}
