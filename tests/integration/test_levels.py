"""A whole run at each level, at L1 to L4 with a party's script in it: hub, keepers and enclave are processes and servers as in earnest, and so are the host's attester
and the TPM (swtpm) that prove levels 2 and 3. Levels 4 and 5 are SIMULATED here; test_real_levels.py has evidence of real formats.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from paddock.attest import NO_ATTESTER
from paddock.cli.policy_commands import keeper_home
from paddock.cli.simulator import SimulatorProcess
from paddock.contract.asset import AssetKind
from paddock.contract.levels import Level, Tee
from paddock.crypto.moment import write_moment
from paddock.errors import EvidenceMissing, LevelRefused
from paddock.evidence import Collateral, TrustPolicy, verify_evidence
from paddock.party.results import fetch_results
from paddock.release.verdict import environment_found
from paddock.testing.stage import Stage
from tests.fixtures.software_tpm import BOOT, MISSING, REASON, Swtpm, start

_TPM = pytest.mark.skipif(bool(MISSING), reason=REASON)
_OF_NOTHING = f"sha256:{'0' * 64}"


@dataclass
class Machine:
    """One machine with everything: a host's attester, a TPM, a simulator; and the parties that use it.

    Args:
        stage: the parties.
        addresses: level to what attests there.
        tpm_measurement: what the TPM's quotes are measured as; where there is none, what nothing is.
    """

    stage: Stage
    tpm_measurement: str
    addresses: dict[Level, str] = field(default_factory=dict)

    def prove_by(self, address: str) -> None:
        """Have the next runs attested by this."""
        self.stage.engine.executor._attester = address  # type: ignore[attr-defined]  # one machine serves all levels

    def agree(self, level: Level, **changes: Any) -> Any:
        """A training at L5; at the levels below a party's script goes on with the weights."""
        simulated = level in (Level.L4, Level.L5)
        listed = json.dumps(["this", self.tpm_measurement]) if level is Level.L3 else '["this"]'
        values = {
            "level": level.value,
            "expires": write_moment(datetime.now(UTC) + timedelta(hours=1)),
            "simulated": json.dumps(simulated),
            "measurements": listed,
            **changes,
        }
        text = _HEAD.format(**values) + ("" if level is Level.L5 else _SCRIPT_HEAD) + _TRAINING
        text += "" if level is Level.L5 else _SCRIPT_STEP
        stage = self.stage
        proposal = stage.modelco.propose(stage.modelco.draft(text, measurement=stage._measurement()))
        return stage.north.sign(proposal.id)


_HEAD = """\
title = "A run at {level}"
level = "{level}"
expires = {expires}
parties = ["north", "modelco"]
limits.attempts = 1
environment.simulated = {simulated}
environment.measurements = {measurements}
inputs.records.asset = "north/records"
inputs.net.asset = "modelco/net"
outputs.weights = {{ from = "training.weights", to = ["modelco"] }}
outputs.curve = {{ from = "training.curve", to = ["modelco", "north"] }}
"""
_SCRIPT_HEAD = """\
inputs.code.asset = "modelco/code"
outputs.summary = { from = "work.summary", to = ["modelco"], type = "metrics" }
outputs.log = { from = "work.log", to = ["north"] }
"""
_TRAINING = """
[[steps]]
name = "training"
kind = "train"
inputs = { program = ["net"], data = ["records"] }

[steps.parameters]
seed = 1
epochs = 1
batch_size = 8
loss = { kind = "cross_entropy" }
optimizer = { kind = "adam", learning_rate = 0.05 }
metrics = ["accuracy"]
mapping.x = { columns = ["height", "weight"], dtype = "float32", normalise = "standard" }
mapping.label = { column = "sick", dtype = "int64" }
"""
_SCRIPT_STEP = """
[[steps]]
name = "work"
kind = "script"
inputs = { script = ["code"], data = ["records"], weights = ["training.weights"] }
parameters = { entry = "main.py", outputs = ["summary"] }
"""
_SCRIPT = """\
import csv
import json
import pathlib
import socket

rows = list(csv.DictReader(open("/inputs/records/patients.csv")))
weights = pathlib.Path("/inputs/training.weights/weights.safetensors").stat().st_size
try:
    interfaces = [name for _, name in socket.if_nameindex()]
except OSError:
    interfaces = []
print("interfaces", len(set(interfaces) - {"lo"}))
pathlib.Path("/outputs/summary/summary.json").write_text(json.dumps({"rows": len(rows), "weights": weights}))
"""


