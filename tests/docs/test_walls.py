"""The walls between rooms stand, and a planted import is caught."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from grimp import ImportGraph

from scripts.walls import Rooms

_ROOT = Path(__file__).resolve().parents[2]
_LINT = [
    sys.executable,
    "-c",
    "from importlinter.cli import lint_imports_command; lint_imports_command()",
    "--no-cache",
]


def _options() -> dict[str, Any]:
    settings = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    options: dict[str, Any] = next(each for each in settings["contracts"] if each["id"] == "rooms")
    return options


def _broken(*imports: tuple[str, str], **changed: Any) -> list[str]:
    graph = ImportGraph()
    graph.add_module("paddock")
    for importer, imported in imports:
        for module in (importer, imported):
            parts = module.split(".")
            for end in range(1, len(parts) + 1):
                graph.add_module(".".join(parts[:end]))
        graph.add_import(importer=importer, imported=imported, line_number=1, line_contents="import")
    check = Rooms("rooms", {}, _options() | changed).check(graph, verbose=False)
    assert check.kept == (not check.metadata["broken"])
    return list(check.metadata["broken"])


def test_every_import_of_the_package_keeps_to_the_room_table() -> None:
    done = subprocess.run(_LINT, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("paddock.seal.writer", "paddock.crypto.hpke"),
        ("paddock.contract.terms", "paddock.errors"),
        ("paddock.enclave.keepers", "paddock.service.client"),
        ("paddock.crypto.hpke", "cryptography.hazmat"),
        ("paddock.jobs.train", "paddle"),
        ("paddock.hub.app", "sqlalchemy"),
        ("paddock.testing.simulator", "paddock.evidence.trust"),
    ],
)
def test_what_the_table_names_is_allowed(importer: str, imported: str) -> None:
    assert _broken((importer, imported)) == []


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("paddock.hub.app", "paddock.seal.reader"),
        ("paddock.crypto.hpke", "paddock.seal"),
        ("paddock.release.decision", "paddock.seal.datakey"),
        ("paddock.enclave.keepers", "paddock.service.web"),
        ("paddock.keeper.app", "paddock.testing.simulator"),
        ("paddock.cli.main", "paddock.enclave.boot"),
        ("paddock.seal.writer", "cryptography"),
        ("paddock.seal.writer", "cryptography.hazmat.primitives"),
        ("paddock.enclave.run", "paddle"),
        ("paddock.seal.writer", "socket"),
        ("paddock.contract.terms", "time"),
        ("paddock.release.decision", "urllib.request"),
        ("paddock.misc", "paddock.errors"),
        ("paddock.seal.writer", "paddock"),
    ],
)
def test_a_planted_import_is_caught(importer: str, imported: str) -> None:
    assert _broken((importer, imported))


def test_what_a_room_may_never_reach_is_found_on_a_way_round() -> None:
    way = (("paddock.hub.app", "paddock.ledger.log"), ("paddock.ledger.log", "paddock.keeper.app"))
    broken = _broken(*way, rooms=["hub: ledger", "ledger: keeper", "keeper:"])
    assert broken == ["hub reaches keeper: paddock.hub.app -> paddock.ledger.log -> paddock.keeper.app"]


@pytest.mark.parametrize("rooms", [["seal: crypto"], ["seal: crypto", "crypto: seal"], ["seal"], ["seal:", "seal:"]])
def test_a_table_that_does_not_add_up_is_an_error(rooms: list[str]) -> None:
    with pytest.raises(ValueError, match=r"no row|circle|twice"):
        _broken(rooms=rooms)


def test_the_linter_itself_ends_with_an_error_on_a_planted_import(tmp_path: Path) -> None:
    for name, text in {
        "errors": "",
        "seal": "import planted.crypto\nimport cryptography\n",
        "crypto": "",
    }.items():
        (tmp_path / "planted").mkdir(exist_ok=True)
        (tmp_path / "planted" / f"{name}.py").write_text(text, encoding="utf-8")
    (tmp_path / "planted" / "__init__.py").touch()
    settings = (
        "[tool.importlinter]\nroot_package = 'planted'\ninclude_external_packages = true\n"
        "contract_types = ['rooms: scripts.walls.Rooms']\n"
        "[[tool.importlinter.contracts]]\nname = 'rooms'\ntype = 'rooms'\nroot = 'planted'\n"
        "rooms = ['errors:', 'crypto: errors', 'seal: crypto']\n"
        "only = ['cryptography: crypto']\nnever = []\noutside = []\n"
    )
    (tmp_path / "pyproject.toml").write_text(settings, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": f"{_ROOT}{os.pathsep}{tmp_path}"}
    done = subprocess.run(_LINT, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "planted.seal imports cryptography" in " ".join(done.stdout.split())
