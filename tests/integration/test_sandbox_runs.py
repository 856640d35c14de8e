"""Whole runs through the executor `sandbox`: the enclave in its frame, jobs behind walls inside it."""

from __future__ import annotations

import json
from pathlib import Path

from paddock.executors.command import CommandExecutor
from paddock.party.results import fetch_results
from paddock.testing.stage import Stage
from tests.contract.test_warm_pool import until
from tests.integration.test_gateway_runs import agree, seal_script

_SCRIPT = """
import json, os
seen = {"user": os.getuid(), "processes": sum(name.isdigit() for name in os.listdir("/proc")),
        "host": int(os.uname().nodename == "paddock")}
open("/outputs/notes/note.txt", "w").write(str(len(open("/inputs/records/patients.csv").read())))
json.dump(seen, open("/outputs/summary/summary.json", "w"))
"""


def test_trainings_and_scripts_run_in_the_sandbox(program: Path, tmp_path: Path) -> None:
    with Stage(tmp_path / "stage", program, executor="sandbox", executor_settings={"warm": "1"}) as stage:
        executor = stage.engine.executor
        assert isinstance(executor, CommandExecutor)
        until(executor.waiting)  # since the service began: before any run
        (waiting,) = executor.waiting()
        seen = stage.run(stage.agree(level="L2"))
        assert seen.state == "succeeded", seen.error
        assert executor._executions[seen.run].pid == waiting
        got = fetch_results(stage.modelco, seen.run, tmp_path / "out", overwrite=False)
        assert (got.folders["weights"] / "weights.safetensors").stat().st_size > 0

        code = tmp_path / "code"
        code.mkdir()
        seen = stage.run(agree(stage, seal_script(stage, code, "look", {"main.py": _SCRIPT})))
        assert seen.state == "succeeded", seen.error
        assert executor._executions[seen.run].pid != waiting
        got = fetch_results(stage.modelco, seen.run, tmp_path / "seen", overwrite=False)
        found = json.loads((got.folders["summary"] / "summary.json").read_text())
        assert found["user"] == 1000
        assert found["processes"] <= 3
        assert found["host"] == 1
        left = [path.name for path in Path("/dev/shm").iterdir() if path.name.startswith("paddock-staged-")]
        assert left == []
