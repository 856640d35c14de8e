"""Whole runs through the executor `sandbox`: the enclave in its frame, jobs behind walls inside it."""

from __future__ import annotations

from pathlib import Path

from paddock.party.results import fetch_results
from paddock.testing.stage import Stage


def test_a_run_in_the_sandbox_gives_what_one_without_gives(program: Path, tmp_path: Path) -> None:
    with Stage(tmp_path / "stage", program, executor="sandbox") as stage:
        seen = stage.run(stage.agree(level="L2"))
        assert seen.state == "succeeded", seen.error
        got = fetch_results(stage.modelco, seen.run, tmp_path / "out", overwrite=False)
        assert (got.folders["weights"] / "weights.safetensors").stat().st_size > 0
        left = [path.name for path in Path("/dev/shm").iterdir() if path.name.startswith("paddock-staged-")]
        assert left == []
