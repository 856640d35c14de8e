"""The JSON that `paddle.jit.save` writes, read strictly into raw operations. What they mean is checked elsewhere.

PaddlePaddle writes its intermediate representation (PIR) as one region with one block of operations:

    {"base_code": {"magic": "pir", "trainable": …, "version": 4},
     "program": {"regions": [{"#": "region_0", "blocks": [{"#": "block_0", "args": [], "ops": [op, …]}]}]}}

    parameter   {"#": "p", "A": [distributed, is_parameter, need_clip, name], "DA": [], "O": value,
                 "OA": [persistable, stop_gradient, trainable], "QA": []}
    operation   {"#": "1.relu", "A": [attribute, …], "I": [{"%": number}, …], "O": [value, …], "OA": [attribute, …]}
                 and, for those that hold others, "regions": [{"#": "region_1", "blocks": [block]}, …]
    argument    {"#": -number, "TT": type}           of a loop's block; operations name it {"%": -number}
    value       {"%": number, "TT": type}            number 0 stands for "left out"
    type        {"#": "0.t_dtensor", "D": [{"#": "0.t_f32"}, shape, layout, lod, offset]} or {"#": "0.t_vec", "D": [type, …]}
    attribute   {"N": name, "AT": {"#": "0.a_i32", "D": value}}

Source: paddle/fluid/pir/serialize_deserialize (PaddlePaddle 3.3), and docs/spec/program.md §2.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from paddock.errors import ProgramTooLarge, ProgramUnreadable
from paddock.program.lexical import read_json
from paddock.program.model import Limits, TensorType, Type
from paddock.program.operators import is_listed

_VERSION = 4
_DIALECTS = {"0": "builtin", "1": "pd_op", "2": "cf"}
_DTYPES = {
    "0.t_f32": "float32", "0.t_f64": "float64", "0.t_i32": "int32", "0.t_i64": "int64", "0.t_bool": "bool",
    "0.t_ui8": "uint8",
}  # fmt: skip
_LAYOUTS = {"NCHW", "NHWC", "Undefined(AnyLayout)", "NCDHW", "NDHWC"}
_MAX_RANK = 8
_MAX_NAME = 512
_INT_BITS = {"0.a_i32": 32, "0.a_i64": 64}


@dataclass(frozen=True, slots=True)
class RawAttribute:
    """Kind and value of an attribute: `i32`, `f64`, `bool`, `str`, `ints`, `dtype`, `place`, or `array` of kinds."""

    kind: str
    value: Any


@dataclass(frozen=True, slots=True)
class RawOperation:
    """One operation as written; `outputs` holds None for what is left out.

    `full_name` is the name with its dialect, as PaddlePaddle prints it; `layer` the developer's layer that it came from,
    where the file notes it; `where` name, place and layer for messages.
    """

    dialect: str
    name: str
    place: int
    attributes: dict[str, RawAttribute]
    operands: tuple[int, ...]
    outputs: tuple[tuple[int, Type] | None, ...]
    stop_gradient: tuple[bool, ...]
    regions: tuple[RawBlock, ...]
    full_name: str = field(init=False)
    layer: str = field(init=False)
    where: str = field(init=False)

    def __post_init__(self) -> None:
        """Work out once what is said of it: the operations of loops are read many times."""
        about = self.attributes.get("struct_name")
        layer = about.value if about is not None and about.kind == "str" else ""
        full_name = f"{self.dialect}.{self.name}"
        object.__setattr__(self, "full_name", full_name)
        object.__setattr__(self, "layer", layer)
        object.__setattr__(
            self, "where", f"{full_name} at op {self.place}" + (f" in {layer}" if layer.strip("/") else "")
        )


@dataclass(frozen=True, slots=True)
class RawBlock:
    """A block of operations inside another one, as written.

    Args:
        arguments: value number and type of each; only loops have some.
        operations: in order; the last one hands values out (`cf.yield`).
    """

    arguments: tuple[tuple[int, TensorType], ...]
    operations: tuple[RawOperation, ...]


@dataclass(frozen=True, slots=True)
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
    document = read_json(data, limits)
    # P-2
    top = _members(document, _FILE, "the file")
    code = _members(top["base_code"], _BASE_CODE, "base_code")
    if code["magic"] != "pir" or not _is_int(code["version"], _VERSION) or type(code["trainable"]) is not bool:
        raise ProgramUnreadable(f"base_code is not that of PIR version {_VERSION}.")
    region = _members(_only(_members(top["program"], _PROGRAM, "program")["regions"], "region"), _REGION, "the region")
    reader = _DocumentReader(limits)
    block = reader.block(region, "the region")
    if region["#"] != "region_0" or block["#"] != "block_0" or block["args"] != []:
        raise ProgramUnreadable("The program does not begin with region_0 and block_0 without arguments.")
    return [reader.operation(each) for each in _list(block["ops"], "ops")]


_FILE = frozenset({"base_code", "program"})
_BASE_CODE = frozenset({"magic", "trainable", "version"})
_PROGRAM = frozenset({"regions"})
_REGION = frozenset({"#", "blocks"})
_BLOCK = frozenset({"#", "args", "ops"})
_PARAMETER = frozenset({"#", "A", "DA", "O", "OA", "QA"})
_OPERATION = frozenset({"#", "A", "I", "O", "OA"})
_HOLDER = frozenset({*_OPERATION, "regions"})
_ARGUMENT = frozenset({"#", "TT"})
_OPERAND = frozenset({"%"})
_VALUE = frozenset({"%", "TT"})
_ATTRIBUTE = frozenset({"N", "AT"})
_KIND = frozenset({"#", "D"})
_DTYPE_ONLY = frozenset({"#"})
_PARAMETER_NAME = 3


class _DocumentReader:
    """Counts the operations of a file, those inside others too, in the order in which they are written."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places = count()
        self._types: dict[tuple[Any, ...], TensorType] = {}

    def block(self, region: Any, where: str) -> dict[str, Any]:
        """The one block of a region."""
        return _members(_only(_members(region, _REGION, where)["blocks"], "block"), _BLOCK, where)

    def operation(self, raw: Any) -> RawOperation | RawParameter:
        """An operation or a parameter."""
        place = next(self._places)
        if place == self._limits.max_operations:  # P-1
            raise ProgramTooLarge(f"The program has more than {self._limits.max_operations} operations.")
        where = f"op {place}"
        if isinstance(raw, dict) and raw.get("#") == "p":
            return self._parameter(_members(raw, _PARAMETER, where), place)
        holds = isinstance(raw, dict) and "regions" in raw
        op = _members(raw, _HOLDER if holds else _OPERATION, where)
        number, _, name = _text(op["#"], where).partition(".")
        if not number.isdecimal() or not name:
            raise ProgramUnreadable(f"{where} has no name with a dialect.")
        dialect = _DIALECTS.get(number, f"dialect-{number}")
        where = f"{dialect}.{name} at {where}"
        if not is_listed(dialect, name):
            return _unlisted(op, dialect, name, place)
        flags = _attributes(op["OA"], where)
        if flags.keys() - _FLAGS:
            raise ProgramUnreadable(f"{where} has unknown output attributes.")
        outputs = tuple([self._value(each, where) for each in _list(op["O"], where)])
        stops = _flags(flags.get("stop_gradient"), len(outputs), where)
        _flags(flags.get("persistable"), len(outputs), where)
        operands = tuple([_number(_members(each, _OPERAND, where)["%"], where) for each in _list(op["I"], where)])
        attributes = _attributes(op["A"], where)
        regions: tuple[RawBlock, ...] = ()
        if holds:
            regions = tuple([self._region(each, where) for each in _list(op["regions"], where)])
            if not regions:
                raise ProgramUnreadable(f"{where} has an empty list of regions.")
        return RawOperation(dialect, name, place, attributes, operands, outputs, stops, regions)

    def _region(self, raw: Any, where: str) -> RawBlock:
        block = self.block(raw, where)
        for each in (raw, block):
            _text(each["#"], where)
        arguments = []
        for each in _list(block["args"], where):
            argument = _members(each, _ARGUMENT, where)
            found = self._type(argument["TT"], where)
            number = argument["#"]
            if not isinstance(found, TensorType) or type(number) is not int or not -(1 << 31) < number < 0:
                raise ProgramUnreadable(f"{where} has an argument that is not a tensor with a negative number.")
            arguments.append((number, found))
        operations = []
        for each in _list(block["ops"], where):
            operation = self.operation(each)
            if isinstance(operation, RawParameter):
                raise ProgramUnreadable(f"op {operation.place} is a parameter inside another operation.")
            operations.append(operation)
        return RawBlock(tuple(arguments), tuple(operations))

    def _parameter(self, op: dict[str, Any], place: int) -> RawParameter:
        where = f"op {place}"
        about, flags = _list(op["A"], where), _list(op["OA"], where)
        if len(about) != _PARAMETER_NAME + 1 or op["DA"] != [] or op["QA"] != [] or len(flags) != 3:
            raise ProgramUnreadable(f"{where} is not a parameter as PaddlePaddle writes it.")
        if any(type(flag) is not int or flag not in {0, 1} for flag in (*about[:_PARAMETER_NAME], *flags)):
            raise ProgramUnreadable(f"{where} is a parameter with flags that are neither 0 nor 1.")
        value = self._value(op["O"], where)
        if value is None or not isinstance(value[1], TensorType):
            raise ProgramUnreadable(f"{where} is a parameter without a tensor.")
        name = _text(about[_PARAMETER_NAME], where)
        return RawParameter(name, place, value[0], value[1], flags[1] == 0 and flags[2] == 1, flags[0] == 1)

    def _value(self, raw: Any, where: str) -> tuple[int, Type] | None:
        left_out = isinstance(raw, dict) and raw.keys() == _OPERAND
        value = raw if left_out else _members(raw, _VALUE, where)
        number = _natural(value["%"], where)
        if number == 0:
            return None
        if left_out:
            raise ProgramUnreadable(f"{where} has an output without a type.")
        return number, self._type(value["TT"], where)

    def _type(self, raw: Any, where: str) -> Type:
        kind = _members(raw, _KIND, where)
        if kind["#"] == "0.t_vec":
            types = [self._type(each, where) for each in _list(kind["D"], where)]
            if any(not isinstance(each, TensorType) for each in types):
                raise ProgramUnreadable(f"{where} has a list of lists.")
            return tuple(each for each in types if isinstance(each, TensorType))
        if kind["#"] != "0.t_dtensor":
            raise ProgramUnreadable(f"{where} has a value that is not a tensor.")
        return self._tensor(_list(kind["D"], where), where)

    def _tensor(self, body: list[Any], where: str) -> TensorType:
        if len(body) != 5 or _text(body[2], where) not in _LAYOUTS or body[3] != [] or not _is_int(body[4], 0):
            raise ProgramUnreadable(f"{where} has a tensor type that is not as PaddlePaddle writes it.")
        dtype = _text(_members(body[0], _DTYPE_ONLY, where)["#"], where)
        sizes = tuple(_list(body[1], where))
        if any(type(size) is not int for size in sizes):
            raise ProgramUnreadable(f"{where} has a shape that is not whole numbers.")
        # Most types of a file are alike: what has been checked once is not checked again.
        known = self._types.get((dtype, sizes))
        if known is None:
            if dtype not in _DTYPES:
                raise ProgramUnreadable(f"{where} has a tensor of an unknown dtype.")
            known = TensorType(_DTYPES[dtype], _check_sizes(sizes, where, self._limits))
            self._types[dtype, sizes] = known
        return known


