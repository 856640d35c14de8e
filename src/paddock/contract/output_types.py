"""What an output is: a closed list of types, what each may hold, and what a draft takes when it names none.

Source: docs/spec/contract.md §2 (C-21, L-8).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

MAX_OUTPUT_BYTES = 1 << 44


class OutputType(enum.StrEnum):
    """What an output's files hold."""

    WEIGHTS = "weights"
    METRICS = "metrics"
    CURVE = "curve"
    TABLE = "table"
    TEXT = "text"
    FILES = "files"

    @property
    def is_free(self) -> bool:
        """Whether it can carry words of whoever wrote the job, and so anything at all."""
        return self in _FREE

    @property
    def meaning(self) -> str:
        """What its files are, in words."""
        return _MEANINGS[self]


_FREE = frozenset({OutputType.TEXT, OutputType.FILES})
_MEANINGS: Mapping[OutputType, str] = MappingProxyType(
    {
        OutputType.WEIGHTS: "tensors as .safetensors, and how their inputs were normalised as .json",
        OutputType.METRICS: "numbers under names, as .json",
        OutputType.CURVE: "numbers by epoch, as .json",
        OutputType.TABLE: "rows of numbers under a header, as .csv",
        OutputType.TEXT: "words: UTF-8 text, such as a report or what a script printed",
        OutputType.FILES: "any files",
    }
)

# Of built-in jobs by their output's name; a party's script can name its outputs as it likes.
_BUILT_IN: Mapping[str, OutputType] = MappingProxyType(
    {
        "weights": OutputType.WEIGHTS,
        "curve": OutputType.CURVE,
        "metrics": OutputType.METRICS,
        "predictions": OutputType.TABLE,
    }
)
_OF_SCRIPTS: Mapping[str, OutputType] = MappingProxyType({"log": OutputType.TEXT})
_MOST: Mapping[OutputType, int] = MappingProxyType(
    {
        OutputType.WEIGHTS: 1 << 30,
        OutputType.METRICS: 64 << 10,
        OutputType.CURVE: 1 << 20,
        OutputType.TABLE: 256 << 20,
        OutputType.TEXT: 1 << 20,
        OutputType.FILES: 1 << 30,
    }
)


def usual_type(output: str, *, built_in: bool) -> OutputType:
    """The type that a draft takes for an output that names none.

    Args:
        output: the output's name within its step.
        built_in: whether its step is a built-in job, whose outputs are known.
    """
    return (_BUILT_IN if built_in else _OF_SCRIPTS).get(output, OutputType.FILES)


def usual_max_bytes(kind: OutputType) -> int:
    """The size that a draft allows an output of this type which names none."""
    return _MOST[kind]
