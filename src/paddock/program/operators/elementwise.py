"""Operators that work on each element by itself, or on two tensors element by element."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from paddock.program.model import DTYPE_BYTES, TensorType
from paddock.program.operators.entry import Call, Kind, Operator, Result, broadcast, tensor
from paddock.program.operators.known import is_whole, times, work_out

_F32, _F64 = Kind("f32"), Kind("f64")


def _same(call: Call) -> Result:
    found = call.floating(0)
    return tensor(found.dtype, found.shape)


def _same_any(call: Call) -> Result:
    found = call.tensor(0)
    return tensor(found.dtype, found.shape)


def _pair(call: Call) -> Result:
    return Result((_pair_type(call),))


def _pair_type(call: Call) -> TensorType:
    left, right = call.tensor(0), call.tensor(1)
    if left.dtype != right.dtype:
        call.refuse(f"it mixes {left.dtype} and {right.dtype}.")
    return TensorType(left.dtype, broadcast(call, left.shape, right.shape))


def _arithmetic(function: Callable[[Any, Any], Any]) -> Callable[[Call], Result]:
    """A sum, difference or product, which is worked out where both are known whole numbers."""

    def rule(call: Call) -> Result:
        found = _pair_type(call)
        known = work_out(call, found, 2, lambda pair: function(*pair))
        return Result((found,), (known,))

    return rule


def _axis(call: Call) -> Result:
    found = call.floating(0)
    if found.shape[call.axis(call.attributes["axis"], len(found.shape))] < 0:
        call.refuse("it mixes the samples of a batch.")  # P-8
    return tensor(found.dtype, found.shape)


def _scale(call: Call) -> Result:
    factor, more = call.number(1), call.attributes["bias"]
    found = call.tensor(0)
    known = None
    if is_whole(found.dtype) and factor == int(factor) and more == int(more):
        if call.attributes["bias_after_scale"]:
            known = work_out(call, found, 1, lambda one: one[0] * int(factor) + int(more))
        else:
            known = work_out(call, found, 1, lambda one: (one[0] + int(more)) * int(factor))
    if known is None and more == 0:
        known = times(call.operand(0).constant, factor)
    return Result((found,), (known,))


def _clip(call: Call) -> Result:
    call.number(1)
    call.number(2)
    return _same_any(call)


def _dropout(call: Call) -> Result:
    if not 0 <= call.number(2) <= 1:
        call.refuse("its probability is not between 0 and 1.")
    return _same(call)


def _prelu(call: Call) -> Result:
    found, slope = call.floating(0), call.tensor(1)
    channels = found.shape[1] if len(found.shape) > 1 else 1
    wanted = (1,) if call.attributes["mode"] == "all" else (channels,)
    if slope.shape != wanted:
        call.refuse(f"its slopes have shape {list(slope.shape)}; {list(wanted)} fits its input.")
    return tensor(found.dtype, found.shape)


def _cast(call: Call) -> Result:
    found = TensorType(call.attributes["dtype"], call.tensor(0).shape)
    known = work_out(call, found, 1, lambda one: one[0]) if is_whole(found.dtype) and found.dtype != "bool" else None
    return Result((found,), (known,))


_SIMPLE = (
    "abs", "cos", "erf", "exp", "hardswish", "log", "log1p", "logsigmoid", "reciprocal", "relu", "relu6", "rsqrt",
    "sigmoid", "silu", "sin", "softsign", "sqrt", "square", "swish", "tanh",
)  # fmt: skip

ELEMENTWISE = {
    **{name: Operator(("tensor",), _same) for name in _SIMPLE},
    "celu": Operator(("tensor",), _same, {"alpha": Kind("f32", low=1e-6)}),
    "gelu": Operator(("tensor",), _same, {"approximate": Kind("bool")}),
    "leaky_relu": Operator(("tensor",), _same, {"negative_slope": _F64}),
    "elu": Operator(("tensor",), _same, {"alpha": _F32}),
    "selu": Operator(("tensor",), _same, {"scale": Kind("f32", low=1.0), "alpha": Kind("f32", low=0.0)}),
    "mish": Operator(("tensor",), _same, {"lambda": Kind("f32", allowed=(20.0,))}),
    "softplus": Operator(("tensor",), _same, {"beta": _F64, "threshold": _F64}),
    "hardtanh": Operator(("tensor",), _same, {"t_min": _F32, "t_max": _F32}),
    "hardsigmoid": Operator(("tensor",), _same, {"slope": _F32, "offset": _F32}),
    "softmax": Operator(("tensor",), _axis, {"axis": Kind("i32")}),
    "log_softmax": Operator(("tensor",), _axis, {"axis": Kind("i32")}),
    "pow": Operator(("tensor",), _same, {"y": _F32}),
    "scale": Operator(("tensor", "constant"), _scale, {"bias": _F32, "bias_after_scale": Kind("bool")}),
    "clip": Operator(("tensor", "constant", "constant"), _clip),
    "prelu": Operator(
        ("tensor", "tensor"), _prelu, {"data_format": Kind("str", ("NCHW",)), "mode": Kind("str", ("all", "channel"))}
    ),
    "cast": Operator(("tensor",), _cast, {"dtype": Kind("dtype", tuple(DTYPE_BYTES))}),
    "dropout": Operator(
        ("tensor", "nothing", "constant"),
        _dropout,
        {
            "is_test": Kind("bool"),
            "mode": Kind("str", ("upscale_in_train", "downscale_in_infer", "downgrade_in_infer")),
            # A seed of its own would take the dropout out of the seed that the parties signed.
            "seed": Kind("i32", (0,)),
            "fix_seed": Kind("bool", (False,)),
        },
        scratch=(1,),
    ),
    **{name: Operator(("tensor", "tensor"), _pair) for name in ("divide", "maximum", "minimum", "elementwise_pow")},
    "add": Operator(("tensor", "tensor"), _arithmetic(operator.add)),
    "subtract": Operator(("tensor", "tensor"), _arithmetic(operator.sub)),
    "multiply": Operator(("tensor", "tensor"), _arithmetic(operator.mul)),
}
