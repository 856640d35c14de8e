"""Branches and loops: what can be decided before anything runs is decided, and the rest stays a branch.

A loop is unrolled: its condition must be known from the file alone, turn by turn. A branch whose condition is known is
taken or left, one whose condition depends on weights becomes guarded operations. So what runs in the end is a list of
operations, each at most once, and all bounds are those of the list. Source: docs/spec/program.md (P-11).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NoReturn, Protocol

from paddock.errors import OperationRefused
from paddock.program.document import RawBlock, RawOperation
from paddock.program.model import Number, TensorType, agrees


class Surroundings(Protocol):
    """What a reader does for an operation that holds others."""

    def read_block(self, block: RawBlock, arguments: Sequence[int]) -> tuple[int, ...]:
        """Read the operations of a block; gives the values that it hands out."""

    def guarded(self, condition: int, *, wanted: bool) -> AbstractContextManager[None]:
        """What is read meanwhile runs only if the condition is as wanted."""

    def checked_only(self) -> AbstractContextManager[None]:
        """What is read meanwhile is checked and left out."""

    def tensor(self, own: int) -> TensorType:
        """The type of a value."""

    def known(self, own: int) -> tuple[Number, ...] | None:
        """What is known of a value before anything runs."""

    def select(self, raw: RawOperation, condition: int, values: tuple[int, int]) -> int:
        """The value that is the first of two where a condition holds, and the second otherwise."""


class _Control:
    def __init__(self, reader: Surroundings, raw: RawOperation) -> None:
        self._reader = reader
        self._raw = raw

    def _refuse(self, why: str) -> NoReturn:
        raise OperationRefused(f"{self._raw.where}: {why}")

    def _blocks(self, count: int) -> Sequence[RawBlock]:
        if len(self._raw.regions) != count:
            self._refuse(f"it has {len(self._raw.regions)} regions, not {count}.")
        return self._raw.regions

    def _decided(self, condition: int) -> bool | None:
        """The condition's value, or None where it depends on weights. It is the same for all samples either way."""
        found = self._reader.tensor(condition)
        # P-8: no operator leads from a batch to a single truth value.
        if found.dtype != "bool" or any(size < 0 for size in found.shape) or math.prod(found.shape) != 1:
            self._refuse(f"its condition is {found}, not a single truth value.")
        known = self._reader.known(condition)
        return None if known is None else bool(known[0])


class Branches(_Control):
    """`pd_op.if`: a condition, and a block for either case."""

    def read(self, given: Sequence[int]) -> list[int]:
        """The values that it results in."""
        blocks = self._blocks(2)
        if len(given) != 1 or any(block.arguments for block in blocks):
            self._refuse("it is given more than its condition.")
        decided = self._decided(given[0])
        handed = []
        for wanted, block in zip((True, False), blocks, strict=True):
            # Both are checked, the one that can never run too.
            if decided is None:
                with self._reader.guarded(given[0], wanted=wanted):
                    handed.append(self._reader.read_block(block, ()))
            elif decided is wanted:
                handed.append(self._reader.read_block(block, ()))
            else:
                with self._reader.checked_only():
                    handed.append(self._reader.read_block(block, ()))
        yes, no = handed
        if [self._reader.tensor(value) for value in yes] != [self._reader.tensor(value) for value in no]:
            self._refuse("its branches hand out values of different types.")
        if decided is not None:
            return list(yes if decided else no)
        return [
            one if one == other else self._reader.select(self._raw, given[0], (one, other))
            for one, other in zip(yes, no, strict=True)
        ]


class Loop(_Control):
    """`pd_op.while`: a condition and the values that go round, and a block that hands out both anew."""

    def read(self, given: Sequence[int]) -> list[int]:
        """The values after the last turn."""
        (block,) = self._blocks(1)
        if not given:
            self._refuse("it has no condition.")
        condition, values = given[0], tuple(given[1:])
        if not self._goes_on(condition):
            with self._reader.checked_only():
                self._turn(block, values)
            return list(values)
        while self._goes_on(condition):
            condition, values = self._turn(block, values)
        self._check_types(block, values)
        return list(values)

    def _turn(self, block: RawBlock, values: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        self._check_types(block, values)
        handed = self._reader.read_block(block, values)
        if len(handed) != len(values) + 1:
            self._refuse(f"its block hands {len(handed)} values out, not {len(values) + 1}.")
        return handed[0], handed[1:]

    def _goes_on(self, condition: int) -> bool:
        decided = self._decided(condition)
        if decided is None:
            self._refuse(
                "how often it turns is not fixed in the program. Count its turns in whole numbers that start from a fixed "
                "one and are compared with a fixed one, or write a `for` over a Python range."
            )
        return decided

    def _check_types(self, block: RawBlock, values: Sequence[int]) -> None:
        wanted = [found for _, found in block.arguments]
        if len(wanted) != len(values) or not all(
            agrees(one, self._reader.tensor(value)) for one, value in zip(wanted, values, strict=True)
        ):
            self._refuse("the values that go round do not keep the types that its block declares.")
