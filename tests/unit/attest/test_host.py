"""The host's attester as a process: what it signs, whom it answers, and the register of a TPM that it extends once."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from paddock.attest import collect, host_service
from paddock.attest.host import HostAttester
from paddock.attest.host_service import Host
from paddock.attest.tpm import TpmAttester
from paddock.errors import AttesterUnavailable, WallsUnavailable
from paddock.evidence import Collateral, TrustPolicy, verify_evidence
from paddock.evidence.measurement import measure_runtime
from paddock.evidence.runtime_register import runtime_event, runtime_register
from tests.fixtures.hosts import HOST, HOST_KEY

REPORT = bytes(range(64))
_ASK = """
import sys
from pathlib import Path
from paddock.attest.host import HostAttester
try:
    HostAttester(Path(sys.argv[1])).attest(bytes(64))
except Exception as error:
    print(type(error).__name__)
else:
    print("evidence")
"""


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Path, str]]:
    """A host's attester: its socket and its public key."""
    with tempfile.TemporaryDirectory(prefix="paddock-") as name:
        folder = Path(name)
        command = [sys.executable, "-I", "-m", "paddock.attest.host_service"]
        command += ["--key", str(folder / "own" / "host.key"), "--listen", str(folder / "host.sock")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            yield folder / "host.sock", told["host"]
            process.communicate(timeout=10)
        assert not (folder / "host.sock").exists()


def test_it_states_what_is_installed_and_which_walls_there_are(served: tuple[Path, str]) -> None:
    socket, key = served
    found = collect(f"host:{socket}", REPORT)
    assert found is not None
    policy = TrustPolicy.model_validate({"host": {"keys": [key], "allow": ["no-walls"]}})
    claims = verify_evidence(found.pieces["environment"], policy=policy, collateral=Collateral(), now=datetime.now(UTC))
    assert claims.measurement == measure_runtime().digest
    assert claims.report_data == REPORT
    assert (claims.tee, claims.simulated) == ("software", False)
    assert bool(claims.settings) == (not claims.details)
    for file, mode in ((socket, 0o600), (socket.parent / "own" / "host.key", 0o600)):
        assert stat.S_IMODE(file.stat().st_mode) == mode


def _asked(socket: Path, *before: str) -> str:
    command = [*before, sys.executable, "-I", "-c", _ASK, str(socket)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() or done.stderr


def test_a_process_behind_walls_gets_no_statement(served: tuple[Path, str]) -> None:
    """Even where the socket was led inside by mistake."""
    socket, _ = served
    assert _asked(socket) == "evidence"
    walls = (
        "bwrap",
        "--bind",
        "/",
        "/",
        "--dev-bind",
        "/dev",
        "/dev",
        "--unshare-user",
        "--unshare-pid",
        "--proc",
        "/proc",
    )
    assert _asked(socket, *walls) == "AttesterUnavailable"


def test_its_usual_place_is_one_and_a_relative_one_is_refused() -> None:
    assert HostAttester.from_address("").path == Path("/run/paddock/host.sock")
    with pytest.raises(AttesterUnavailable):
        HostAttester.from_address("host.sock")


class Registers(TpmAttester):
    """A TPM of one register."""

    def __init__(self, value: bytes) -> None:
        super().__init__()
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "extended", [])

    def _register(self, bank: str, number: int) -> bytes:
        assert (bank, number) == ("sha256", 13)
        held: bytes = self.value  # type: ignore[attr-defined]
        return held

    def _run(self, tool: str, *arguments: str) -> str:
        assert tool == "tpm2_pcrextend"
        self.extended.append(arguments)  # type: ignore[attr-defined]
        object.__setattr__(self, "value", runtime_register("sha256:" + "1" * 64, HOST))
        return ""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(HOST_KEY)
    monkeypatch.setattr(made.runtime, "measurement", lambda: "sha256:" + "1" * 64)
    return made


def test_the_runtimes_register_is_extended_once(host: Host) -> None:
    tpm: Any = Registers(bytes(32))
    for _ in range(2):
        host.extend(tpm)
    assert tpm.extended == [(f"13:sha256={runtime_event('sha256:' + '1' * 64, HOST).hex()}",)]


@pytest.mark.parametrize(
    "held", [b"\1" * 32, runtime_register("sha256:" + "2" * 64, HOST)], ids=["other", "another runtime"]
)
def test_a_register_that_holds_something_else_is_not_extended(host: Host, held: bytes) -> None:
    tpm: Any = Registers(held)
    with pytest.raises(AttesterUnavailable, match="Restart it"):
        host.extend(tpm)
    assert not tpm.extended


def test_walls_that_cannot_be_built_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise WallsUnavailable("bubblewrap is not installed.")

    monkeypatch.setattr(host_service, "check_walls", missing)
    assert host_service.walls_here.__wrapped__() is None


def test_a_process_that_is_gone_is_in_no_namespace() -> None:
    assert host_service._namespaces(os.getpid()) >= 1
    assert host_service._namespaces(2**31 - 1) == 0
