"""Reading a sealed program: from bytes to a `Program` of which every operation has been checked.

The reader trusts nothing that the file says about itself: it works out the shape of every value from the inputs and
parameters, and compares.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from paddock.errors import OperationRefused, OperatorRefused, ProgramTooLarge, ProgramUnreadable
from paddock.program.document import RawAttribute, RawOperation, RawParameter, read_document
from paddock.program.model import FLOATING, Input, Limits, Number, Operation, Parameter, Program, TensorType, Type
from paddock.program.operators import OPERATORS
from paddock.program.operators.entry import Call, Kind, Operand, OperandKind, Operator

_MAX_PORTS = 64
_NO_MEANING = frozenset({"struct_name"})
_LAYOUT_ONLY = frozenset({"reshape", "flatten", "transpose", "squeeze", "unsqueeze", "slice", "assign", "cast"})


def read_program(data: bytes, limits: Limits) -> Program:
    """Read the `.json` of `paddle.jit.save`.

    1. Structure: JSON of the one known form, within the limits (P-1, P-2).
    2. Every value is made once, and before it is used (P-3).
    3. Every operator is on the allow-list, its operands and attributes are of the kinds listed there (P-4, P-5).
    4. Every shape and dtype follows from the inputs and is the one that the file declares (P-6, P-7).
    5. Inputs and outputs are per sample of a batch (P-8); numbers that pick rows are inputs that can be checked (P-9).

    Args:
        data: the file.
        limits: what to accept.

    Raises:
        ProgramTooLarge: over a limit.
        ProgramUnreadable: not of the known form.
        OperatorRefused: an operator that is not on the allow-list, by name and place.
        OperationRefused: an operation that breaks a rule, by name and place.

    Source: docs/spec/program.md.
    """
    reader = _Reader(limits)
    for raw in read_document(data, limits):
        if isinstance(raw, RawParameter):
            reader.parameter(raw)
        else:
            reader.operation(raw)
    return reader.program()


class _Reader:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._types: dict[int, Type] = {}
        self._constants: dict[int, tuple[Number, ...]] = {}
        self._scratch: set[int] = set()
        self._states: set[int] = set()
        self._stopped: set[int] = set()
        self._origin: dict[int, int] = {}  # value -> the input whose numbers it holds, only moved
        self._below: dict[int, int] = {}
        self._inputs: list[Input] = []
        self._parameters: dict[int, Parameter] = {}
        self._operations: list[Operation] = []
        self._outputs: list[int] = []

    def parameter(self, raw: RawParameter) -> None:
        """Take a parameter in."""
        where = f"parameter {raw.name} at op {raw.place}"
        if not raw.persistent:
            self._new(raw.value, raw.place)
            self._states.add(raw.value)
            return
        if any(size < 1 for size in raw.type.shape):
            raise OperationRefused(f"{where}: its shape {list(raw.type.shape)} is not fixed.")  # P-7
        if raw.trainable and raw.type.dtype not in FLOATING:
            raise OperationRefused(f"{where}: it is trainable and not floating-point.")
        self._new(raw.value, raw.place)
        self._types[raw.value] = raw.type
        self._parameters[raw.value] = Parameter(raw.name, raw.value, raw.type, raw.trainable)
        if not raw.trainable:
            self._stopped.add(raw.value)

    def operation(self, raw: RawOperation) -> None:
        """Take an operation in."""
        if self._outputs and raw.name != "fetch":
            raise OperationRefused(f"{raw.full_name} at op {raw.place}: it comes after the first output.")
        if raw.full_name == "pd_op.data":
            self._input(raw)
            return
        # P-4
        operator = OPERATORS.get(raw.name if raw.dialect == "pd_op" else raw.full_name)
        if operator is None:
            raise OperatorRefused(f"{raw.full_name} at op {raw.place}.")
        call = Call(raw.full_name, raw.place, *self._call_parts(raw, operator))
        _check_kinds(call, operator)
        self._finish(raw, operator, call)

    def program(self) -> Program:
        """What has been read, as a whole."""
        names = [each.name for each in self._parameters.values()]
        if len(set(names)) != len(names):
            raise OperationRefused("Two parameters have the same name.")
        if not self._inputs or not self._outputs:
            raise OperationRefused("The program has no input or no output.")
        if len({each.name for each in self._inputs}) != len(self._inputs):
            raise OperationRefused("Two inputs have the same name.")
        inputs = tuple(Input(each.name, each.value, each.type, self._below.get(each.value)) for each in self._inputs)
        # PaddlePaddle writes parameters last made first; optimisers go through them as they were made.
        parameters = tuple(reversed(self._parameters.values()))
        return Program(inputs, parameters, tuple(self._operations), tuple(self._outputs), self._types, self._constants)

    def _input(self, raw: RawOperation) -> None:
        about = _attributes(
            raw, {"name": Kind("str"), "shape": Kind("ints"), "dtype": Kind("dtype"), "place": Kind("place")}
        )
        made = raw.outputs[0] if len(raw.outputs) == 1 and not raw.operands else None
        if made is None or not isinstance(made[1], TensorType):
            raise ProgramUnreadable(f"op {raw.place} is not an input as PaddlePaddle writes it.")
        value, found = made
        where = f"input {about['name']} at op {raw.place}"
        if found != TensorType(about["dtype"], about["shape"]):
            raise OperationRefused(f"{where}: it declares two different types.")
        # P-8
        if not found.shape or found.shape[0] != -1 or any(size < 1 for size in found.shape[1:]):
            raise OperationRefused(
                f"{where}: its shape is {list(found.shape)}; the first size must be -1 and the others fixed."
            )
        if len(self._inputs) == _MAX_PORTS or not about["name"]:
            raise OperationRefused(f"{where}: it has no name, or there are more than {_MAX_PORTS} inputs.")
        self._new(value, raw.place)
        self._types[value] = found
        self._inputs.append(Input(about["name"], value, found))
        self._origin[value] = value

    def _call_parts(
        self, raw: RawOperation, operator: Operator
    ) -> tuple[Sequence[Operand | None], Mapping[str, Any], Sequence[Type | None]]:
        operands = [self._operand(raw, value) for value in raw.operands]
        declared = [None if each is None else each[1] for each in raw.outputs]
        return operands, _attributes(raw, operator.attributes), declared

    def _operand(self, raw: RawOperation, value: int) -> Operand | None:
        if value == 0:
            return None
        where = f"{raw.full_name} at op {raw.place}"
        # P-3
        if value in self._scratch:
            raise OperationRefused(f"{where}: it uses a value that another operator keeps for itself.")
        if value in self._states:
            return Operand(value, (), None, is_parameter=False, trainable=False)
        if value not in self._types:
            raise OperationRefused(f"{where}: it uses value {value} before it is made.")
        known = self._parameters.get(value)
        return Operand(
            value,
            self._types[value],
            self._constants.get(value),
            is_parameter=known is not None,
            trainable=known is not None and known.trainable,
        )

    def _finish(self, raw: RawOperation, operator: Operator, call: Call) -> None:
        for index, operand in enumerate(call.operands):
            if operand is not None and (operand.value in self._states) != (_kind(operator, index) == "state"):
                call.refuse(f"operand {index} is the hidden state of another operator.")
        result = operator.rule(call)
        kept = [each for index, each in enumerate(raw.outputs) if index not in operator.scratch]
        if len(kept) != len(result.types) or len(raw.outputs) - len(kept) > len(operator.scratch):
            call.refuse(f"it has {len(raw.outputs)} outputs.")
        constants = result.constants or (None,) * len(kept)
        outputs = []
        for made, found, constant in zip(kept, result.types, constants, strict=True):
            if made is None or not _agrees(made[1], found):
                call.refuse(f"it declares {_shown(made)}, and {_shown((0, found))} follows from its operands.")  # P-6
            self._check_size(call, found)
            self._new(made[0], raw.place)
            self._types[made[0]] = found
            outputs.append(made[0])
            if constant is not None:
                self._constants[made[0]] = constant
        for index in operator.scratch:
            if index < len(raw.outputs) and (hidden := raw.outputs[index]) is not None:
                self._new(hidden[0], raw.place)
                self._scratch.add(hidden[0])
        if raw.full_name == "pd_op.fetch":
            self._fetched(call)
            return
        operands = tuple(None if operand is None else operand.value for operand in call.operands)
        self._follow(raw, call, operands, outputs)
        stops = self._stops(raw, operands, outputs)
        self._operations.append(Operation(_short(raw), raw.place, operands, call.attributes, tuple(outputs), stops))

    def _fetched(self, call: Call) -> None:
        if call.attributes["col"] != len(self._outputs) or len(self._outputs) == _MAX_PORTS:
            call.refuse("outputs are not numbered from 0 on.")
        self._outputs.append(call.operand(0).value)

    def _stops(self, raw: RawOperation, operands: Iterable[int | None], outputs: Sequence[int]) -> bool:
        stopped = bool(outputs) and all(
            flag for flag, each in zip(raw.stop_gradient, raw.outputs, strict=True) if each is not None
        )
        if stopped:
            self._stopped.update(outputs)
        could_flow = any(value is not None and value not in self._stopped for value in operands)
        return stopped and could_flow

    def _follow(self, raw: RawOperation, call: Call, operands: Sequence[int | None], outputs: Sequence[int]) -> None:
        """Keep track of which values are an input's own numbers, for those that pick rows of an embedding."""
        first = operands[0] if operands else None
        if raw.name in _LAYOUT_ONLY and first in self._origin:
            for value in outputs:
                self._origin[value] = self._origin[first]
        if raw.full_name == "pd_op.embedding":
            # P-9
            if first not in self._origin:
                call.refuse("it picks rows by computed numbers; they must be an input's own.")
            source = self._origin[first]
            rows = call.tensor(1).shape[0]
            self._below[source] = min(rows, self._below.get(source, rows))

    def _check_size(self, call: Call, found: Type) -> None:
        for each in (found,) if isinstance(found, TensorType) else found:
            if math.prod(abs(size) for size in each.shape) > self._limits.max_elements:
                raise ProgramTooLarge(f"{call.name} at op {call.place} makes {each}.")  # P-1

    def _new(self, value: int, place: int) -> None:
        # P-3
        if value == 0 or value in self._types or value in self._scratch or value in self._states:
            raise OperationRefused(f"Value {value} is made again at op {place}.")


