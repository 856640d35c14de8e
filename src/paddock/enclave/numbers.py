"""Numbers as they leave: rounded, and counted over the whole run, where the level says so.

An output of type `metrics` or `curve` is JSON. What a level bounds is what such files and live progress could carry beside
what they are for: a number has as many digits as it needs to tell how good a network is, and there are as many as a
picture needs.

Source: docs/spec/contract.md §6 (L-10).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from paddock.contract.levels import LEVELS, Level
from paddock.contract.output_types import OutputType
from paddock.crypto.canonical import parse
from paddock.errors import EncodingRefused, NumbersRefused
from paddock.jobs.inputs import json_file

_NUMERIC = frozenset({OutputType.METRICS, OutputType.CURVE})
_MOST_NAME = 64


class NumberControl:
    """What of a run's numbers may leave.

    Args:
        level: of the contract.
    """

    def __init__(self, level: Level) -> None:
        self._bounds = LEVELS[level].numbers
        self._left = 0 if self._bounds is None else self._bounds.most
        self._told = 0 if self._bounds is None else self._bounds.most
        self._lock = threading.Lock()

    def output(self, name: str, kind: OutputType, files: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """An output's files as they may leave.

        Args:
            name: of the output.
            kind: its type.
            files: path to content.

        Raises:
            NumbersRefused: one is no JSON of numbers under names, or there are more numbers than the level lets out of
                one run (L-10).
        """
        if self._bounds is None or kind not in _NUMERIC:
            return files
        return {path: self._file(name, path, content) for path, content in sorted(files.items())}

    def progress(self, values: Mapping[str, float]) -> Mapping[str, float] | None:
        """Numbers of live progress as they may be shown; None: enough were shown in this run (L-10)."""
        if self._bounds is None:
            return values
        with self._lock:
            if len(values) > self._told:
                return None
            self._told -= len(values)
        return {name: self._bounds.rounded(value) for name, value in values.items()}  # L-10

    def _file(self, name: str, path: str, content: bytes) -> bytes:
        if not path.endswith(".json"):
            raise NumbersRefused(f"Output '{name}' holds a file that is no .json.")
        try:
            value = self._rounded(name, parse(content))
        except EncodingRefused as error:
            raise NumbersRefused(f"Output '{name}' holds a file that is not JSON.") from error
        return json_file(value)

    def _rounded(self, name: str, value: Any) -> Any:
        if isinstance(value, dict):
            if any(len(key) > _MOST_NAME for key in value):
                raise NumbersRefused(f"Output '{name}' names a number in more than {_MOST_NAME} signs.")
            return {key: self._rounded(name, each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._rounded(name, each) for each in value]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise NumbersRefused(f"Output '{name}' holds something else than numbers under names.")
        if self._bounds is None or self._left == 0:  # L-10
            raise NumbersRefused("The outputs of the run hold more numbers than the level lets out of it.")
        self._left -= 1
        return self._bounds.rounded(value)  # L-10