@pytest.fixture(scope="module")
def machine(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("levels")
    with ExitStack() as stack:
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paddock-")))
        tpm = None if MISSING else _booted(stack, folder / "tpm")
        key = _serve_host(stack, short, tpm)
        simulators = {
            tee: stack.enter_context(SimulatorProcess(folder / "simulator.key", tee=tee))
            for tee in (Tee.CONFIDENTIAL_VM, Tee.ENCLAVE)
        }
        host = f"host:{short / 'host.sock'}"
        trust = (
            f'[host]\nkeys = ["{key}"]\n[levels.L3]\nallow = ["host"]\n'
            '[levels.L4]\nallow = ["host"]\n'
            f'[simulated]\nkeys = ["{simulators[Tee.ENCLAVE].key}"]\n'
        )
        if tpm is not None:
            trust += f'[tpm]\nroots = ["{tpm.attester().key().name}"]\n'
        stage = stack.enter_context(Stage(folder / "stage", program, attester=host, trust=trust, executor="sandbox"))
        code = folder / "code"
        code.mkdir()
        (code / "main.py").write_text(_SCRIPT, encoding="utf-8")
        stage.modelco.seal(code, "code", AssetKind.SCRIPT)
        yield Machine(
            stage,
            _OF_NOTHING if tpm is None else _measured(tpm),
            {
                Level.L1: NO_ATTESTER,
                Level.L2: host,
                **({} if tpm is None else {Level.L3: f"{host}+host=tpm:tcti={tpm.tcti}"}),
                Level.L4: simulators[Tee.CONFIDENTIAL_VM].attester,
                Level.L5: simulators[Tee.ENCLAVE].attester,
            },
        )


def _booted(stack: ExitStack, folder: Path) -> Swtpm:
    """A TPM after a boot, with its attestation key."""
    tpm = start(folder)
    stack.callback(tpm.end)
    for register, data in BOOT:
        tpm.extend(register, data)
    tpm.attester().prepare("ecc")
    return tpm


def _serve_host(stack: ExitStack, folder: Path, tpm: Swtpm | None) -> str:
    """Start the host's attester, which has the TPM, if there is one, hold the runtime; its public key."""
    command = [sys.executable, "-I", "-m", "paddock.attest.host_service"]
    command += [] if tpm is None else ["--tpm", f"tcti={tpm.tcti}"]
    command += ["--key", str(folder / "host.key"), "--listen", str(folder / "host.sock")]
    process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    stack.callback(process.terminate)
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    assert told["ready"], told
    return str(told["host"])


def _measured(tpm: Swtpm) -> str:
    policy = TrustPolicy.model_validate({"tpm": {"roots": [tpm.attester().key().name]}})
    quote = tpm.attester().attest(bytes(64))
    return verify_evidence(quote, policy=policy, collateral=Collateral(), now=datetime.now(UTC)).measurement


FOUND = {
    Level.L1: None,
    Level.L2: "software",
    Level.L3: "measured-host",
    Level.L4: "confidential-vm",
    Level.L5: "enclave",
}


@pytest.mark.parametrize("level", [pytest.param(each, marks=_TPM) if each is Level.L3 else each for each in Level])
def test_a_run_at_each_level(machine: Machine, level: Level, tmp_path: Path) -> None:
    machine.prove_by(machine.addresses[level])
    proposal = machine.agree(level)
    seen = machine.stage.run(proposal)
    assert seen.state == "succeeded", seen.error
    got = fetch_results(machine.stage.modelco, seen.run, tmp_path / "modelco", overwrite=False)
    assert set(got.folders) == {"weights", "curve"} | ({"summary"} if level is not Level.L5 else set())
    if level is not Level.L5:
        summary = json.loads((got.folders["summary"] / "summary.json").read_text())
        assert (summary["rows"], summary["weights"] > 0) == (40, True)
        log = (
            fetch_results(machine.stage.north, seen.run, tmp_path / "north", overwrite=False).folders["log"] / "log.txt"
        )
        here = len({name for _, name in socket.if_nameindex()} - {"lo"})
        assert log.read_text() == f"interfaces {here if level is Level.L1 else 0}\n", "a network at L1 alone"
    receipt = got.verified.receipt
    assert receipt.simulated is (level in (Level.L4, Level.L5))
    keeper = keeper_home(machine.stage.north.home).keys.public().sign
    verdict = receipt.keepers["north"].verdict
    assert (None if verdict is None else environment_found(verdict, keeper)) == FOUND[level]


@pytest.mark.parametrize("level", [Level.L2, Level.L3, pytest.param(Level.L4, marks=_TPM), Level.L5])
def test_what_proves_less_gets_no_keys(machine: Machine, level: Level) -> None:
    """Attested by what proves the level below."""
    below = Level(f"L{int(level.value[1]) - 1}")
    machine.prove_by(machine.addresses[below])
    proposal = machine.agree(level, measurements=json.dumps(["this", machine.tpm_measurement]), simulated="true")
    seen = machine.stage.run(proposal)
    assert seen.state == "failed"
    assert isinstance(seen.error, EvidenceMissing if level is Level.L2 else LevelRefused), seen.error
