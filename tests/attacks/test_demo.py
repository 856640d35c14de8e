"""`paddock demo attacks` carries out at least ten attacks on this machine and shows each being refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from paddock.cli.demo import attacks as demo
from paddock.cli.demo.malice import ATTACKS
from paddock.cli.demo.malicious_jobs import JOB_ATTACKS, JobTold
from paddock.errors import DemoUnknown
from tests.attacks.catalogue import Actor, Attack, catalogue

_TRIED: dict[str, Attack] = {each.id: each for each in catalogue()}


def test_at_least_ten_are_refused_live(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "paddock.cli.main", "demo", "attacks", "--json", "--home", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    outcome = json.loads(done.stdout)
    rows = {row["id"]: row for row in outcome["attacks"]}
    assert outcome["simulated"]
    assert outcome["jobs_not_shown"] is None
    assert rows.keys() == {each.id for each in (*ATTACKS, *JOB_ATTACKS)}
    assert len(rows) >= 10
    assert sum(row["by"] == "a malicious job" for row in rows.values()) >= 4
    for row in rows.values():
        assert row["tried"]
        assert row["said"]
        assert row["rules"]
    # Each that can be shown to succeed without its defence is: all of a job's are.
    assert all(row["without"] for row in rows.values() if row["by"] == "a malicious job")
    assert [name for name, row in rows.items() if row["code"] not in _TRIED[name].codes] == []


def test_what_it_shows_is_in_the_catalogue() -> None:
    assert [each.id for each in ATTACKS if each.id not in _TRIED] == []
    assert [each.id for each in JOB_ATTACKS if _TRIED[each.id].actor is not Actor.JOB] == []


def test_an_attack_that_is_not_refused_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "try_job", lambda *_: (JobTold("", "", ""), JobTold("all records", "", "")))
    with pytest.raises(RuntimeError, match="all records"):
        demo._Play(tmp_path, quiet=True).jobs()


def test_it_makes_a_folder_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(DemoUnknown):
        demo.play(tmp_path, quiet=True)