def _unlisted(op: dict[str, Any], dialect: str, name: str, place: int) -> RawOperation:
    """An operator that will be refused by its name: of the rest only what says where it stands and what it made."""
    layer, outputs = {}, []
    for each in op["A"] if isinstance(op["A"], list) else ():
        try:
            layer.update({name: about for name, about in _attributes([each], "").items() if name == "struct_name"})
        except ProgramUnreadable:
            continue
    for each in op["O"] if isinstance(op["O"], list) else ():
        number = each.get("%") if isinstance(each, dict) else None
        if type(number) is int and number > 0:
            outputs.append((number, TensorType("bool", ())))
    return RawOperation(dialect, name, place, layer, (), tuple(outputs), (), ())


_FLAGS = frozenset({"stop_gradient", "persistable"})


def _flags(attribute: RawAttribute | None, count: int, where: str) -> tuple[bool, ...]:
    if attribute is None:
        return (False,) * count
    values = attribute.value
    if attribute.kind != "array" or len(values) != count or any(each.kind != "bool" for each in values):
        raise ProgramUnreadable(f"{where} has output attributes that are not one flag per output.")
    return tuple(bool(each.value) for each in values)


def _check_sizes(sizes: tuple[int, ...], where: str, limits: Limits) -> tuple[int, ...]:
    """A shape: at most eight whole numbers; a negative one says "known only with the batch"."""
    if len(sizes) > _MAX_RANK or any(not -(1 << 40) < size < 1 << 40 for size in sizes):
        raise ProgramUnreadable(f"{where} has a shape that is not at most {_MAX_RANK} whole numbers.")
    if math.prod([max(abs(size), 1) for size in sizes]) > limits.max_elements:  # P-1
        raise ProgramTooLarge(f"{where} has a tensor of more than {limits.max_elements} elements.")
    return sizes


