"""Every attack succeeds where its defence is taken away, and is refused at every level that claims it."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.contract.levels import Level
from tests.attacks.catalogue import Attack, Mark, catalogue
from tests.attacks.ground import Ground

_ATTACKS = catalogue()
_FIRST = pytest.mark.parametrize("attack", _ATTACKS, ids=lambda each: each.id)


def _cells(*marks: Mark) -> list[tuple[Attack, Level]]:
    cells = []
    for each in _ATTACKS:
        levels = each.levels(*marks)
        cells += [(each, level) for level in (levels[:1] if each.alike else levels)]
    return cells


def _named(cells: list[tuple[Attack, Level]]) -> list[str]:
    return [f"{each.id}-{level}" for each, level in cells]


@_FIRST
def test_it_succeeds_where_its_defence_is_taken_away(attack: Attack, tmp_path: Path) -> None:
    level = attack.levels(Mark.REFUSED)[-1]
    outcome = attack.carry_out(Ground(level, defended=False, folder=tmp_path))
    assert outcome.succeeded, f"it was stopped all the same: {outcome.code} {outcome.seen}"
    assert outcome.seen, "what was got?"


@pytest.mark.parametrize(("attack", "level"), _cells(Mark.REFUSED), ids=_named(_cells(Mark.REFUSED)))
def test_it_is_refused_where_that_is_claimed(attack: Attack, level: Level, tmp_path: Path) -> None:
    outcome = attack.carry_out(Ground(level, defended=True, folder=tmp_path))
    assert not outcome.succeeded, f"the attacker has {outcome.seen}"
    assert outcome.code in attack.codes, f"stopped by {outcome.code}: {outcome.seen}"


@pytest.mark.parametrize(("attack", "level"), _cells(Mark.OPEN), ids=_named(_cells(Mark.OPEN)))
def test_it_succeeds_where_nothing_is_claimed(attack: Attack, level: Level, tmp_path: Path) -> None:
    outcome = attack.carry_out(Ground(level, defended=True, folder=tmp_path))
    assert outcome.succeeded, f"claim it: {outcome.code} stopped it at {level}"
