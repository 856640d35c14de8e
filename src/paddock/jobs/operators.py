"""One small function per operator: it takes what the program says and gives a call of PaddlePaddle.

Each maker gets the operation as the reader checked it and returns a function of the operand tensors. What was fixed
in the program (kernel sizes, axes, probabilities) is bound here, once, so that a step does no more than the
developer's own layer does. Where training and evaluation differ, `training` says which is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from paddock.jobs.engine import engine, functional, kernels
from paddock.program import Operation, Program, TensorType
from paddock.program.model import Batches

Compute = Callable[..., Any]
Maker = Callable[["Binding"], Compute]


class Binding:
    """An operation of a program, with what is fixed about it."""

    def __init__(self, program: Program, operation: Operation, *, training: bool) -> None:
        self.operation = operation
        self.attributes = operation.attributes
        self.training = training
        self._program = program

    def type(self, index: int) -> TensorType:
        """The type of an operand."""
        found = self._program.types[self.operation.operands[index] or 0]
        if not isinstance(found, TensorType):
            raise TypeError("a list where a tensor was read")
        return found

    def result(self) -> TensorType:
        """The type of the first output."""
        found = self._program.types[self.operation.outputs[0]]
        if not isinstance(found, TensorType):
            raise TypeError("a list where a tensor was read")
        return found

    def numbers(self, index: int) -> list[int]:
        """An operand of fixed whole numbers."""
        values = self._program.constants[self.operation.operands[index] or 0]
        return [int(value) for value in values if not isinstance(value, Batches)]

    def number(self, index: int) -> float:
        """An operand of one fixed number."""
        value = self._program.constants[self.operation.operands[index] or 0][0]
        if isinstance(value, Batches):
            raise TypeError("a size where a number was read")
        return value

    def is_fixed(self, index: int) -> bool:
        """Whether an operand is known before anything runs."""
        return self.operation.operands[index] in self._program.constants

    def open_shape(self) -> list[int]:
        """The result's shape with -1 for the size that depends on the batch."""
        return [size if size >= 0 else -1 for size in self.result().shape]


def _plain(function: Compute) -> Maker:
    return lambda _: function


def _with(function: Compute, **names: str) -> Maker:
    """A call with attributes passed on: keyword of PaddlePaddle's function to attribute of the program."""

    def make(bind: Binding) -> Compute:
        fixed = {keyword: _as_list(bind.attributes[attribute]) for keyword, attribute in names.items()}
        return lambda x: function(x, **fixed)

    return make


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _parts(bind: Binding) -> Compute:
    if len(bind.operation.outputs) == 1:
        return lambda parts: parts[0]
    return lambda parts: parts


def _scale(bind: Binding) -> Compute:
    scale, bias = bind.number(1), bind.attributes["bias"]
    after = bind.attributes["bias_after_scale"]
    return lambda x, _: engine.scale(x, scale, bias, after)


def _clip(bind: Binding) -> Compute:
    low, high = bind.number(1), bind.number(2)
    return lambda x, *_: engine.clip(x, low, high)


def _prelu(_: Binding) -> Compute:
    return lambda x, weight: functional.prelu(x, weight, data_format="NCHW")


def _power(bind: Binding) -> Compute:
    if bind.is_fixed(1) and not bind.type(1).shape:
        # What a developer writes as `x ** 2` has a gradient of its own, and is saved as a power of two tensors.
        power = bind.number(1)
        return lambda x, _: engine.pow(x, power)
    return engine.pow


def _dropout(bind: Binding) -> Compute:
    probability, training = bind.number(2), bind.training
    mode = "upscale_in_train" if bind.attributes["mode"] == "upscale_in_train" else "downscale_in_infer"
    return lambda x, *_: functional.dropout(x, probability, training=training, mode=mode)


def _matmul(bind: Binding) -> Compute:
    left, right = bind.attributes["transpose_x"], bind.attributes["transpose_y"]
    return lambda x, y: engine.matmul(x, y, left, right)


def _embedding(bind: Binding) -> Compute:
    padding = bind.attributes["padding_idx"]
    row = None if padding == -1 else padding
    return lambda picks, rows: functional.embedding(picks, rows, padding_idx=row)