def _attributes(raw: Any, where: str) -> dict[str, RawAttribute]:
    attributes: dict[str, RawAttribute] = {}
    for each in _list(raw, where):
        item = _members(each, _ATTRIBUTE, where)
        name = _text(item["N"], where)
        if name in attributes:
            raise ProgramUnreadable(f"{where} has an attribute twice.")
        attributes[name] = _attribute(item["AT"], where)
    return attributes


def _attribute(raw: Any, where: str) -> RawAttribute:
    body = _members(raw, _KIND, where)
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
    if (kind == "0.a_bool" and type(value) is bool) or (kind == "1.a_place" and _is_place(value)):
        return RawAttribute(kind[4:], value)
    raise ProgramUnreadable(f"{where} has an attribute of an unknown kind or with a value of another kind.")


def _is_place(value: Any) -> bool:
    """What PaddlePaddle notes of a device: its kind, its number, and the name of a kind of its own."""
    return isinstance(value, list) and [type(each) for each in value] == [int, int, str] and len(value[2]) <= _MAX_NAME


def _is_int(value: Any, wanted: int) -> bool:
    return type(value) is int and value == wanted


def _finite(value: float, where: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ProgramUnreadable(f"{where} has a number that is not finite.")
    return number


def _members(raw: Any, names: Collection[str], where: str) -> dict[str, Any]:
    if not isinstance(raw, dict) or raw.keys() != names:
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


def _number(raw: Any, where: str) -> int:
    """The number of an operand: negative for an argument of the block that it stands in."""
    return _natural(raw if type(raw) is not int else abs(raw), where) and int(raw)


def made_numbers(operations: Sequence[RawOperation | RawParameter]) -> list[tuple[int, int]]:
    """Every value number that a file makes, with the place where it does; those inside regions too."""
    made: list[tuple[int, int]] = []
    for raw in operations:
        if isinstance(raw, RawParameter):
            made.append((raw.value, raw.place))
            continue
        made.extend((each[0], raw.place) for each in raw.outputs if each is not None)
        for block in raw.regions:
            made.extend((number, raw.place) for number, _ in block.arguments)
            made.extend(made_numbers(block.operations))
    return made
