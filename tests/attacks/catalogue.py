"""The attack suite: one list that the tests try and docs/attacks.md is made from.

An attack is a function that does what an attacker would do, with nothing but what that attacker has:

    @attack(
        "host-revoked-contract",
        Actor.HOST,
        "a revoked contract is run on",
        what="The host has keys released under a contract that its party revoked.",
        stops="The keeper looks its revocations up before it decides.",
        enforced=("release.decision",),
        rules=("R-3",),
        threats=(14,),
        codes=(Revoked,),
        claims=at_all_levels(),
        off=lambda: without(decide, "if facts.revoked is not None:"),
    )
    def revoked_contract(ground: Ground) -> str:
        grant = ground.judge(revoked="enough")    # refused: an error of the tree leaves the function
        return f"keys of {len(grant.assets)} assets"    # succeeded: what was got, in words

It is tried twice: with the one check that stops it taken away, where it must succeed, else the defence would be proven
against a harmless attack; and with everything in place, at every level that claims it, where it must be refused by one of
`codes`. At the other levels the catalogue says why nothing is claimed; where `tried` says so, that it succeeds is shown.

Jobs are attacked from inside their walls, where refusals are errors of the operating system. Such a function returns an
`Outcome` of its own making (`Outcome.refused("EPERM")`) and asks `ground.defended` which defences to build; `of_jobs()`
are its claims, and `alike=True` says that walls are the same at each of these levels, so that one is tried. Modules of
this folder are found by themselves; those called `test_…` are not read.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import importlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from paddock.contract.levels import Level
from paddock.contract.terms import read_terms
from paddock.errors import PaddockError
from tests.attacks.ground import Ground


class Actor(enum.StrEnum):
    """Who attacks; in the order of the documents."""

    JOB = "a malicious job"
    HOST = "a malicious host, operator or executor"
    HUB = "a malicious hub"
    STORE = "a malicious store"
    NETWORK = "a keeper's client, or the network"
    PARTY = "another party"
    DEVELOPER = "a model's developer"


class Mark(enum.StrEnum):
    """What a cell of the table level x attack says."""

    REFUSED = "refused"
    OPEN = "not claimed, and shown to succeed"
    UNCLAIMED = "not claimed"
    ABSENT = "no such way in"


@dataclass(frozen=True)
class Cell:
    """One level's answer to one attack; `reason` is empty where it is refused."""

    mark: Mark
    reason: str = ""


Claims: TypeAlias = Mapping[Level, Cell]
REFUSED = Cell(Mark.REFUSED)
NOTHING = "NOTHING"
"""In the place of an error's code: what the attacker looked for is not there."""


def at_all_levels() -> Claims:
    """Refused at every level."""
    return dict.fromkeys(Level, REFUSED)


def at_levels(claimed: Iterable[Level], **others: Cell) -> Claims:
    """Refused at these levels; for every other one a cell that says why not, e.g. `L1=unclaimed("…")`."""
    return {**{Level(name): cell for name, cell in others.items()}, **dict.fromkeys(claimed, REFUSED)}


def unclaimed(reason: str) -> Cell:
    """Nothing is claimed, for this reason; not tried."""
    return Cell(Mark.UNCLAIMED, reason)


def succeeds(reason: str) -> Cell:
    """Nothing is claimed, for this reason; that the attack succeeds there is shown by the tests."""
    return Cell(Mark.OPEN, reason)


def absent(reason: str) -> Cell:
    """What is attacked does not exist at this level, for this reason."""
    return Cell(Mark.ABSENT, reason)


NO_WALLS_AT_L1 = unclaimed("a job at L1 runs with the rights of its user: any code, open network")
NO_CODE_AT_L5 = absent("no party's code runs at L5: a step of kind `script` is refused (job-script-at-l5)")