def _rnn(bind: Binding) -> Compute:
    about, evaluating = bind.attributes, not bind.training
    fixed = (
        about["dropout_prob"], about["is_bidirec"], about["input_size"], about["hidden_size"], about["num_layers"],
        about["mode"], 0,
    )  # fmt: skip

    def run(x: Any, states: Any, weights: Any, *_: Any) -> Any:
        hidden = engine.empty([0], "uint8")
        output, _, state = kernels.rnn(x, states, weights, None, hidden, *fixed, evaluating)
        return output, state

    return run


def _convolution(bind: Binding) -> Compute:
    strides, dilations, groups = _convolution_attributes(bind)
    padding = _padding(bind)
    return lambda x, kernel: functional.conv2d(x, kernel, None, strides, padding, dilations, groups, "NCHW")


def _convolution_attributes(bind: Binding) -> tuple[list[int], list[int], int]:
    about = bind.attributes
    return list(about["strides"]), list(about["dilations"]), about["groups"]


def _padding(bind: Binding) -> Any:
    algorithm = bind.attributes["padding_algorithm"]
    return list(bind.attributes["paddings"]) if algorithm == "EXPLICIT" else algorithm


def _transposed(bind: Binding) -> Compute:
    strides, dilations, groups = _convolution_attributes(bind)
    padding, extra = _padding(bind), list(bind.attributes["output_padding"]) or 0
    return lambda x, kernel, _: functional.conv2d_transpose(
        x, kernel, None, strides, padding, extra, dilations, groups, None, "NCHW"
    )


def _pool(bind: Binding) -> Compute:
    about, window = bind.attributes, bind.numbers(1)
    largest = about["pooling_type"] == "max"
    if about["adaptive"]:
        adaptive = functional.adaptive_max_pool2d if largest else functional.adaptive_avg_pool2d
        return lambda x, _: adaptive(x, window)
    strides, padding, ceil = list(about["strides"]), _padding(bind), about["ceil_mode"]
    if largest:
        return lambda x, _: functional.max_pool2d(x, window, strides, padding, ceil_mode=ceil)
    exclusive = about["exclusive"]
    return lambda x, _: functional.avg_pool2d(x, window, strides, padding, ceil_mode=ceil, exclusive=exclusive)


def _resize(bind: Binding) -> Compute:
    about = bind.attributes
    scale = list(about["scale"])
    where: dict[str, Any] = {"scale_factor": scale} if scale else {"size": [about["out_h"], about["out_w"]]}
    mode, corners, align = about["interp_method"], about["align_corners"], about["align_mode"]
    return lambda x, *_: functional.interpolate(
        x, **where, mode=mode, align_corners=corners, align_mode=align, data_format="NCHW"
    )


def _pad(bind: Binding) -> Compute:
    around, value = bind.numbers(1), bind.attributes["pad_value"]
    return lambda x, _: functional.pad(x, around, "constant", value, "NCDHW")


def _reduce(function: Compute) -> Maker:
    def make(bind: Binding) -> Compute:
        axes: list[int] | None = bind.numbers(1) or None
        keep = bind.attributes["keepdim"]
        return lambda x, _: function(x, axes, keepdim=keep)

    return make


def _p_norm(bind: Binding) -> Compute:
    about = bind.attributes
    return lambda x: kernels.p_norm(x, about["porder"], about["axis"], about["epsilon"], about["keepdim"], False)


def _batch_norm(bind: Binding) -> Compute:
    momentum, epsilon, training = bind.attributes["momentum"], bind.attributes["epsilon"], bind.training
    return lambda x, mean, variance, weight, bias: functional.batch_norm(
        x, mean, variance, weight, bias, training, momentum, epsilon, "NCHW"
    )


def _layer_norm(bind: Binding) -> Compute:
    shape, epsilon = list(bind.type(0).shape[bind.attributes["begin_norm_axis"] :]), bind.attributes["epsilon"]
    return lambda x, weight, bias: functional.layer_norm(x, shape, weight, bias, epsilon)


def _group_norm(bind: Binding) -> Compute:
    groups, epsilon = bind.attributes["groups"], bind.attributes["epsilon"]
    return lambda x, weight, bias: functional.group_norm(x, groups, epsilon, weight, bias, "NCHW")


