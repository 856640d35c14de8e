"""What the repository's files may not hold, and what its locks must."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ROOT = Path(__file__).resolve().parents[2]
_LOCKS = ("requirements.lock", "requirements-enclave.lock")
_MACHINE = re.compile(
    # Occlum's own folder is the same on every machine that has it.
    r"(?<![\w.\-/*])/(?:work|root|home|Users|opt(?!/occlum/)|farm|tmp|mnt)/[\w.]"
    r"|https?://[\w.\-]*(?:pypi\.|pythonhosted\.|devpi|artifactory|anaconda\.|mirrors?\.)"
)


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=_ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout, so there is no list of tracked files")
    paths = [_ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_no_file_names_a_machine_or_an_index() -> None:
    found = []
    for path in _tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if match := _MACHINE.search(line):
                found.append(f"{path.relative_to(_ROOT)}:{number}: {match[0]}")
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "see /" + "home/ann/x",
        "folder:/" + "tmp/x",
        'Path("/' + 'opt/wheels")',
        "https://" + "pypi.org/simple",
    ],
)
def test_what_names_a_machine_is_recognised(line: str) -> None:
    assert _MACHINE.search(line)


@pytest.mark.parametrize("name", _LOCKS)
def test_a_lock_pins_every_package_by_hash_and_names_no_index(name: str) -> None:
    text = (_ROOT / name).read_text(encoding="utf-8")
    for entry in re.split(r"\n(?! )", text.strip()):
        assert re.match(r"[a-z0-9.\-]+(\[[a-z0-9, \-]+\])?==[^ ;]+( ; [^\\]+)? \\\n", entry), entry
        assert re.fullmatch(r"( {4}--hash=sha256:[0-9a-f]{64}( \\\n)?)+", entry.partition("\n")[2]), entry


def test_the_enclave_holds_nothing_that_the_whole_lock_does_not() -> None:
    whole, enclave = ((_ROOT / name).read_text(encoding="utf-8") for name in _LOCKS)
    assert set(enclave.splitlines()) <= set(whole.splitlines())
    assert "pytest" not in enclave


def test_the_lock_holds_every_declared_package_at_a_version_that_is_allowed() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for group in (
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    ):
        declared += group
    pinned: dict[str, list[str]] = {}
    for line in (_ROOT / _LOCKS[0]).read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([^ \[]+)(?:\[[^]]*\])?==([^ ]+)", line):
            pinned.setdefault(canonicalize_name(match[1]), []).append(match[2])
    for requirement in map(Requirement, declared):
        versions = pinned.get(canonicalize_name(requirement.name), [])
        assert versions, f"{requirement.name} is not locked; run `make lock`"
        assert all(requirement.specifier.contains(version) for version in versions), f"{requirement}; run `make lock`"
