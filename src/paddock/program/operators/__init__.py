"""The allow-list: one entry per operator, with its operands, its attributes' types and its shape rule."""

from __future__ import annotations

from collections.abc import Mapping

from paddock.program.operators.convolution import CONVOLUTION
from paddock.program.operators.elementwise import ELEMENTWISE
from paddock.program.operators.entry import Operator
from paddock.program.operators.layout import LAYOUT
from paddock.program.operators.numbers import NUMBERS
from paddock.program.operators.products import PRODUCTS
from paddock.program.operators.reduction import REDUCTION
from paddock.program.operators.structure import STRUCTURE

OPERATORS: Mapping[str, Operator] = {
    **STRUCTURE,
    **NUMBERS,
    **ELEMENTWISE,
    **PRODUCTS,
    **CONVOLUTION,
    **REDUCTION,
    **LAYOUT,
}

__all__ = ["OPERATORS", "Operator"]