def _short(raw: RawOperation) -> str:
    return raw.name if raw.dialect == "pd_op" else raw.full_name


def _kind(operator: Operator, index: int) -> OperandKind:
    return operator.operands[min(index, len(operator.operands) - 1)]


def _check_kinds(call: Call, operator: Operator) -> None:
    # P-5
    count, wanted = len(call.operands), len(operator.operands)
    if count < wanted or (count > wanted and not operator.repeated):
        call.refuse(f"it has {count} operands, not {wanted}.")
    for index, operand in enumerate(call.operands):
        kind = _kind(operator, index)
        if operand is None and kind not in {"optional", "nothing"}:
            call.refuse(f"operand {index} is left out.")
        if operand is not None and kind == "nothing":
            call.refuse(f"operand {index} must be left out.")
        if operand is not None and kind != "state" and isinstance(operand.type, tuple) != (kind == "list"):
            call.refuse(f"operand {index} is not a {'list' if kind == 'list' else 'tensor'}.")


def _attributes(raw: RawOperation, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """The attributes as values, each of the kind and within the bounds of the table."""
    where = f"{raw.full_name} at op {raw.place}"
    given = {name: each for name, each in raw.attributes.items() if name not in _NO_MEANING}
    # P-5
    unknown = sorted(given.keys() - kinds.keys())
    missing = sorted(name for name, kind in kinds.items() if not kind.optional and name not in given)
    if unknown or missing:
        raise OperationRefused(f"{where}: unknown or missing attributes: {', '.join(unknown + missing)}.")
    values = {}
    for name, attribute in given.items():
        kind = kinds[name]
        value = _attribute_value(attribute, kind.kind)
        if value is _WRONG or kind.faults(value):
            raise OperationRefused(f"{where}: attribute {name} is of the wrong kind or out of its bounds.")
        values[name] = value
    return values


_WRONG = object()


def _attribute_value(attribute: RawAttribute, kind: str) -> Any:
    if not kind.endswith("*"):
        return attribute.value if attribute.kind == kind else _WRONG
    if attribute.kind != "array" or any(each.kind != kind[:-1] for each in attribute.value):
        return _WRONG
    return tuple(each.value for each in attribute.value)


def _agrees(declared: Type, found: Type) -> bool:
    if isinstance(declared, tuple) or isinstance(found, tuple):
        return (
            isinstance(declared, tuple)
            and isinstance(found, tuple)
            and len(declared) == len(found)
            and all(_agrees(one, other) for one, other in zip(declared, found, strict=True))
        )
    return (
        declared.dtype == found.dtype
        and len(declared.shape) == len(found.shape)
        and all(one == other or (one < 0 and other < 0) for one, other in zip(declared.shape, found.shape, strict=True))
    )


def _shown(made: tuple[int, Type] | None) -> str:
    if made is None:
        return "nothing"
    return str(made[1]) if isinstance(made[1], TensorType) else f"a list of {len(made[1])} tensors"
