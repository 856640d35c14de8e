"""Every command, option and level is in the documents that are made from the code."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from docs.generate import DOCUMENTS, commands, main
from paddock.cli.main import app

_DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_a_document_is_what_the_code_says(name: str) -> None:
    assert (_DOCS / name).read_text(encoding="utf-8") == DOCUMENTS[name][1](), "run `make docs`"


def test_every_command_and_option_is_documented_and_explained() -> None:
    text = (_DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    missing = []
    for path, command in commands(typer.main.get_command(app), "paddock"):
        _, heading, rest = text.partition(f"\n## `{path}`\n")
        section = rest.partition("\n## ")[0]
        if not heading or not (command.help or "").strip():
            missing.append(path)
        for parameter in command.params:
            if getattr(parameter, "hidden", False):
                continue
            names = [name for name in parameter.opts if name.startswith("-")] or [str(parameter.opts[0]).upper()]
            if any(f"`{name}`" not in section for name in names) or not getattr(parameter, "help", None):
                missing.append(f"{path} {names[0]}")
    assert missing == []


def test_a_stale_document_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docs.generate._DOCS", tmp_path)
    assert main(["--check"]) == 1
    assert list(tmp_path.iterdir()) == []
    assert main([]) == 0
    assert main(["--check"]) == 0
    (tmp_path / "errors.md").write_text("# Errors\n", encoding="utf-8")
    assert main(["--check"]) == 1
