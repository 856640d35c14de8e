"""Processes that are killed at random instants: what was acknowledged stays, and no plaintext is left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_sealings_that_are_killed(tmp_path: Path) -> None:
    script = Path(__file__).parent / "killed_sealings.py"
    command = [sys.executable, str(script), str(tmp_path / "play"), "200", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    kills, versions = (int(word) for word in done.stdout.split() if word.isdigit())
    assert kills >= 200
    assert versions >= 3
