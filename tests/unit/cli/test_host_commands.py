"""`paddock host` and `paddock keeper policy allow-host`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from paddock.attest.host import HostAttester
from paddock.cli.main import app
from paddock.cli.policy_words import explain, level_sentences, shortcomings
from paddock.evidence import read_trust_policy
from tests.fixtures.command import paddock
from tests.fixtures.hosts import HOST

RUNNER = CliRunner()
AK = "sha256:" + "ab" * 32


def test_the_hosts_key_is_made_once(tmp_path: Path) -> None:
    first = json.loads(RUNNER.invoke(app, ["host", "key", "--key", str(tmp_path / "host.key"), "--json"]).stdout)
    again = RUNNER.invoke(app, ["host", "key", "--key", str(tmp_path / "host.key")]).stdout.strip()
    assert first == {"host": again}
    (tmp_path / "bad.key").write_text("no key")
    refused = RUNNER.invoke(app, ["host", "key", "--key", str(tmp_path / "bad.key"), "--json"])
    assert refused.exit_code


def test_it_serves_until_it_is_ended_and_says_how_it_is_named() -> None:
    with tempfile.TemporaryDirectory(prefix="paddock-") as name:
        folder = Path(name)
        command = [sys.executable, "-m", "paddock.cli.main", "host", "serve", "--json"]
        command += ["--key", str(folder / "host.key"), "--listen", str(folder / "host.sock")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = json.loads("".join(process.stdout.readline() for _ in range(4)))
            assert told["attester"] == f"host:{folder / 'host.sock'}"
            assert HostAttester(folder / "host.sock").available()
            process.terminate()
        assert len(told["host"]) == 64


def test_a_tpm_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    arguments = ["host", "serve", "--key", str(tmp_path / "k"), "--listen", str(tmp_path / "s"), "--json"]
    refused = paddock(*arguments, "--tpm", "ak=nonsense")
    assert refused.error == "E-RUN-06"
    assert "persistent handle" in refused.out
    assert not (tmp_path / "s").exists()


@pytest.fixture
def home(tmp_path: Path) -> str:
    assert RUNNER.invoke(app, ["init", "north", "--home", str(tmp_path / "north")]).exit_code == 0
    return str(tmp_path / "north")


def test_a_keeper_accepts_a_host_and_its_tpm(home: str) -> None:
    policy = ["keeper", "policy"]
    assert RUNNER.invoke(app, [*policy, "allow-host", "xyz", "--home", home]).exit_code
    assert RUNNER.invoke(app, [*policy, "allow-host", HOST, "--home", home]).exit_code == 0
    said = json.loads(RUNNER.invoke(app, [*policy, "explain", "--home", home, "--json"]).stdout)
    assert said["levels"]["L2"] == ["accepts host."]
    assert "refuses everything" in said["levels"]["L3"][0]
    assert RUNNER.invoke(app, [*policy, "allow-host", HOST, "--tpm", AK, "--home", home]).exit_code == 0
    said = json.loads(RUNNER.invoke(app, [*policy, "explain", "--home", home, "--json"]).stdout)
    assert "host with a tpm quote beside it" in said["levels"]["L3"][0]
    assert said["policy"]["host"]["keys"] == [HOST]
    assert said["policy"]["levels"]["L3"]["allow"] == ["host"]
    assert not said["to_be_looked_at"]
    assert f"accepts the host {HOST}" in RUNNER.invoke(app, [*policy, "explain", "--home", home]).stdout


def test_what_can_never_be_level_3_is_told() -> None:
    alone = read_trust_policy(f'[tpm]\nroots = ["{AK}"]\n')
    assert "a quote alone says nothing" in shortcomings(alone)[0]
    apart = read_trust_policy(f'[tpm]\nroots = ["{AK}"]\n[host]\nkeys = ["{HOST}"]\n')
    assert "[levels.L3]" in shortcomings(apart)[0]
    assert "refuses everything" in level_sentences(apart, "L3")[0]
    assert any("a machine's boot" in line for line in explain(alone))
