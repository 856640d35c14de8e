"""A short run of the fuzzer with a fixed seed; the long one is `make fuzz`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from paddock.errors import PaddockError
from paddock.evidence.provider import installed_providers
from tests.evidence.matrix import VENDORS, Attempt, samples
from tests.fuzz.targets import signatures_off, targets

ROOT = Path(__file__).resolve().parents[2]
RUNS = 2000


def fuzz(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz", "--folder", str(folder), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_no_parser_breaks_on_what_it_is_given(tmp_path: Path) -> None:
    done = fuzz(tmp_path, "--runs", str(RUNS))
    assert done.returncode == 0, done.stdout + done.stderr
    named = {line.split()[1].rstrip(":") for line in done.stdout.splitlines()}
    assert named == {each.name for each in targets()} >= set(installed_providers())
    assert all(f"Done {RUNS} runs" in line for line in done.stdout.splitlines())


def test_a_fault_is_found(tmp_path: Path) -> None:
    done = fuzz(tmp_path, "--only", "fault,hang", "--runs", "200000")
    assert done.returncode == 1
    assert "FOUND fault" in done.stdout
    assert "KeyError" in done.stdout
    assert "FOUND hang" in done.stdout
    assert "took longer" in done.stdout


def test_every_parser_begins_with_something() -> None:
    assert all(each.seeds for each in targets())


@pytest.mark.parametrize("name", VENDORS)
def test_what_stands_behind_signatures_is_reached(name: str) -> None:
    # A changed signature is no obstacle to the fuzzer; to the verifier it is one, as tests/evidence shows.
    provider, sample = installed_providers()[name], samples(name)[0]

    def read(attempt: Attempt) -> bool:
        trust = attempt.policy.section(name)
        try:
            provider.verify(attempt.evidence.body, trust=trust, collateral=attempt.collateral, now=attempt.now)
        except PaddockError:
            return False
        return True

    assert read(sample.genuine)
    with signatures_off():
        assert read(sample.genuine)
        assert any(read(attempt) for attempt in sample.attempts("signature-bit"))
    assert not any(read(attempt) for attempt in sample.attempts("signature-bit"))