def _instance_norm(bind: Binding) -> Compute:
    epsilon = bind.attributes["epsilon"]
    return lambda x, weight, bias: functional.instance_norm(x, None, None, weight, bias, eps=epsilon)


def _reshape(bind: Binding) -> Compute:
    shape = bind.open_shape()
    return lambda x, *_: engine.reshape(x, shape)


def _transpose(bind: Binding) -> Compute:
    order = list(bind.attributes["perm"])
    return lambda x: engine.transpose(x, order)


def _axes(function: Compute) -> Maker:
    def make(bind: Binding) -> Compute:
        axes = bind.numbers(1)
        return lambda x, _: function(x, axes)

    return make


def _concat(bind: Binding) -> Compute:
    axis = int(bind.number(1))
    return lambda parts, _: engine.concat(parts, axis)


def _stack(bind: Binding) -> Compute:
    axis = bind.attributes["axis"]
    return lambda parts: engine.stack(parts, axis)


def _slice(bind: Binding) -> Compute:
    # The kernel is called itself, so it is given what needs no interpretation: bounds inside the tensor.
    axes, dropped, sizes = list(bind.attributes["axes"]), list(bind.attributes["decrease_axis"]), bind.type(0).shape
    cuts = [
        slice(start, end).indices(sizes[axis])
        for axis, start, end in zip(axes, bind.numbers(1), bind.numbers(2), strict=True)
    ]
    starts, ends, flags = [cut[0] for cut in cuts], [cut[1] for cut in cuts], [1] * len(axes)
    return lambda x, *_: kernels.slice(x, axes, starts, ends, flags, dropped)


def _split(bind: Binding) -> Compute:
    sections, axis = bind.numbers(1), int(bind.number(2))
    return lambda x, *_: engine.split(x, sections, axis)


def _split_with_num(bind: Binding) -> Compute:
    count, axis = bind.attributes["num"], int(bind.number(1))
    return lambda x, _: engine.split(x, count, axis)


def _sized(shape: Sequence[int], batch: int) -> list[int]:
    return [size if size >= 0 else -size * batch for size in shape]


def _expand(bind: Binding) -> Compute:
    shape = bind.result().shape
    return lambda x, like_batch: engine.expand(x, _sized(shape, like_batch.shape[0]))


def _full_with_tensor(bind: Binding) -> Compute:
    value, found = bind.number(0), bind.result()
    return lambda like_batch: engine.full(_sized(found.shape, like_batch.shape[0]), value, found.dtype)


def _full_like(bind: Binding) -> Compute:
    value, dtype = bind.number(1), bind.attributes["dtype"]
    return lambda like, _: engine.full_like(like, value, dtype)


def _tile(bind: Binding) -> Compute:
    times = bind.numbers(1)
    return lambda x, _: engine.tile(x, times)


def _full(bind: Binding) -> Compute:
    shape, value, dtype = list(bind.attributes["shape"]), bind.attributes["value"], bind.attributes["dtype"]
    # Made when it is needed and not before: the memory that a program may take is counted so.
    return lambda: engine.full(shape, value, dtype)


def _arange(bind: Binding) -> Compute:
    start, end, step = (bind.number(index) for index in range(3))
    dtype = bind.attributes["dtype"]
    return lambda *_: engine.arange(start, end, step, dtype)


def _truth(function: Compute) -> Maker:
    def make(bind: Binding) -> Compute:
        axes, keep = list(bind.attributes["axis"]) or None, bind.attributes["keepdim"]
        return lambda x: function(x, axes, keepdim=keep)

    return make


def _cast(bind: Binding) -> Compute:
    dtype = bind.attributes["dtype"]
    return lambda x: engine.cast(x, dtype)


