"""Whole runs whose jobs are behind the gateway: in walls at L2 to L4, scripts at every level that takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from paddock.contract.asset import AssetKind
from paddock.contract.signing import Proposal
from paddock.crypto.moment import write_moment
from paddock.errors import DraftRefused, OutputRefused, RunTooLong, ScriptFailed
from paddock.party.results import fetch_results
from paddock.testing.stage import MARKER, Stage

_SCRIPT = """
import csv, json, os, sys
import numpy as np
import own

rows = list(csv.DictReader(open("/inputs/records/patients.csv")))
print("read", len(rows), "rows with", sys.argv[1:])
weights = np.array([float(row["weight"]) for row in rows])
json.dump({"mean": own.mean(weights), "rows": len(rows)}, open("/outputs/summary/summary.json", "w"))
os.makedirs("/outputs/notes/deep")
open("/outputs/notes/deep/note.txt", "w").write("done")
if sys.argv[1] == "fail":
    raise SystemExit("the weight of row 0 is " + rows[0]["weight"])
"""
_DRAFT = """\
title = "A script"
level = "{level}"
expires = {expires}
runs = 10
parties = ["north", "modelco"]
environment.simulated = true
{limits}
inputs.records.asset = "north/records"
inputs.records.view = "{view}"
inputs.code.asset = "modelco/{script}"
outputs.summary = {{ from = "work.summary", to = ["modelco"], type = "{kind}" }}
outputs.notes = {{ from = "work.notes", to = ["north"] }}
outputs.log = {{ from = "work.log", to = ["north"] }}

[[steps]]
name = "work"
kind = "script"
inputs = {{ script = ["code"], data = ["records"] }}

[steps.parameters]
entry = "main.py"
arguments = ["{argument}"]
outputs = ["summary", "notes"]
packages = ["numpy>=2"]
"""


def _weights(stage: Stage, level: str, folder: Path) -> bytes:
    seen = stage.run(stage.agree(level=level))
    assert seen.state == "succeeded", seen.error
    assert seen.messages
    got = fetch_results(stage.modelco, seen.run, folder, overwrite=False)
    return (got.folders["weights"] / "weights.safetensors").read_bytes()


def test_a_training_in_walls_gives_the_bits_of_one_in_process(stage: Stage, tmp_path: Path) -> None:
    assert _weights(stage, "L2", tmp_path / "walls") == _weights(stage, "L5", tmp_path / "process")


@pytest.fixture(scope="module")
def script(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> str:
    return seal_script(stage, tmp_path_factory.mktemp("code"), "code", {"main.py": _SCRIPT})


def seal_script(stage: Stage, folder: Path, name: str, files: Mapping[str, str]) -> str:
    """A script of modelco's, with a module of its own."""
    (folder / "own.py").write_text("def mean(values):\n    return float(values.mean())\n")
    for path, text in files.items():
        (folder / path).write_text(text)
    stage.modelco.seal(folder, name, AssetKind.SCRIPT)
    return name


def agree(stage: Stage, script: str, **changes: str) -> Proposal:
    """A contract over a script that both signed."""
    values = {
        "level": "L2",
        "expires": write_moment(datetime.now(UTC) + timedelta(hours=1)),
        "limits": "",
        "kind": "metrics",
        "argument": "go",
        "view": "auto",
        "script": script,
        **changes,
    }
    draft = stage.modelco.draft(_DRAFT.format(**values), measurement=stage._measurement())
    return stage.north.sign(stage.modelco.propose(draft).id)


@pytest.mark.parametrize(("level", "view"), [("L1", "mounted"), ("L2", "staged")])
def test_an_unmodified_script_runs_over_plain_files(
    stage: Stage, script: str, level: str, view: str, tmp_path: Path
) -> None:
    seen = stage.run(agree(stage, script, level=level, view=view))
    assert seen.state == "succeeded", seen.error
    modelco = fetch_results(stage.modelco, seen.run, tmp_path / "modelco", overwrite=False)
    north = fetch_results(stage.north, seen.run, tmp_path / "north", overwrite=False)
    assert json.loads((modelco.folders["summary"] / "summary.json").read_bytes())["rows"] == 40
    assert (north.folders["notes"] / "deep" / "note.txt").read_text() == "done"
    assert (north.folders["log"] / "log.txt").read_text() == "read 40 rows with ['go']\n"
    assert set(modelco.folders) == {"summary"}


def test_a_failing_scripts_last_words_go_to_the_party_of_its_log_alone(stage: Stage, script: str) -> None:
    proposal = agree(stage, script, argument="fail")
    run = stage.modelco.request_run(proposal.id)
    for name, words in (("north", f"the weight of row 0 is {MARKER}\n"), ("modelco", "")):
        seen = stage.follow(run, name)
        assert isinstance(seen.error, ScriptFailed)
        assert seen.error.detail == "Its exit status was 1."
        assert seen.log.endswith(words)
        assert bool(seen.log) == bool(words)
    events = str(stage.modelco.hub.events(run, 0, 0))
    assert MARKER not in events
    assert "exit status" not in events


def test_what_is_not_of_the_signed_type_does_not_leave(stage: Stage, script: str) -> None:
    seen = stage.run(agree(stage, script, kind="weights"))
    assert isinstance(seen.error, OutputRefused)


def test_no_script_at_level_5(stage: Stage, script: str) -> None:
    with pytest.raises(DraftRefused, match="script"):
        agree(stage, script, level="L5", kind="metrics")


def test_a_run_that_takes_too_long_ends(stage: Stage, tmp_path: Path) -> None:
    name = seal_script(stage, tmp_path, "slow", {"main.py": "import time\ntime.sleep(600)\n"})
    seen = stage.run(agree(stage, name, limits="limits.run_seconds = 8"))
    assert isinstance(seen.error, RunTooLong)
