"""Reading a sealed program: from bytes to a `Program` of which every operation has been checked.

The reader trusts nothing that the file says about itself: it works out the shape of every value from the inputs and
parameters, and compares. Values get numbers of the reader's own, so that nothing grows with the numbers of the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from paddock.errors import OperationRefused, OperatorRefused, ProgramTooLarge, ProgramUnreadable
from paddock.program.control import Branches, Loop
from paddock.program.document import RawAttribute, RawBlock, RawOperation, RawParameter, made_numbers, read_document
from paddock.program.model import (
    FLOATING,
    SELECT,
    Batches,
    Input,
    Limits,
    Number,
    Operation,
    Parameter,
    Program,
    TensorType,
    Type,
    agrees,
)
from paddock.program.operators import CONTROL, listed
from paddock.program.operators.entry import Call, Kind, Operand, OperandKind, Operator
from paddock.program.work import check_work

_MAX_PORTS = 64
_NO_MEANING = frozenset({"struct_name"})
_LAYOUT_ONLY = frozenset({"reshape", "flatten", "transpose", "squeeze", "unsqueeze", "slice", "assign", "cast"})
_COMPUTES_WITH_SIZES = "it computes with the number of samples in a batch."


def read_program(data: bytes, limits: Limits) -> Program:
    """Read the `.json` of `paddle.jit.save`.

    1. Structure: JSON of the one known form, within the limits (P-1, P-2).
    2. Every value is made once, and before it is used (P-3).
    3. Every operator is on the allow-list, its operands and attributes are of the kinds listed there (P-4, P-5).
    4. Every shape and dtype follows from the inputs and is the one that the file declares (P-6, P-7).
    5. Inputs and outputs are per sample of a batch (P-8); numbers that pick rows are inputs that can be checked (P-9).
    6. Loops end after a number of turns that the file fixes, and are unrolled; branches are checked, both (P-11).
    7. The work of one sample is bounded (P-12).

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
    reader = Reader(limits)
    reader.document(read_document(data, limits))
    program = reader.program()
    check_work(program, limits)
    return program