MAKERS: Mapping[str, Maker] = {
    # structure and numbers
    "builtin.combine": _plain(lambda *parts: list(parts)),
    "builtin.split": _parts,
    "assign": _plain(engine.assign),
    "share_data_": _plain(lambda x: x.detach()),
    "full": _full,
    "arange": _arange,
    "full_with_tensor": _full_with_tensor,
    "full_like": _full_like,
    "cast": _cast,
    # element by element
    "relu": _plain(functional.relu),
    "relu6": _plain(functional.relu6),
    "hardswish": _plain(functional.hardswish),
    "sigmoid": _plain(functional.sigmoid),
    "tanh": _plain(engine.tanh),
    "silu": _plain(functional.silu),
    "swish": _plain(functional.swish),
    "softsign": _plain(functional.softsign),
    "logsigmoid": _plain(functional.log_sigmoid),
    "exp": _plain(engine.exp),
    "log": _plain(engine.log),
    "sqrt": _plain(engine.sqrt),
    "rsqrt": _plain(engine.rsqrt),
    "square": _plain(engine.square),
    "sin": _plain(engine.sin),
    "cos": _plain(engine.cos),
    "abs": _plain(engine.abs),
    "erf": _plain(engine.erf),
    "log1p": _plain(engine.log1p),
    "reciprocal": _plain(engine.reciprocal),
    "celu": _with(functional.celu, alpha="alpha"),
    "gelu": _with(functional.gelu, approximate="approximate"),
    "leaky_relu": _with(functional.leaky_relu, negative_slope="negative_slope"),
    "elu": _with(functional.elu, alpha="alpha"),
    "selu": _with(functional.selu, scale="scale", alpha="alpha"),
    "mish": _plain(functional.mish),
    "softplus": _with(functional.softplus, beta="beta", threshold="threshold"),
    "hardtanh": _with(functional.hardtanh, min="t_min", max="t_max"),
    "hardsigmoid": _with(functional.hardsigmoid, slope="slope", offset="offset"),
    "softmax": _with(functional.softmax, axis="axis"),
    "log_softmax": _with(functional.log_softmax, axis="axis"),
    "pow": _with(engine.pow, y="y"),
    "scale": _scale,
    "clip": _clip,
    "prelu": _prelu,
    "dropout": _dropout,
    "add": _plain(engine.add),
    "subtract": _plain(engine.subtract),
    "multiply": _plain(engine.multiply),
    "divide": _plain(engine.divide),
    "maximum": _plain(engine.maximum),
    "minimum": _plain(engine.minimum),
    "elementwise_pow": _power,
    # comparisons and choices
    "equal": _plain(engine.equal),
    "not_equal": _plain(engine.not_equal),
    "less_than": _plain(engine.less_than),
    "less_equal": _plain(engine.less_equal),
    "greater_than": _plain(engine.greater_than),
    "greater_equal": _plain(engine.greater_equal),
    "logical_and": _plain(engine.logical_and),
    "logical_or": _plain(engine.logical_or),
    "logical_xor": _plain(engine.logical_xor),
    "logical_not": _plain(engine.logical_not),
    "all": _truth(engine.all),
    "any": _truth(engine.any),
    "where": _plain(engine.where),
    # products
    "matmul": _matmul,
    "bmm": _plain(engine.bmm),
    "embedding": _embedding,
    "rnn": _rnn,
    # pictures
    "conv2d": _convolution,
    "depthwise_conv2d": _convolution,
    "conv2d_transpose": _transposed,
    "depthwise_conv2d_transpose": _transposed,
    "pool2d": _pool,
    "max_pool2d_with_index": _with(functional.adaptive_max_pool2d, output_size="kernel_size"),
    "pixel_shuffle": _with(functional.pixel_shuffle, upscale_factor="upscale_factor"),
    "nearest_interp": _resize,
    "bilinear_interp": _resize,
    "pad3d": _pad,
    # along axes
    "mean": _reduce(engine.mean),
    "sum": _reduce(engine.sum),
    "max": _reduce(engine.max),
    "min": _reduce(engine.min),
    "p_norm": _p_norm,
    "batch_norm_": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    # layout
    "reshape": _reshape,
    "flatten": _with(engine.flatten, start_axis="start_axis", stop_axis="stop_axis"),
    "transpose": _transpose,
    "squeeze": _axes(engine.squeeze),
    "unsqueeze": _axes(engine.unsqueeze),
    "concat": _concat,
    "stack": _stack,
    "slice": _slice,
    "split": _split,
    "split_with_num": _split_with_num,
    "unbind": _with(engine.unbind, axis="axis"),
    "expand": _expand,
    "tile": _tile,
}
