"""Every numbered rule stands in a specification, in the code that enforces it, in a test that tries to break it, and in
the threat table."""

from __future__ import annotations

import ast
import re
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_STATED = re.compile(r"^\s*(?:[-*] |\| ?)?\*\*([SCARLPJGVDKW]-\d{1,2})\*\*", re.MULTILINE)
_NAMED = re.compile(r"(?<![\w-])([SCARLPJGVDKW]-\d{1,2})(?![\w-])")
_RANGE = re.compile(r"\b([SCARLPJGVDKW])-(\d{1,2})(?: to \1-(\d{1,2}))?")
_TEST = re.compile(r"test_([scarlpjgvdkw])(\d{1,2})_")


def _stated() -> dict[str, str]:
    rules: dict[str, str] = {}
    for path in sorted((_ROOT / "docs" / "spec").glob("*.md")):
        for rule in _STATED.findall(path.read_text(encoding="utf-8")):
            assert rule not in rules, f"{rule} is stated in {rules[rule]} and again in {path.name}"
            rules[rule] = path.name
    return rules


def _named_in_code() -> set[str]:
    texts = (path.read_text(encoding="utf-8") for path in (_ROOT / "src").rglob("*.py"))
    return {rule for text in texts for rule in _NAMED.findall(text)}


def _tested() -> set[str]:
    rules = set()
    for path in (_ROOT / "tests" / "spec").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (match := _TEST.match(node.name)):
                rules.add(f"{match[1].upper()}-{match[2]}")
    return rules


def _in_the_threat_table() -> set[str]:
    text = (_ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    rows = "\n".join(line for line in text.splitlines() if line.startswith("| "))
    return {
        f"{letter}-{number}"
        for letter, first, last in _RANGE.findall(rows)
        for number in range(int(first), int(last or first) + 1)
    }


def test_there_are_rules() -> None:
    assert _stated()


def test_every_rule_is_enforced_by_code_that_names_it() -> None:
    assert sorted(_stated().keys() - _named_in_code()) == []


def test_every_rule_has_a_test_that_tries_to_break_it() -> None:
    assert sorted(_stated().keys() - _tested()) == []


def test_the_code_names_no_rule_that_is_not_stated() -> None:
    assert sorted(_named_in_code() - _stated().keys()) == []


def test_every_rule_answers_a_threat_and_no_threat_names_another() -> None:
    assert sorted(_stated().keys() ^ _in_the_threat_table()) == []


def test_no_test_is_for_a_rule_that_is_not_stated() -> None:
    assert sorted(_tested() - _stated().keys()) == []


def test_the_numbers_of_each_letter_have_no_gap() -> None:
    for letter in sorted({rule[0] for rule in _stated()}):
        numbers = sorted(int(rule[2:]) for rule in _stated() if rule[0] == letter)
        assert numbers == list(range(1, len(numbers) + 1)), letter
