"""Processes that are killed at random instants: what was acknowledged stays, and no plaintext is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from paddock.views.mount import remove_stale
from tests.fixtures.fuse import fuse
from tests.fixtures.object_stores import moto_server

__all__ = ["fuse"]
SEED = "1"


def killed(script: str, folder: Path, *more: str, environment: Mapping[str, str] | None = None) -> list[int]:
    """Run a script of this folder that kills 200 times; the numbers of what it says."""
    command = [sys.executable, "-m", f"tests.integration.{script}", str(folder), "200", SEED, *more]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == 0, f"seed {SEED}: {done.stdout[-500:]}{done.stderr[-2000:]}"
    return [int(word) for word in done.stdout.split() if word.isdigit()]


def test_sealings_that_are_killed(tmp_path: Path) -> None:
    kills, versions = killed("killed_sealings", tmp_path / "play")
    assert kills >= 200
    assert versions >= 3


def test_uploads_that_are_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # S3 takes pieces of 5 MiB and more; with small ones a short upload has as many instants to be killed at.
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    with moto_server() as server:
        server.client().create_bucket(Bucket="kills")
        kills, versions, resumed, cut = killed(
            "killed_uploads",
            tmp_path / "play",
            server.address("kills", "uploads"),
            server.endpoint,
            environment=server.environment(),
        )
    assert kills >= 200
    assert versions >= 10
    assert resumed >= 10
    assert cut >= 10


@pytest.mark.usefixtures("fuse")
def test_writers_whose_mount_is_killed(tmp_path: Path) -> None:
    try:
        kills, promises, runs = killed("killed_writers", tmp_path / "play")
    finally:
        remove_stale(tmp_path / "play" / "mnt")
    assert kills >= 200
    assert promises >= 200
    assert runs > kills


def test_runs_that_are_killed_while_they_keep_checkpoints(tmp_path: Path) -> None:
    kills, told, attempts = killed("killed_checkpoints", tmp_path / "play")
    assert kills >= 200
    assert told >= 200
    assert attempts > 200