class Reader:
    """What has been read of a program so far. `control` calls back into it for the operations inside others."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._count = 0
        self._last = 0
        self._visible: dict[int, int] = {}  # number in the file -> number here, of what may be used at this place
        self._types: dict[int, Type] = {}
        self._constants: dict[int, tuple[Number, ...]] = {}
        self._scratch: set[int] = set()
        self._states: set[int] = set()
        self._stopped: set[int] = set()
        self._origin: dict[int, int] = {}  # value -> the input whose numbers it holds, only moved
        self._below: dict[int, int] = {}
        self._attributes: dict[int, Mapping[str, Any]] = {}  # by place, for the turns of a loop
        self._guards: tuple[tuple[int, bool], ...] = ()
        self._made_in_block: list[list[int]] = []
        self._inputs: list[Input] = []
        self._parameters: dict[int, Parameter] = {}
        self._operations: list[Operation] = []
        self._outputs: list[int] = []

    def document(self, operations: Sequence[RawOperation | RawParameter]) -> None:
        """Take a whole file in."""
        seen = {0}
        for value, place in made_numbers(operations):
            # P-3
            if value in seen:
                raise OperationRefused(f"Value {value} is made again at op {place}.")
            seen.add(value)
        for raw in operations:
            if isinstance(raw, RawParameter):
                self.parameter(raw)
            else:
                self.operation(raw)

    def parameter(self, raw: RawParameter) -> None:
        """Take a parameter in."""
        self._counted()
        where = f"parameter {raw.name} at op {raw.place}"
        if not raw.persistent:
            self._states.add(self._new(raw.value, raw.type))
            return
        if any(size < 1 for size in raw.type.shape):
            raise OperationRefused(f"{where}: its shape {list(raw.type.shape)} is not fixed.")  # P-7
        if raw.trainable and raw.type.dtype not in FLOATING:
            raise OperationRefused(f"{where}: it is trainable and not floating-point.")
        value = self._new(raw.value, raw.type)
        self._parameters[value] = Parameter(raw.name, value, raw.type, raw.trainable)
        if not raw.trainable:
            self._stopped.add(value)

    def operation(self, raw: RawOperation) -> None:
        """Take an operation in."""
        self._counted()
        if self._outputs and raw.full_name != "pd_op.fetch":
            raise OperationRefused(f"{raw.where}: it comes after the first output.")
        if raw.full_name in CONTROL:
            self._control(raw)
            return
        if self._made_in_block and raw.full_name in {"pd_op.data", "pd_op.fetch"}:
            raise OperationRefused(f"{raw.where}: inputs and outputs do not stand inside another operation.")
        if raw.full_name == "pd_op.data":
            self._input(raw)
            return
        # P-4
        operator = listed(raw.dialect, raw.name)
        if operator is None:
            raise OperatorRefused(f"{raw.where}.")
        if raw.regions:
            raise OperationRefused(f"{raw.where}: it holds other operations.")
        call = Call(raw.where, *self._call_parts(raw, operator))
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

    def read_block(self, block: RawBlock, arguments: Sequence[int]) -> tuple[int, ...]:
        """Read the operations of a block with these values as its arguments; gives the values that it hands out.

        What it makes can be used in it alone.
        """
        self._made_in_block.append([])
        try:
            for (number, _), own in zip(block.arguments, arguments, strict=True):
                self._show(number, own)
            for raw in block.operations[:-1]:
                self.operation(raw)
            self._counted()
            last = block.operations[-1] if block.operations else None
            if last is None or last.full_name != "cf.yield" or last.outputs or last.attributes or last.regions:
                raise ProgramUnreadable("A block inside an operation does not end by handing its values out.")
            return tuple([self.used(last, value) for value in last.operands])
        finally:
            for number in self._made_in_block.pop():
                del self._visible[number]

    @contextmanager
    def guarded(self, condition: int, *, wanted: bool) -> Iterator[None]:
        """What is read meanwhile runs only if the condition is as wanted."""
        before, self._guards = self._guards, (*self._guards, (condition, wanted))
        try:
            yield
        finally:
            self._guards = before

    @contextmanager
    def checked_only(self) -> Iterator[None]:
        """What is read meanwhile is checked and left out: it can never run."""
        count = len(self._operations)
        try:
            yield
        finally:
            del self._operations[count:]

    def used(self, raw: RawOperation, value: int) -> int:
        """The number here of a value that an operation names and that is a tensor."""
        own = self._own(raw, value)
        if own in self._states or not isinstance(self._types[own], TensorType):
            raise OperationRefused(f"{raw.where}: it uses something that is not a tensor.")
        return own

    def tensor(self, own: int) -> TensorType:
        """The type of a value that `used` gave."""
        found = self._types[own]
        if not isinstance(found, TensorType):
            raise TypeError("a list where a tensor was checked")
        return found

    def known(self, own: int) -> tuple[Number, ...] | None:
        """What is known of a value before anything runs."""
        return self._constants.get(own)

    def select(self, raw: RawOperation, condition: int, values: tuple[int, int]) -> int:
        """The value that is the first of two where a condition holds, and the second otherwise."""
        own = self._fresh(self._types[values[0]])
        known, other = (self._constants.get(value) for value in values)
        if known is not None and known == other:
            self._constants[own] = known
        elif any(isinstance(number, Batches) for number in (*(known or ()), *(other or ()))):
            raise OperationRefused(f"{raw.where}: {_COMPUTES_WITH_SIZES}")
        if all(value in self._stopped for value in values):
            self._stopped.add(own)
        if len({self._origin.get(value) for value in values}) == 1 and values[0] in self._origin:
            self._origin[own] = self._origin[values[0]]
        self._operations.append(
            Operation(SELECT, raw.place, (condition, *values), {}, (own,), stops_gradient=False, guards=self._guards)
        )
        return own

    def _control(self, raw: RawOperation) -> None:
        # P-11
        if raw.attributes.keys() - _NO_MEANING:
            raise OperationRefused(f"{raw.where}: it has attributes.")
        given = [self.used(raw, value) for value in raw.operands]
        results = (Branches if raw.name == "if" else Loop)(self, raw).read(given)
        if len(results) != len(raw.outputs):
            raise OperationRefused(
                f"{raw.where}: it has {len(raw.outputs)} outputs, and its blocks hand {len(results)} out."
            )
        for made, own in zip(raw.outputs, results, strict=True):
            if made is None or not agrees(made[1], self._types[own]):
                raise OperationRefused(
                    f"{raw.where}: it declares {_shown(made)} where its blocks hand out another type."
                )
            self._show(made[0], own)

    def _input(self, raw: RawOperation) -> None:
        about = _attributes(
            raw, {"name": Kind("str"), "shape": Kind("ints"), "dtype": Kind("dtype"), "place": Kind("place")}
        )
        made = raw.outputs[0] if len(raw.outputs) == 1 and not raw.operands and not raw.regions else None
        if made is None or not isinstance(made[1], TensorType):
            raise ProgramUnreadable(f"op {raw.place} is not an input as PaddlePaddle writes it.")
        number, found = made
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
        value = self._new(number, found)
        self._inputs.append(Input(about["name"], value, found))
        self._origin[value] = value

    def _call_parts(
        self, raw: RawOperation, operator: Operator
    ) -> tuple[Sequence[Operand | None], Mapping[str, Any], Sequence[Type | None]]:
        operands = [self._operand(raw, value) for value in raw.operands]
        declared = [None if each is None else each[1] for each in raw.outputs]
        attributes = self._attributes.get(raw.place)
        if attributes is None:
            attributes = self._attributes[raw.place] = _attributes(raw, operator.attributes)
        return operands, attributes, declared

    def _own(self, raw: RawOperation, value: int) -> int:
        own = self._visible.get(value)
        # P-3
        if own is None:
            raise OperationRefused(f"{raw.where}: it uses value {value} before it is made, or outside its block.")
        if own in self._scratch:
            raise OperationRefused(f"{raw.where}: it uses a value that another operator keeps for itself.")
        return own

    def _operand(self, raw: RawOperation, value: int) -> Operand | None:
        if value == 0:
            return None
        own = self._own(raw, value)
        if own in self._states:
            return Operand(own, (), None, is_parameter=False, trainable=False)
        known = self._parameters.get(own)
        return Operand(
            own,
            self._types[own],
            self._constants.get(own),
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
        _check_sizes_are_no_numbers(call, operator, constants)
        outputs = []
        for made, found, constant in zip(kept, result.types, constants, strict=True):
            if made is None or not agrees(made[1], found):
                call.refuse(f"it declares {_shown(made)}, and {_shown((0, found))} follows from its operands.")  # P-6
            self._check_size(call, found)
            own = self._new(made[0], found)
            outputs.append(own)
            if constant is not None:
                self._constants[own] = constant
        for index in operator.scratch:
            if index < len(raw.outputs) and (hidden := raw.outputs[index]) is not None:
                self._scratch.add(self._new(hidden[0], hidden[1]))
        if raw.full_name == "pd_op.fetch":
            self._fetched(call)
            return
        operands = tuple([None if operand is None else operand.value for operand in call.operands])
        self._follow(raw, call, operands, outputs)
        stops = self._stops(raw, operands, outputs)
        self._operations.append(
            Operation(_short(raw), raw.place, operands, call.attributes, tuple(outputs), stops, self._guards)
        )

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
        return stopped and any(value is not None and value not in self._stopped for value in operands)

    def _follow(self, raw: RawOperation, call: Call, operands: Sequence[int | None], outputs: Sequence[int]) -> None:
        """Keep track of which values are an input's own numbers, for those that pick rows of an embedding."""
        first = operands[0] if operands else None
        if raw.name in _LAYOUT_ONLY and first in self._origin:
            for value in outputs:
                self._origin[value] = self._origin[first]
        if raw.full_name == "pd_op.embedding":
            # P-9
            rows, fixed = call.tensor(1).shape[0], call.operand(0).constant
            if fixed is not None:
                if any(not 0 <= number < rows for number in call.whole_numbers(0)):
                    call.refuse(f"it picks a row that its {rows} rows do not have.")
                return
            if first not in self._origin:
                call.refuse("it picks rows by computed numbers; they must be an input's own.")
            source = self._origin[first]
            self._below[source] = min(rows, self._below.get(source, rows))

    def _check_size(self, call: Call, found: Type) -> None:
        for each in (found,) if isinstance(found, TensorType) else found:
            if abs(math.prod(each.shape)) > self._limits.max_elements:
                raise ProgramTooLarge(f"{call.where} makes {each}.")  # P-1

    def _counted(self) -> None:
        self._count += 1
        if self._count > self._limits.max_operations:  # P-1
            raise ProgramTooLarge(f"Its loops unroll into more than {self._limits.max_operations} operations.")

    def _new(self, number: int, found: Type) -> int:
        own = self._fresh(found)
        self._show(number, own)
        return own

    def _show(self, number: int, own: int) -> None:
        self._visible[number] = own
        if self._made_in_block:
            self._made_in_block[-1].append(number)

    def _fresh(self, found: Type) -> int:
        self._last += 1
        self._types[self._last] = found
        return self._last


def _check_sizes_are_no_numbers(call: Call, operator: Operator, constants: Sequence[tuple[Number, ...] | None]) -> None:
    """The size of a batch may say what shape a result has, and is no number to compute with."""
    if None not in constants:
        return
    for index, operand in enumerate(call.operands):
        known = None if operand is None or _kind(operator, index) == "constant" else operand.constant
        # P-8
        if known is not None and any(isinstance(number, Batches) for number in known):
            call.refuse(_COMPUTES_WITH_SIZES)


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
    where = raw.where
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


def _shown(made: tuple[int, Type] | None) -> str:
    if made is None:
        return "nothing"
    return str(made[1]) if isinstance(made[1], TensorType) else f"a list of {len(made[1])} tensors"
