"""The JSON that `paddle.jit.save` writes, read strictly into raw operations. What they mean is checked elsewhere.

PaddlePaddle writes its intermediate representation (PIR) as one region with one block of operations:

    {"base_code": {"magic": "pir", "trainable": …, "version": 4},
     "program": {"regions": [{"#": "region_0", "blocks": [{"#": "block_0", "args": [], "ops": [op, …]}]}]}}

    parameter   {"#": "p", "A": [distributed, is_parameter, need_clip, name], "DA": [], "O": value,
                 "OA": [persistable, stop_gradient, trainable], "QA": []}
    operation   {"#": "1.relu", "A": [attribute, …], "I": [{"%": number}, …], "O": [value, …], "OA": [attribute, …]}
    value       {"%": number, "TT": type}            number 0 stands for "left out"
    type        {"#": "0.t_dtensor", "D": [{"#": "0.t_f32"}, shape, layout, lod, offset]} or {"#": "0.t_vec", "D": [type, …]}
    attribute   {"N": name, "AT": {"#": "0.a_i32", "D": value}}

Source: paddle/fluid/pir/serialize_deserialize (PaddlePaddle 3.3), and docs/spec/program.md §2.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from paddock.errors import ProgramTooLarge, ProgramUnreadable
from paddock.program.model import Limits, TensorType, Type

_VERSION = 4
_DIALECTS = {"0": "builtin", "1": "pd_op"}
_DTYPES = {
    "0.t_f32": "float32", "0.t_f64": "float64", "0.t_i32": "int32", "0.t_i64": "int64", "0.t_bool": "bool",
    "0.t_ui8": "uint8",
}  # fmt: skip
_LAYOUTS = {"NCHW", "NHWC", "Undefined(AnyLayout)", "NCDHW", "NDHWC"}
_MAX_RANK = 8
_MAX_NAME = 512
_INT_BITS = {"0.a_i32": 32, "0.a_i64": 64}


@dataclass(frozen=True)
class RawAttribute:
    """Kind and value of an attribute: `i32`, `f64`, `bool`, `str`, `ints`, `dtype`, `place`, or `array` of kinds."""

    kind: str
    value: Any


@dataclass(frozen=True)
class RawOperation:
    """One operation as written; `outputs` holds None for what is left out."""

    dialect: str
    name: str
    place: int
    attributes: dict[str, RawAttribute]
    operands: tuple[int, ...]
    outputs: tuple[tuple[int, Type] | None, ...]
    stop_gradient: tuple[bool, ...]

    @property
    def full_name(self) -> str:
        """Name with dialect, as PaddlePaddle prints it."""
        return f"{self.dialect}.{self.name}"


@dataclass(frozen=True)
class RawParameter:
    """One parameter as written."""

    name: str
    place: int
    value: int
    type: TensorType
    trainable: bool
    persistent: bool


def read_document(data: bytes, limits: Limits) -> list[RawOperation | RawParameter]:
    """Read the file's JSON into operations and parameters, in its order.

    Raises:
        ProgramTooLarge: over one of the limits (P-1).
        ProgramUnreadable: not exactly the structure above (P-2).
    """
    # P-1
    if len(data) > limits.max_bytes:
        raise ProgramTooLarge(f"The file has {len(data)} bytes; at most {limits.max_bytes} are read.")
    document = _parse(data, limits)
    # P-2
    top = _members(document, {"base_code", "program"}, "the file")
    code = _members(top["base_code"], {"magic", "trainable", "version"}, "base_code")
    if code["magic"] != "pir" or code["version"] != _VERSION or type(code["trainable"]) is not bool:
        raise ProgramUnreadable(f"base_code is not that of PIR version {_VERSION}.")
    region = _only(_members(top["program"], {"regions"}, "program")["regions"], "region")
    block = _only(_members(region, {"#", "blocks"}, "the region")["blocks"], "block")
    block = _members(block, {"#", "args", "ops"}, "the block")
    if region["#"] != "region_0" or block["#"] != "block_0" or block["args"] != []:
        raise ProgramUnreadable("The program does not begin with region_0 and block_0 without arguments.")
    operations = _list(block["ops"], "ops")
    if len(operations) > limits.max_operations:  # P-1
        raise ProgramTooLarge(
            f"The program has {len(operations)} operations; at most {limits.max_operations} are read."
        )
    return [_operation(each, place, limits) for place, each in enumerate(operations)]


def _parse(data: bytes, limits: Limits) -> Any:
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ProgramUnreadable("The file is not JSON.") from error
    stack = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if depth > limits.max_depth:
            raise ProgramTooLarge(f"The file's JSON is nested deeper than {limits.max_depth}.")
        if isinstance(item, dict):
            stack.extend((child, depth + 1) for child in item.values())
        elif isinstance(item, list):
            stack.extend((child, depth + 1) for child in item)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _operation(raw: Any, place: int, limits: Limits) -> RawOperation | RawParameter:
    where = f"op {place}"
    if isinstance(raw, dict) and raw.get("#") == "p":
        return _parameter(_members(raw, {"#", "A", "DA", "O", "OA", "QA"}, where), place, limits)
    op = _members(raw, {"#", "A", "I", "O", "OA"}, where)
    dialect, _, name = _text(op["#"], where).partition(".")
    if dialect not in _DIALECTS or not name:
        raise ProgramUnreadable(f"{where} is of an unknown dialect.")
    flags = _attributes(op["OA"], where)
    if set(flags) - {"stop_gradient", "persistable"}:
        raise ProgramUnreadable(f"{where} has unknown output attributes.")
    outputs = tuple(_value(each, where, limits) for each in _list(op["O"], where))
    stops = _flags(flags.get("stop_gradient"), len(outputs), where)
    _flags(flags.get("persistable"), len(outputs), where)
    operands = tuple(_natural(_members(each, {"%"}, where)["%"], where) for each in _list(op["I"], where))
    return RawOperation(_DIALECTS[dialect], name, place, _attributes(op["A"], where), operands, outputs, stops)


def _flags(attribute: RawAttribute | None, count: int, where: str) -> tuple[bool, ...]:
    if attribute is None:
        return (False,) * count
    values = attribute.value
    if attribute.kind != "array" or len(values) != count or any(each.kind != "bool" for each in values):
        raise ProgramUnreadable(f"{where} has output attributes that are not one flag per output.")
    return tuple(bool(each.value) for each in values)


def _parameter(op: dict[str, Any], place: int, limits: Limits) -> RawParameter:
    where = f"op {place}"
    about, flags = _list(op["A"], where), _list(op["OA"], where)
    if len(about) != 4 or op["DA"] != [] or op["QA"] != [] or len(flags) != 3:
        raise ProgramUnreadable(f"{where} is not a parameter as PaddlePaddle writes it.")
    if any(type(flag) is not int or flag not in {0, 1} for flag in (*about[:3], *flags)):
        raise ProgramUnreadable(f"{where} is a parameter with flags that are neither 0 nor 1.")
    value = _value(op["O"], where, limits)
    if value is None or not isinstance(value[1], TensorType):
        raise ProgramUnreadable(f"{where} is a parameter without a tensor.")
    return RawParameter(
        _text(about[3], where), place, value[0], value[1], flags[1] == 0 and flags[2] == 1, flags[0] == 1
    )


def _value(raw: Any, where: str, limits: Limits) -> tuple[int, Type] | None:
    value = raw if isinstance(raw, dict) and set(raw) == {"%"} else _members(raw, {"%", "TT"}, where)
    number = _natural(value["%"], where)
    if number == 0:
        return None
    if "TT" not in value:
        raise ProgramUnreadable(f"{where} has an output without a type.")
    return number, _type(value["TT"], where, limits)


def _type(raw: Any, where: str, limits: Limits) -> Type:
    kind = _members(raw, {"#", "D"}, where)
    if kind["#"] == "0.t_vec":
        types = tuple(_type(each, where, limits) for each in _list(kind["D"], where))
        if any(not isinstance(each, TensorType) for each in types):
            raise ProgramUnreadable(f"{where} has a list of lists.")
        return tuple(each for each in types if isinstance(each, TensorType))
    if kind["#"] != "0.t_dtensor":
        raise ProgramUnreadable(f"{where} has a value that is not a tensor.")
    body = _list(kind["D"], where)
    if len(body) != 5 or _text(body[2], where) not in _LAYOUTS or body[3] != [] or body[4] != 0:
        raise ProgramUnreadable(f"{where} has a tensor type that is not as PaddlePaddle writes it.")
    dtype = _text(_members(body[0], {"#"}, where)["#"], where)
    if dtype not in _DTYPES:
        raise ProgramUnreadable(f"{where} has a tensor of an unknown dtype.")
    return TensorType(_DTYPES[dtype], check_sizes(body[1], where, limits))


def check_sizes(raw: Any, where: str, limits: Limits) -> tuple[int, ...]:
    """A shape: at most eight whole numbers; a negative one says "known only with the batch".

    Raises:
        ProgramUnreadable, ProgramTooLarge: it is not.
    """
    sizes = _list(raw, where)
    if len(sizes) > _MAX_RANK or any(type(size) is not int or not -(1 << 40) < size < 1 << 40 for size in sizes):
        raise ProgramUnreadable(f"{where} has a shape that is not at most {_MAX_RANK} whole numbers.")
    if math.prod(max(abs(size), 1) for size in sizes) > limits.max_elements:  # P-1
        raise ProgramTooLarge(f"{where} has a tensor of more than {limits.max_elements} elements.")
    return tuple(sizes)


def _attributes(raw: Any, where: str) -> dict[str, RawAttribute]:
    attributes: dict[str, RawAttribute] = {}
    for each in _list(raw, where):
        item = _members(each, {"N", "AT"}, where)
        name = _text(item["N"], where)
        if name in attributes:
            raise ProgramUnreadable(f"{where} has an attribute twice.")
        attributes[name] = _attribute(item["AT"], where)
    return attributes


def _attribute(raw: Any, where: str) -> RawAttribute:
    body = _members(raw, {"#", "D"}, where)
    kind, value = _text(body["#"], where), body["D"]
    if kind == "0.a_array":
        values = tuple(_attribute(each, where) for each in _list(value, where))
        if any(each.kind == "array" for each in values):
            raise ProgramUnreadable(f"{where} has an attribute that is a list of lists.")
        return RawAttribute("array", values)
    if kind in _INT_BITS and type(value) is int and -(1 << _INT_BITS[kind] - 1) <= value < 1 << _INT_BITS[kind] - 1:
        return RawAttribute(kind[4:], value)
    if kind in {"0.a_f32", "0.a_f64"} and type(value) in {int, float}:
        return RawAttribute(kind[4:], _finite(value, where))
    if kind in {"0.a_str", "1.a_dtype"}:
        return RawAttribute(kind[4:], _text(value, where))
    if kind == "1.a_intarray":
        numbers = _list(value, where)
        if all(type(number) is int and -(1 << 63) <= number < 1 << 63 for number in numbers):
            return RawAttribute("ints", tuple(numbers))
    if (kind == "0.a_bool" and type(value) is bool) or (kind == "1.a_place" and isinstance(value, list)):
        return RawAttribute(kind[4:], value)
    raise ProgramUnreadable(f"{where} has an attribute of an unknown kind or with a value of another kind.")


def _finite(value: float, where: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ProgramUnreadable(f"{where} has a number that is not finite.")
    return number


def _members(raw: Any, names: set[str], where: str) -> dict[str, Any]:
    if not isinstance(raw, dict) or set(raw) != names:
        raise ProgramUnreadable(f"In {where}: other members than {', '.join(sorted(names))}.")
    return raw


def _only(raw: Any, what: str) -> Any:
    items = _list(raw, what)
    if len(items) != 1:
        raise ProgramUnreadable(f"The program has {len(items)} {what}s; exactly one is read.")
    return items[0]


def _list(raw: Any, where: str) -> list[Any]:
    if not isinstance(raw, list):
        raise ProgramUnreadable(f"In {where}: something is not a list.")
    return raw


def _text(raw: Any, where: str) -> str:
    if not isinstance(raw, str) or len(raw) > _MAX_NAME or not raw.isprintable():
        raise ProgramUnreadable(f"In {where}: a text is missing, too long or not printable.")
    return raw


def _natural(raw: Any, where: str) -> int:
    if type(raw) is not int or not 0 <= raw < 1 << 31:
        raise ProgramUnreadable(f"In {where}: a value's number is not a natural number.")
    return raw
