"""Every error code is raised somewhere and documented."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from docs.generate import errors
from paddock.errors import CATALOGUE

_ROOT = Path(__file__).resolve().parents[2]
_SOURCE = _ROOT / "src" / "paddock"


def _used_names() -> set[str]:
    """Names that code reads, other than to import or to catch them."""
    names: set[str] = set()
    for path in _SOURCE.rglob("*.py"):
        if path == _SOURCE / "errors.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        caught = {
            id(node)
            for handler in ast.walk(tree)
            if isinstance(handler, ast.ExceptHandler) and handler.type is not None
            for node in ast.walk(handler.type)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and id(node) not in caught:
                names.add(node.id)
            elif isinstance(node, ast.Attribute) and id(node) not in caught:
                names.add(node.attr)
    return names


def test_every_code_is_raised_somewhere() -> None:
    used = _used_names()
    assert sorted(code for code, cls in CATALOGUE.items() if cls.__name__ not in used) == []


def test_every_code_has_its_form_and_its_exit_code() -> None:
    for code, cls in CATALOGUE.items():
        assert re.fullmatch(r"E-[A-Z]+-\d\d", code), code
        assert cls.exit_code in {3, 4, 5}, code
        assert cls.summary().endswith("."), code
        assert cls.action.endswith((".", "?")), code


def test_every_code_is_documented() -> None:
    text = (_ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert sorted(code for code in CATALOGUE if f"`{code}`" not in text) == []
    assert text == errors(), "docs/errors.md is not what the code says; run `make docs`"
