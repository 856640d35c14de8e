"""Measuring the runtime that is installed here."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from paddock.crypto.canonical import canonical
from paddock.crypto.digest import sha256_id
from paddock.errors import RuntimeIncomplete
from paddock.evidence import measurement as measuring


def test_what_the_enclave_needs_is_followed_to_its_ends() -> None:
    closure = measuring.needed_distributions(measuring._ROOTS)
    assert {"paddock", "cryptography", "cffi", "pydantic-core", "paddlepaddle", "numpy"} <= set(closure)
    assert "pytest" not in closure


def test_a_runtime_that_lacks_something_has_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = metadata.distribution

    def lacking(name: str) -> metadata.Distribution:
        if name == "cffi":
            raise metadata.PackageNotFoundError(name)
        return genuine(name)

    monkeypatch.setattr(metadata, "distribution", lacking)
    with pytest.raises(RuntimeIncomplete, match="cffi"):
        measuring.measure_runtime()


def test_the_digest_is_over_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"paddock": metadata.distribution("paddock"), "rfc8785": metadata.distribution("rfc8785")}
    monkeypatch.setattr(measuring, "needed_distributions", lambda _roots: small)
    seen: list[str] = []
    measured = measuring.measure_runtime(seen.append)
    shown = measured.to_dict()
    digest = shown.pop("digest")
    assert digest == measured.digest == sha256_id(canonical(shown))
    assert seen == ["paddock", "rfc8785"]
    assert set(measured.distributions["rfc8785"]) == {"version", "digest"}


def test_the_stamp_tells_that_a_file_was_touched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = tmp_path / "core.py"
    module.write_text("x = 1", encoding="utf-8")
    monkeypatch.setattr(measuring, "needed_distributions", lambda _roots: {"paddock": metadata.distribution("paddock")})
    gone = ("gone.py", tmp_path / "gone.py")
    monkeypatch.setattr(measuring, "_package_files", lambda _package: [("core.py", module), gone])
    before = measuring.runtime_stamp()
    assert before == measuring.runtime_stamp()
    module.write_text("x = 22", encoding="utf-8")
    assert measuring.runtime_stamp() != before
    assert measuring._digest(gone[1]) == "missing"


def test_what_is_installed_is_read_again_when_an_installer_wrote(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reads: list[int] = []
    installed = {"rfc8785": metadata.distribution("rfc8785")}

    def found(_roots: object) -> dict[str, metadata.Distribution]:
        reads.append(1)
        return installed

    monkeypatch.setattr(measuring, "needed_distributions", found)
    monkeypatch.setattr(measuring, "_package_files", lambda _package: [])
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    runtime = measuring.RuntimeStamp()
    assert runtime.now() == runtime.now()
    assert len(reads) == 1
    (tmp_path / "another.dist-info").mkdir()
    runtime.now()
    assert len(reads) == 2
