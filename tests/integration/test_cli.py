"""The command as a script sees it: JSON, exit codes by branch, help with examples, sentences that say what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paddock.testing.stage import Stage


def paddock(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "paddock.cli.main", *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


def as_json(*arguments: str, code: int = 0) -> Any:
    return json.loads(paddock(*arguments, "--json", code=code).stdout)


def test_a_wrong_use_exits_with_2() -> None:
    assert "Usage" in paddock("contract", "nonsense", code=2).stderr


def test_no_home_is_misconfigured_and_exits_with_5(tmp_path: Path) -> None:
    done = paddock("party", "show", "--home", str(tmp_path / "none"), code=5)
    assert "E-PARTY-01" in done.stderr
    assert "paddock init" in done.stderr
    body = as_json("party", "show", "--home", str(tmp_path / "none"), code=5)
    assert body["error"]["code"] == "E-PARTY-01"


def test_a_hub_that_does_not_answer_is_unavailable_and_exits_with_4(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    paddock("init", "north", "--home", home, "--hub", "http://127.0.0.1:9")
    done = paddock("contract", "list", "--home", home, code=4)
    assert "http://127.0.0.1:9" in done.stderr


def test_a_home_is_never_made_twice(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    first = as_json("init", "north", "--home", home)
    keys = (tmp_path / "home" / "keys.json").read_bytes()
    paddock("init", "north", "--home", home, code=5)
    assert (tmp_path / "home" / "keys.json").read_bytes() == keys
    assert as_json("party", "show", "--home", home)["fingerprint"] == first["fingerprint"]


def test_keys_that_others_can_read_are_not_used(tmp_path: Path) -> None:
    home = tmp_path / "home"
    paddock("init", "north", "--home", str(home))
    (home / "keys.json").chmod(0o644)
    assert "chmod 600" in paddock("party", "show", "--home", str(home), code=5).stderr


def test_another_fingerprint_is_refused_and_exits_with_3(stage: Stage) -> None:
    home = str(stage.folder / "north")
    wrong = "AAAA-" * 12 + "AAAA"
    body = as_json("party", "add", "modelco", wrong, "--home", home, code=3)
    assert body["error"]["code"] == "E-PARTY-02"
    paddock("party", "add", "modelco", "not a fingerprint", "--home", home, code=3)
    right = as_json("party", "show", "--home", str(stage.folder / "modelco"))["fingerprint"]
    assert as_json("party", "add", "modelco", right.lower().replace("-", " "), "--home", home)["fingerprint"] == right


def test_a_contract_is_proposed_shown_signed_run_and_fetched(stage: Stage, tmp_path: Path) -> None:
    north, modelco = str(stage.folder / "north"), str(stage.folder / "modelco")
    proposal = stage.propose()
    short = proposal.id.removeprefix("sha256:")[:10]
    shown = as_json("contract", "show", short, "--home", north)
    assert shown["missing"] == ["north"]
    text = paddock("contract", "show", short, "--home", north).stdout
    assert "SIMULATED" in text
    assert "L5" in text
    assert as_json("contract", "sign", short, "--home", north)["missing"] == []
    done = as_json("run", short, "--follow", "--home", modelco)
    assert done["simulated"] is True
    run = done["run"]
    assert run in [row["run"] for row in as_json("runs", "--home", north)]
    got = as_json("results", run, "--output", str(tmp_path / "out"), "--home", modelco)
    assert set(got["outputs"]) == {"weights", "curve"}
    again = paddock("results", run, "--output", str(tmp_path / "out"), "--home", modelco, code=5)
    assert "E-STORE-09" in again.stderr
    paddock("results", run, "--output", str(tmp_path / "out"), "--overwrite", "--home", modelco)
    verified = as_json("receipt", "verify", str(tmp_path / "out" / "receipt.json"), "--home", north)
    assert verified["verified"] is True
    assert as_json("receipt", "verify", run, "--home", north)["contract"] == proposal.id
    released = as_json("keeper", "releases", "--home", north)["releases"]
    assert run in [row["run"] for row in released]
    assert all(row["simulated"] for row in released)


def test_a_contract_is_rejected_with_a_reason_that_others_see(stage: Stage) -> None:
    proposal = stage.propose()
    paddock("contract", "reject", proposal.id, "--reason", "too many runs", "--home", str(stage.folder / "north"))
    shown = as_json("contract", "show", proposal.id, "--home", str(stage.folder / "modelco"))
    assert shown["state"] == "cancelled"
    assert shown["reason"] == "too many runs"
    assert as_json("contract", "sign", proposal.id, "--home", str(stage.folder / "north"), code=3)


def test_a_draft_with_faults_names_them(stage: Stage, tmp_path: Path) -> None:
    home = str(stage.folder / "modelco")
    (tmp_path / "bad.toml").write_text('titel = "x"\n')
    error = as_json("contract", "propose", str(tmp_path / "bad.toml"), "--home", home, code=3)["error"]
    assert error["code"] == "E-CONTRACT-07"
    assert "titel" in error["detail"]
    assert as_json("contract", "propose", str(tmp_path / "none.toml"), "--home", home, code=5)["error"]["code"]


@pytest.mark.parametrize("level", ["L1", "L2", "L3", "L4", "L5"])
def test_levels_are_explained(level: str) -> None:
    body = as_json("level", "explain", level)
    assert body["level"] == level
    assert body["does_not_protect_from"]


def test_the_measurement_is_the_same_twice() -> None:
    assert as_json("measure")["digest"] == as_json("measure")["digest"]


def test_doctor_says_what_is_there_and_what_to_install() -> None:
    findings = as_json("doctor")
    assert {row["area"] for row in findings} == {
        "python",
        "packages",
        "devices",
        "attesters",
        "tools",
        "limits",
        "walls",
    }
    assert all(row["ok"] or row["advice"] for row in findings)


def test_jobs_are_explained() -> None:
    assert set(as_json("job", "list")) >= {"train", "evaluate", "predict"}
    assert as_json("job", "explain", "train")["outputs"]