def of_jobs() -> Claims:
    """Refused at L2 to L4, where scripts run inside walls; not claimed at L1; at L5 there is no script."""
    return at_levels((Level.L2, Level.L3, Level.L4), L1=NO_WALLS_AT_L1, L5=NO_CODE_AT_L5)


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt.

    Args:
        succeeded: whether the attacker got what it wanted.
        code: of the error that stopped it: one of the tree's, or the operating system's name of an error (`EPERM`).
        seen: in words, what was got or what stopped it.
    """

    succeeded: bool
    code: str
    seen: str

    @classmethod
    def success(cls, seen: str) -> Outcome:
        """It got this."""
        return cls(True, "", seen)

    @classmethod
    def refused(cls, code: str, seen: str = "") -> Outcome:
        """It was stopped by this."""
        return cls(False, code, seen)


@dataclass(frozen=True)
class Attack:
    """One attack, and what stands against it.

    Args:
        id: unique, begins with the actor: `host-replayed-evidence`.
        actor: who attacks.
        title: what is tried, in a few words.
        what: what is tried, in a sentence.
        stops: what stops it, in a sentence.
        enforced: modules below `paddock` where it is stopped.
        rules: ids of the specification.
        threats: rows of docs/threat-model.md.
        codes: errors of which one must stop it.
        claims: for each level what is claimed.
        attempt: does it.
        off: takes the one defence away while the block lasts.
        alike: the defence is the same at all claimed levels, and it is costly: tried at the first of them only.
        residual: what remains in spite of the defence; empty: nothing known.
    """

    id: str
    actor: Actor
    title: str
    what: str
    stops: str
    enforced: tuple[str, ...]
    rules: tuple[str, ...]
    threats: tuple[int, ...]
    codes: tuple[str, ...]
    claims: Claims
    attempt: Callable[[Ground], str | Outcome]
    off: Callable[[], AbstractContextManager[object]]
    alike: bool
    residual: str

    def levels(self, *marks: Mark) -> list[Level]:
        """Levels whose cell has one of these marks."""
        return [level for level in Level if self.claims[level].mark in marks]

    def carry_out(self, ground: Ground) -> Outcome:
        """Try it on this ground; with its defence taken away unless the ground is defended."""
        read_terms.cache_clear()  # else what was read with a check in place passes without it, and the other way round
        with contextlib.nullcontext() if ground.defended else self.off():
            try:
                seen = self.attempt(ground)
            except PaddockError as error:
                return Outcome.refused(error.code, error.detail or error.summary())
            finally:
                read_terms.cache_clear()
        return seen if isinstance(seen, Outcome) else Outcome.success(seen)


@dataclass(frozen=True)
class Residual:
    """What an attacker can do and nothing is claimed against: stated so that nobody takes it for covered."""

    actor: Actor
    title: str
    why: str


_ATTACKS: dict[str, Attack] = {}
_RESIDUALS: list[Residual] = []


def remains(*residuals: Residual) -> None:
    """Put what remains into the catalogue."""
    _RESIDUALS.extend(residuals)


def attack(
    id: str,  # noqa: A002 - it is what it is called everywhere else
    actor: Actor,
    title: str,
    *,
    what: str,
    stops: str,
    enforced: tuple[str, ...],
    threats: tuple[int, ...],
    codes: tuple[type[PaddockError] | str, ...],
    claims: Claims,
    off: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
    rules: tuple[str, ...] = (),
    alike: bool = False,
    residual: str = "",
) -> Callable[[Callable[[Ground], str | Outcome]], Callable[[Ground], str | Outcome]]:
    """Put a function into the catalogue; see `Attack` for the arguments.

    An `attempt` that asks `ground.defended` itself needs no `off`.
    """

    def enter(attempt: Callable[[Ground], str | Outcome]) -> Callable[[Ground], str | Outcome]:
        if id in _ATTACKS:
            raise ValueError(f"two attacks are called {id}")
        names = tuple(code if isinstance(code, str) else code.code for code in codes)
        _ATTACKS[id] = Attack(
            id, actor, title, what, stops, enforced, rules, threats, names, claims, attempt, off, alike, residual
        )
        return attempt

    return enter


_WITHOUT_ATTACKS = frozenset({"catalogue", "ground", "switches", "page"})


@functools.cache
def catalogue() -> tuple[Attack, ...]:
    """All attacks of the modules in this folder, by actor and in the order in which they stand there."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem not in _WITHOUT_ATTACKS and not path.stem.startswith("test_"):
            importlib.import_module(f"tests.attacks.{path.stem}")
    order = list(Actor)
    return tuple(sorted(_ATTACKS.values(), key=lambda each: order.index(each.actor)))


def residuals() -> tuple[Residual, ...]:
    """What nothing is claimed against, by actor."""
    catalogue()
    return tuple(sorted(_RESIDUALS, key=lambda each: list(Actor).index(each.actor)))
