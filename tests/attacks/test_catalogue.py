"""The catalogue has no hole: every attack is told, its rules, modules, errors and threats exist, and every cell is decided."""

from __future__ import annotations

import errno
import importlib.util
import re
import signal
from pathlib import Path

import pytest

from paddock.contract.levels import Level
from paddock.errors import CATALOGUE
from paddock.release import decide
from tests.attacks.catalogue import NOTHING, Actor, Attack, Mark, attack, catalogue
from tests.attacks.page import write_page
from tests.attacks.switches import without

_ROOT = Path(__file__).resolve().parents[2]
_PREFIXES = {
    Actor.JOB: "job-",
    Actor.HOST: "host-",
    Actor.HUB: "hub-",
    Actor.STORE: "store-",
    Actor.NETWORK: "network-",
    Actor.PARTY: "party-",
    Actor.DEVELOPER: "developer-",
}
_SYSTEM = {NOTHING, *errno.errorcode.values(), *(each.name for each in signal.Signals)}
_EACH = pytest.mark.parametrize("attack", catalogue(), ids=lambda each: each.id)


def _rules() -> set[str]:
    texts = (path.read_text(encoding="utf-8") for path in (_ROOT / "docs" / "spec").glob("*.md"))
    return {rule for text in texts for rule in re.findall(r"\*\*([A-Z]-\d{1,2})\*\*", text)}


def _threats() -> set[int]:
    text = (_ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    return {int(number) for number in re.findall(r"^\| \[?(\d+)\]?", text, re.MULTILINE)}


def test_there_are_many_and_of_every_kind() -> None:
    assert len(catalogue()) >= 100
    assert {each.actor for each in catalogue()} == set(Actor)


@_EACH
def test_it_is_told_and_what_it_names_exists(attack: Attack) -> None:
    assert re.fullmatch(r"[a-z0-9-]{6,40}", attack.id)
    assert attack.id.startswith(_PREFIXES[attack.actor])
    assert all((attack.title, attack.what, attack.stops, attack.enforced, attack.codes, attack.threats))
    assert attack.what.endswith(".")
    assert attack.stops.endswith(".")
    assert [name for name in attack.enforced if importlib.util.find_spec(f"paddock.{name}") is None] == []
    assert set(attack.rules) <= _rules()
    assert set(attack.threats) <= _threats()
    assert [code for code in attack.codes if code not in CATALOGUE and code not in _SYSTEM] == []


@_EACH
def test_every_level_is_decided_and_at_least_one_claims_it(attack: Attack) -> None:
    assert set(attack.claims) == set(Level)
    assert attack.levels(Mark.REFUSED)
    assert [level for level, cell in attack.claims.items() if (cell.mark is Mark.REFUSED) == bool(cell.reason)] == []


def test_every_row_of_the_threat_model_links_to_its_attacks() -> None:
    text = (_ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    linked = {
        int(number)
        for number, to in re.findall(r"^\| \[(\d+)\]\(attacks.md#threat-(\d+)\) \|", text, re.MULTILINE)
        if number == to
    }
    assert linked == {number for each in catalogue() for number in each.threats}, "write [N](attacks.md#threat-N)"


def test_no_two_attacks_have_one_name() -> None:
    first = catalogue()[0]
    with pytest.raises(ValueError, match=first.id):
        attack(
            first.id,
            first.actor,
            first.title,
            what=first.what,
            stops=first.stops,
            enforced=first.enforced,
            threats=first.threats,
            codes=first.codes,
            claims=first.claims,
        )(first.attempt)


def test_the_page_has_a_row_for_each_and_no_empty_cell() -> None:
    rows = [line for line in write_page("") if re.match(r"\| \[", line) and "levels.md" not in line]
    assert len(rows) == len(catalogue())
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 1 + len(Level), row
        assert all(re.fullmatch(r"refused( =)?|(open|–|no way in) \[\d+\]", cell) for cell in cells[1:]), row


def test_a_check_that_has_moved_is_noticed_and_one_that_was_taken_away_comes_back() -> None:
    before = decide.__code__
    with pytest.raises(LookupError, match="0 statements"), without(decide, "if facts.no_such_check"):
        pass
    with without(decide, "if facts.revoked is not None:"):
        assert decide.__code__ is not before
    assert decide.__code__ is before
