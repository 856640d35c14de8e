"""Sums, means and extremes along axes, and normalisation by them."""

from __future__ import annotations

import math

from paddock.program.model import DTYPE_BYTES, TensorType
from paddock.program.operators.entry import Call, Kind, Operator, Result, checked, tensor

# PaddlePaddle takes up to 0.001, as float32.
_EPSILON = Kind("f32", low=0.0, high=0.0010001)


def _reduce(call: Call) -> Result:
    found = call.floating(0)
    rank = len(found.shape)
    axes = {call.axis(axis, rank) for axis in call.whole_numbers(1)} or set(range(rank))
    if any(found.shape[axis] < 0 for axis in axes):
        call.refuse("it mixes the samples of a batch.")  # P-8
    keep = call.attributes["keepdim"]
    sizes = [1 if axis in axes else size for axis, size in enumerate(found.shape) if keep or axis not in axes]
    return tensor(found.dtype, checked(call, sizes))


def _sum(call: Call) -> Result:
    dtype = call.attributes["dtype"]
    if dtype not in {"Undefined(ALL_DTYPE)", call.tensor(0).dtype}:
        call.refuse("it changes the dtype.")
    return _reduce(call)


def _batch_norm(call: Call) -> Result:
    found = call.floating(0)
    if len(found.shape) < 2:
        call.refuse(f"{found} has no channels.")
    if call.attributes["use_global_stats"]:
        call.refuse("the network was saved in evaluation mode, so that it cannot be trained; call train() before.")
    _channel_parameters(call, found, (1, 2, 3, 4))
    for index in (1, 2):
        if call.operand(index).trainable:
            call.refuse("its running statistics are trainable.")
    return tensor(found.dtype, found.shape)


def _channel_parameters(call: Call, found: TensorType, indices: tuple[int, ...]) -> None:
    for index in indices:
        if index < len(call.operands) and call.operands[index] is None:
            continue
        each = call.tensor(index)
        if each != TensorType(found.dtype, (found.shape[1],)) or not call.operand(index).is_parameter:
            call.refuse(f"operand {index} is {each}, not a parameter for {found.shape[1]} channels.")


def _group_norm(call: Call) -> Result:
    found = call.floating(0)
    if len(found.shape) < 3 or found.shape[1] < 1 or found.shape[1] % call.attributes["groups"]:
        call.refuse(f"the channels of {found} do not divide into {call.attributes['groups']} groups.")
    _channel_parameters(call, found, (1, 2))
    _check_inside_samples(call, found)
    return tensor(found.dtype, found.shape)


def _check_inside_samples(call: Call, found: TensorType) -> None:
    if min(found.shape[1:]) < 1:
        call.refuse("it mixes the samples of a batch.")  # P-8


def _instance_norm(call: Call) -> Result:
    found = call.floating(0)
    if len(found.shape) < 3:
        call.refuse(f"{found} has no channels.")
    _channel_parameters(call, found, (1, 2))
    _check_inside_samples(call, found)
    return tensor(found.dtype, found.shape)


def _layer_norm(call: Call) -> Result:
    found, start = call.floating(0), call.attributes["begin_norm_axis"]
    if not 1 <= start < len(found.shape) or min(found.shape[start:]) < 1:
        call.refuse("it mixes the samples of a batch.")  # P-8
    for index in (1, 2):
        if call.operands[index] is not None and call.tensor(index).shape != (math.prod(found.shape[start:]),):
            call.refuse(f"operand {index} is {call.tensor(index)} for an input of {found}.")
    return tensor(found.dtype, found.shape)


def _p_norm(call: Call) -> Result:
    found = call.floating(0)
    axis = call.axis(call.attributes["axis"], len(found.shape))
    if found.shape[axis] < 0:
        call.refuse("it mixes the samples of a batch.")  # P-8
    keep = call.attributes["keepdim"]
    return tensor(found.dtype, [1 if d == axis else size for d, size in enumerate(found.shape) if keep or d != axis])


_KEEP = {"keepdim": Kind("bool")}

REDUCTION = {
    "mean": Operator(("tensor", "constant"), _reduce, _KEEP),
    "max": Operator(("tensor", "constant"), _reduce, _KEEP),
    "min": Operator(("tensor", "constant"), _reduce, _KEEP),
    "sum": Operator(
        ("tensor", "constant"), _sum, {**_KEEP, "dtype": Kind("dtype", ("Undefined(ALL_DTYPE)", *DTYPE_BYTES))}
    ),
    "p_norm": Operator(
        ("tensor",),
        _p_norm,
        {
            **_KEEP,
            "porder": Kind("f32", low=1.0, high=16.0),
            "axis": Kind("i32"),
            "epsilon": _EPSILON,
            "asvector": Kind("bool", (False,)),
        },
    ),
    "batch_norm_": Operator(
        ("tensor", "tensor", "tensor", "optional", "optional"),
        _batch_norm,
        {
            "is_test": Kind("bool"),
            "momentum": Kind("f32", low=0.0, high=1.0),
            "epsilon": _EPSILON,
            "data_format": Kind("str", ("NCHW",)),
            "use_global_stats": Kind("bool"),
            "trainable_statistics": Kind("bool", (False,)),
        },
        scratch=(1, 2, 3, 4, 5),
    ),
    "layer_norm": Operator(
        ("tensor", "optional", "optional"),
        _layer_norm,
        {"epsilon": _EPSILON, "begin_norm_axis": Kind("i32")},
        scratch=(1, 2),
    ),
    "group_norm": Operator(
        ("tensor", "optional", "optional"),
        _group_norm,
        {
            "epsilon": Kind("f64", low=0.0, high=1.0),
            "groups": Kind("i32", low=1),
            "data_format": Kind("str", ("NCHW",)),
        },
        scratch=(1, 2),
    ),
    "instance_norm": Operator(
        ("tensor", "optional", "optional"), _instance_norm, {"epsilon": _EPSILON}, scratch=(1, 2)
    ),
}
