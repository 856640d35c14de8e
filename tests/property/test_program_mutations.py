"""Whatever is done to a saved program, the reader either reads it or refuses it; nothing else comes out."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from paddock.errors import ProgramRefused
from paddock.program import STANDARD_LIMITS, memory_bound, read_program, survey
from tests.vectors.programs_by_hand import document

_ORIGINALS = [
    document(name)
    for name in ("tables", "pictures", "series", "Branch", "NestedBranch", "BranchInLoop", "NestedLoop", "Listed")
]
# Changed counters make loops of any length: the limit on what they unroll into keeps a trial short.
_LIMITS = replace(STANDARD_LIMITS, max_operations=500)
_STRANGE: list[Any] = [
    None, True, 0, 1, -1, 2, 7, -8, 1 << 31, -(1 << 63), 1 << 70, 0.5, -1.0, 1e308, "", "x", "0.t_f32", "1.relu", "NCHW",
    "1.while", "1.if", "2.yield", "1.less_than", [], [0], [-1], [1, 2, 3], [[]], {}, {"#": "0.a_i32", "D": 1}, {"%": 3}, {"#": "0.t_vec", "D": []},
]  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [*([path] if path else []), *(place for key, child in items for place in _places(child, (*path, key)))]


_PLACES = [_places(original) for original in _ORIGINALS]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_changed_program_is_read_or_refused(data: st.DataObject) -> None:
    which = data.draw(st.integers(0, len(_ORIGINALS) - 1))
    value = copy.deepcopy(_ORIGINALS[which])
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(_PLACES[which]))
        target = value
        try:
            for key in path[:-1]:
                target = target[key]
            _change(data, target, path[-1])
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took this place away
    _read_or_refuse(json.dumps(value).encode())


def _change(data: st.DataObject, target: Any, key: Any) -> None:
    how = data.draw(st.sampled_from(["replace", "remove", "repeat"]))
    if how == "remove":
        del target[key]
    elif how == "repeat" and isinstance(target, list):
        target.insert(key, copy.deepcopy(target[key]))
    else:
        target[key] = copy.deepcopy(data.draw(st.sampled_from(_STRANGE)))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_are_read_or_refused(data: bytes) -> None:
    _read_or_refuse(data)


def _read_or_refuse(data: bytes) -> None:
    try:
        program = read_program(data, _LIMITS)
    except ProgramRefused:
        assert survey(data, _LIMITS)[0] is None
        return
    assert survey(data, _LIMITS) == (program, ())
    assert memory_bound(program, 4, training=True) >= memory_bound(program, 4, training=False) > 0
