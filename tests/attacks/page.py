"""docs/attacks.md, from the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from paddock.contract.levels import LEVELS, Level
from tests.attacks.catalogue import Actor, Attack, Mark, catalogue, residuals

_SHORT = {Mark.REFUSED: "refused", Mark.OPEN: "open", Mark.UNCLAIMED: "–", Mark.ABSENT: "no way in"}


def write_page(made: str) -> list[str]:
    """The lines of the page; `made` says where it comes from."""
    attacks = catalogue()
    lines = [
        "# Attacks",
        "",
        made,
        "",
        f"{len(attacks)} attacks, each really carried out by the tests, twice: with the one check taken away that stops it,",
        "where it must succeed, and with everything in place, at the levels that claim it, where it must be refused by the",
        "error that stands here. `NOTHING` says that what the attacker looked for was not there. `paddock demo attacks` carries",
        "some of them out before your eyes.",
        "",
        "## Level by level",
        "",
        *_by_level(attacks),
    ]
    for actor in Actor:
        lines += ["", f"## By {actor}", "", *_by_actor(each for each in attacks if each.actor is actor)]
    lines += ["", "## What remains in spite of the defences", "", *_residuals(attacks)]
    lines += ["", "## By threat", "", "Rows of [threat-model.md](threat-model.md).", *_by_threat(attacks)]
    return lines


def _by_level(attacks: Iterable[Attack]) -> Iterator[str]:
    reasons: dict[str, int] = {}
    names = {level: f"[{level}](levels.md#{level.lower()}-{LEVELS[level].title.replace(' ', '-')})" for level in Level}
    yield f"| attack | {' | '.join(names.values())} |"
    yield f"| --- |{' --- |' * len(names)}"
    for each in attacks:
        cells = []
        for level in Level:
            cell = each.claims[level]
            number = f" [{reasons.setdefault(cell.reason, len(reasons) + 1)}]" if cell.reason else ""
            same = (
                " =" if each.alike and cell.mark is Mark.REFUSED and level is not each.levels(Mark.REFUSED)[0] else ""
            )
            cells.append(_SHORT[cell.mark] + number + same)
        yield f"| {_link(each)} | {' | '.join(cells)} |"
    yield ""
    yield "*refused*: claimed, and shown by a test. *refused =*: claimed, by the very code that is shown at the first such level."
    yield "*open*: not claimed, and a test shows that it succeeds. *–*: not claimed."
    yield "*no way in*: what is attacked does not exist at that level."
    yield ""
    yield from (f"{number}. {_cell(reason)}." for reason, number in reasons.items())


def _by_actor(attacks: Iterable[Attack]) -> Iterator[str]:
    yield "| id | what is tried | what stops it | error | rules | enforced in |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for each in attacks:
        cells = (
            f'<a id="{each.id}"></a>`{each.id}`',
            each.what,
            each.stops,
            " ".join(f"`{code}`" for code in each.codes),
            ", ".join(each.rules),
            ", ".join(f"`{module}`" for module in each.enforced),
        )
        yield f"| {' | '.join(map(_cell, cells))} |"


def _residuals(attacks: Iterable[Attack]) -> Iterator[str]:
    yield from (f"- By {each.actor}: **{_cell(each.title)}**. {_cell(each.why)}" for each in residuals())
    yield from (f"- {_link(each)}: {_cell(each.residual)}" for each in attacks if each.residual)


def _by_threat(attacks: tuple[Attack, ...]) -> Iterator[str]:
    for number in sorted({number for each in attacks for number in each.threats}):
        yield ""
        yield f"### Threat {number}"
        yield ""
        yield from (f"- {_link(each)}" for each in attacks if number in each.threats)


def _link(attack: Attack) -> str:
    return f"[{_cell(attack.title)}](#{attack.id})"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
