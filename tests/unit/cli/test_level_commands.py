"""What `paddock level` says is what the table says, and what it finds here is what is here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner

from paddock.cli import level_commands
from paddock.cli.level_commands import apart, examine_level, given_here, level_facts, rules, verdict
from paddock.cli.main import app
from paddock.contract.levels import LEVELS, Level, LevelPolicy

RUNNER = CliRunner()


@dataclass
class Device:
    there: bool

    def available(self) -> bool:
        return self.there


def here(policy: LevelPolicy, *present: str, executors: bool = True) -> Any:
    known: Any = {
        name: Device(name in present) for name in ("host", "tpm", "tsm", "sev-guest", "nsm", "gramine", "occlum")
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(level_commands, "_executor", lambda name: level_commands.Missing("executor", name, executors, ""))
        return examine_level(policy, known)


@pytest.mark.parametrize("level", Level)
def test_a_level_is_explained_whole(level: Level) -> None:
    said = RUNNER.invoke(app, ["level", "explain", level.value]).output
    facts = json.loads(RUNNER.invoke(app, ["level", "explain", level.value, "--json"]).stdout)
    policy = LEVELS[level]
    for words in (policy.demands, policy.allows, policy.protects_from, policy.does_not_protect_from):
        assert words in said.replace("\n", " ")
    assert {key: facts[key] for key in level_facts(policy)} == level_facts(policy)
    assert {row["name"] for row in facts["here"]} >= set(policy.executors)
    assert all(row["there"] or row["why"] for row in facts["here"])
    assert all(words for _, words in rules(policy))


def test_all_levels_are_listed() -> None:
    listed = json.loads(RUNNER.invoke(app, ["level", "list", "--json"]).stdout)
    assert [row["level"] for row in listed] == list(Level)
    assert "sandboxed" in RUNNER.invoke(app, ["level", "list"]).output


@pytest.mark.parametrize(
    ("level", "present", "given"),
    [
        (Level.L1, (), True),
        (Level.L2, (), False),
        (Level.L2, ("tpm",), False),
        (Level.L2, ("host",), True),
        (Level.L3, ("host",), False),
        (Level.L3, ("tpm",), False),
        (Level.L3, ("host", "tpm"), True),
        (Level.L3, ("tsm",), True),
        (Level.L4, ("host", "tpm"), False),
        (Level.L4, ("nsm",), True),
        (Level.L5, ("gramine",), True),
        (Level.L5, ("host", "tpm"), False),
    ],
)
def test_what_a_machine_can_prove(level: Level, present: tuple[str, ...], given: bool) -> None:
    policy = LEVELS[level]
    assert given_here(policy, here(policy, *present)) is given
    assert not given_here(policy, here(policy, *present, executors=False))


@pytest.mark.parametrize(
    ("level", "environments"),
    [
        (Level.L1, []),
        (Level.L2, []),
        (Level.L3, ["confidential-vm"]),
        (Level.L4, ["confidential-vm", "nitro"]),
        (Level.L5, ["gramine", "occlum", "confidential-vm", "nitro"]),
    ],
)
def test_of_what_is_proved_inside_this_machine_says_whom_to_ask(level: Level, environments: list[str]) -> None:
    policy = LEVELS[level]
    assert apart(policy) == environments
    said = verdict(policy, here(policy, executors=False))
    assert ("cannot prove" in said) is (not environments)
    assert all(f"paddock executor check {name} --option" in said for name in environments)


def test_an_executor_that_is_not_there_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(level_commands, "plugin_names", lambda _group: ["process"])
    assert level_commands._executor("process").there
    assert level_commands._executor("gramine").why == "not part of this version"
