"""Convolutions, pooling, padding and resizing of pictures (channels first)."""

from __future__ import annotations

from paddock.program.operators.entry import Call, Kind, Operator, Result, checked, tensor

_FORMAT = Kind("str", ("NCHW",))
_PADDING = Kind("str", ("EXPLICIT", "SAME", "VALID"))
_STEPS = Kind("i32*", low=1, high=1 << 16, length=2)
_MARGINS = Kind("i32*", low=0, high=1 << 16, length=4)
_CONVOLUTION = {
    "strides": _STEPS,
    "paddings": _MARGINS,
    "padding_algorithm": _PADDING,
    "dilations": _STEPS,
    "groups": Kind("i32", low=1),
    "data_format": _FORMAT,
}


def margins(call: Call, count: int) -> list[tuple[int, int]]:
    """Padding before and after, for each of `count` dimensions."""
    paddings = call.attributes["paddings"]
    if len(paddings) not in {count, 2 * count}:
        call.refuse(f"it has {len(paddings)} paddings for {count} dimensions.")
    if len(paddings) == count:
        return [(each, each) for each in paddings]
    return [(paddings[2 * index], paddings[2 * index + 1]) for index in range(count)]


def _window(call: Call, size: int, taken: int, step: int, margin: tuple[int, int], *, ceil: bool) -> int:
    if size < 1:
        call.refuse("a picture's height or width is not fixed.")
    algorithm = call.attributes["padding_algorithm"]
    if algorithm == "SAME":
        return -(-size // step)
    room = size + (sum(margin) if algorithm == "EXPLICIT" else 0) - taken
    if room < 0:
        call.refuse("its window is larger than its input.")
    return (-(-room // step) if ceil else room // step) + 1


def _convolution(call: Call) -> Result:
    found, kernel = call.floating(0), call.floating(1)
    groups, strides, dilations = (call.attributes[name] for name in ("groups", "strides", "dilations"))
    if len(found.shape) != 4 or len(kernel.shape) != 4 or found.dtype != kernel.dtype:
        call.refuse(f"{found} and {kernel} are not pictures and a kernel.")
    if len(strides) != 2 or len(dilations) != 2 or found.shape[1] != kernel.shape[1] * groups:
        call.refuse(f"{found} and {kernel} do not fit together in {groups} groups.")
    if kernel.shape[0] % groups:
        call.refuse(f"{kernel.shape[0]} channels do not divide into {groups} groups.")
    around = margins(call, 2)
    sizes = [
        _window(
            call, found.shape[2 + d], dilations[d] * (kernel.shape[2 + d] - 1) + 1, strides[d], around[d], ceil=False
        )
        for d in range(2)
    ]
    return tensor(found.dtype, checked(call, (found.shape[0], kernel.shape[0], *sizes)))


def _transposed(call: Call) -> Result:
    found, kernel = call.floating(0), call.floating(1)
    groups, strides, dilations = (call.attributes[name] for name in ("groups", "strides", "dilations"))
    extra = call.attributes["output_padding"] or (0, 0)
    if len(found.shape) != 4 or len(kernel.shape) != 4 or found.dtype != kernel.dtype:
        call.refuse(f"{found} and {kernel} are not pictures and a kernel.")
    if len(strides) != 2 or len(dilations) != 2 or len(extra) != 2 or found.shape[1] != kernel.shape[0]:
        call.refuse(f"{found} and {kernel} do not fit together.")
    if call.whole_numbers(2) or call.attributes["padding_algorithm"] != "EXPLICIT":
        call.refuse("its output size is not given by its padding.")
    if kernel.shape[0] % groups or any(more >= max(strides[d], dilations[d]) for d, more in enumerate(extra)):
        call.refuse("its groups or output padding do not fit.")
    around, sizes = margins(call, 2), []
    for d in range(2):
        if found.shape[2 + d] < 1:
            call.refuse("a picture's height or width is not fixed.")
        taken = dilations[d] * (kernel.shape[2 + d] - 1) + 1
        sizes.append((found.shape[2 + d] - 1) * strides[d] - sum(around[d]) + taken + extra[d])
    if min(sizes) < 1:
        call.refuse("its padding takes all of its output away.")
    return tensor(found.dtype, checked(call, (found.shape[0], kernel.shape[1] * groups, *sizes)))


def _pool(call: Call) -> Result:
    found, window = call.floating(0), call.whole_numbers(1)
    strides = call.attributes["strides"]
    if len(found.shape) != 4 or len(window) != 2 or len(strides) != 2 or min(window) < 1:
        call.refuse(f"{found} are not pictures, or its window is not of two sizes.")
    if call.attributes["adaptive"]:
        if min(found.shape[2:]) < 1:
            call.refuse("a picture's height or width is not fixed.")
        return tensor(found.dtype, checked(call, (*found.shape[:2], *window)))
    around = margins(call, 2)
    if call.attributes["padding_algorithm"] == "EXPLICIT" and any(2 * max(around[d]) > window[d] for d in range(2)):
        call.refuse("its padding is more than half of its window.")
    ceil = call.attributes["ceil_mode"]
    sizes = [_window(call, found.shape[2 + d], window[d], strides[d], around[d], ceil=ceil) for d in range(2)]
    return tensor(found.dtype, checked(call, (*found.shape[:2], *sizes)))


def _largest_with_places(call: Call) -> Result:
    found, window = call.floating(0), call.attributes["kernel_size"]
    if len(found.shape) != 4 or len(window) != 2 or min(found.shape[2:]) < 1:
        call.refuse(f"{found} are not pictures of a fixed size, or its window is not of two sizes.")
    return tensor(found.dtype, checked(call, (*found.shape[:2], *window)))


def _shuffle(call: Call) -> Result:
    found, factor = call.floating(0), call.attributes["upscale_factor"]
    if len(found.shape) != 4 or min(found.shape[1:]) < 1 or found.shape[1] % factor**2:
        call.refuse(f"the channels of {found} do not make up {factor} by {factor} pieces.")
    batch, channels, height, width = found.shape
    return tensor(found.dtype, checked(call, (batch, channels // factor**2, height * factor, width * factor)))


def _resize(call: Call) -> Result:
    found, scale = call.floating(0), call.attributes["scale"]
    size = (call.attributes["out_h"], call.attributes["out_w"])
    if len(found.shape) != 4 or min(found.shape[2:]) < 1:
        call.refuse(f"{found} are not pictures of a fixed size.")
    if len(scale) == 2:
        size = (int(found.shape[2] * scale[0]), int(found.shape[3] * scale[1]))
    elif scale:
        call.refuse("its scale is not of two numbers.")
    if min(size) < 1:
        call.refuse("its output size is below 1.")
    return tensor(found.dtype, checked(call, (*found.shape[:2], *size)))


def _pad(call: Call) -> Result:
    found, around = call.floating(0), call.whole_numbers(1)
    if len(found.shape) != 5 or len(around) != 6 or min(around) < 0 or max(around) > 1 << 16:
        call.refuse("it does not pad three dimensions by six sizes that are not negative.")
    if min(found.shape[2:]) < 1:
        call.refuse("a picture's height or width is not fixed.")
    sizes = [found.shape[4 - d] + around[2 * d] + around[2 * d + 1] for d in range(3)][::-1]
    return tensor(found.dtype, checked(call, (*found.shape[:2], *sizes)))


_RESIZE = {
    "data_format": _FORMAT,
    "out_d": Kind("i32"),
    "out_h": Kind("i32", high=1 << 16),
    "out_w": Kind("i32", high=1 << 16),
    "scale": Kind("f64*", low=1e-3, high=1e4, length=2),
    "align_corners": Kind("bool"),
    "align_mode": Kind("i32", (0, 1)),
}

CONVOLUTION = {
    "conv2d": Operator(("tensor", "tensor"), _convolution, _CONVOLUTION),
    "depthwise_conv2d": Operator(("tensor", "tensor"), _convolution, _CONVOLUTION),
    "conv2d_transpose": Operator(
        ("tensor", "tensor", "constant"), _transposed, {**_CONVOLUTION, "output_padding": _MARGINS}
    ),
    "depthwise_conv2d_transpose": Operator(
        ("tensor", "tensor", "constant"), _transposed, {**_CONVOLUTION, "output_padding": _MARGINS}
    ),
    "pool2d": Operator(
        ("tensor", "constant"),
        _pool,
        {
            "strides": Kind("i64*", low=1, high=1 << 16, length=2),
            "paddings": Kind("i64*", low=0, high=1 << 16, length=4),
            "ceil_mode": Kind("bool"),
            "exclusive": Kind("bool"),
            "data_format": _FORMAT,
            "pooling_type": Kind("str", ("avg", "max")),
            "global_pooling": Kind("bool", (False,)),
            "adaptive": Kind("bool"),
            "padding_algorithm": _PADDING,
        },
    ),
    "max_pool2d_with_index": Operator(
        ("tensor",),
        _largest_with_places,
        {
            "kernel_size": Kind("i32*", low=1, high=1 << 16, length=2),
            "strides": Kind("i32*", low=1, high=1 << 16, length=2),
            "paddings": Kind("i32*", allowed=(0,), length=4),
            "global_pooling": Kind("bool", (False,)),
            "adaptive": Kind("bool", (True,)),
            "ceil_mode": Kind("bool", (False,)),
        },
        scratch=(1,),
    ),
    "pixel_shuffle": Operator(
        ("tensor",), _shuffle, {"upscale_factor": Kind("i32", low=1, high=1 << 10), "data_format": _FORMAT}
    ),
    "nearest_interp": Operator(
        ("tensor", "nothing", "nothing", "nothing"), _resize, {**_RESIZE, "interp_method": Kind("str", ("nearest",))}
    ),
    "bilinear_interp": Operator(
        ("tensor", "nothing", "nothing", "nothing"), _resize, {**_RESIZE, "interp_method": Kind("str", ("bilinear",))}
    ),
    "pad3d": Operator(
        ("tensor", "constant"),
        _pad,
        {
            "mode": Kind("str", ("constant",)),
            "pad_value": Kind("f64"),
            "data_format": Kind("str", ("NCDHW",)),
        },
    ),
}
