"""The allow-list: one entry per operator, with its operands, its attributes' types and its shape rule."""

from __future__ import annotations

from collections.abc import Mapping

from paddock.program.operators.convolution import CONVOLUTION
from paddock.program.operators.elementwise import ELEMENTWISE
from paddock.program.operators.entry import Operator
from paddock.program.operators.layout import LAYOUT
from paddock.program.operators.logic import LOGIC
from paddock.program.operators.numbers import NUMBERS
from paddock.program.operators.products import PRODUCTS
from paddock.program.operators.reduction import REDUCTION
from paddock.program.operators.structure import STRUCTURE

OPERATORS: Mapping[str, Operator] = {
    **STRUCTURE,
    **NUMBERS,
    **ELEMENTWISE,
    **LOGIC,
    **PRODUCTS,
    **CONVOLUTION,
    **REDUCTION,
    **LAYOUT,
}

CONTROL = frozenset({"pd_op.if", "pd_op.while"})
_READ_BY_NAME = frozenset({"pd_op.data", "cf.yield", *CONTROL})


def listed(dialect: str, name: str) -> Operator | None:
    """The entry of an operator that computes, or None."""
    return OPERATORS.get(name if dialect == "pd_op" else f"{dialect}.{name}")


def is_listed(dialect: str, name: str) -> bool:
    """Whether an operator may stand in a file at all."""
    return listed(dialect, name) is not None or f"{dialect}.{name}" in _READ_BY_NAME


__all__ = ["CONTROL", "OPERATORS", "Operator", "is_listed", "listed"]
