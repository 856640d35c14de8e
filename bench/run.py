"""A whole confidential run beside the plain Paddle script that trains the same network on the same pooled records."""

from __future__ import annotations

import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.harness import Row, row
from paddock.cli.demo.cast import Cast
from paddock.contract.asset import AssetKind
from paddock.contract.signing import Proposal
from paddock.crypto.moment import write_moment
from paddock.errors import RunEnded
from paddock.evidence.measurement import measure_runtime
from paddock.party.follow import Phase, follow
from paddock.party.results import fetch_results
from paddock.samples import breast_cancer

AREA = "run"
_NAMES = ("north", "south", "modelco")
_SEED, _EPOCHS, _BATCH, _RATE = 7, 40, 32, 0.002
_PLAIN = str(breast_cancer.NETWORK.parent.parent / "plain_training.py")
_PHASES = ("booted", "attested", "released", "opened", "running", "sealing", "uploaded")
_DRAFT = """\
title = "benchmark"
expires = {expires}
runs = 1000
parties = ["north", "south", "modelco"]
environment.simulated = true
inputs.north.asset = "north/records"
inputs.south.asset = "south/records"
inputs.network.asset = "modelco/network"
outputs.weights = {{ from = "training.weights", to = ["modelco"] }}

[[steps]]
name = "training"
kind = "train"
inputs = {{ program = ["network"], data = ["north", "south"] }}

[steps.parameters]
{parameters}
"""


def _parameters() -> str:
    columns = ", ".join(f'"{column}"' for column in breast_cancer.COLUMNS)
    return (
        f"seed = {_SEED}\nepochs = {_EPOCHS}\nbatch_size = {_BATCH}\n"
        'loss = { kind = "cross_entropy" }\n'
        f'optimizer = {{ kind = "adam", learning_rate = {_RATE} }}\n'
        f'mapping.x = {{ columns = [{columns}], dtype = "float32", normalise = "standard" }}\n'
        'mapping.label = { column = "malignant", dtype = "int64" }\n'
    )


@dataclass(frozen=True)
class _Taken:
    """Seconds of one confidential run, in all and until each phase was reached."""

    seconds: float
    reached: dict[str, float]
    weights: str


def rows(quick: bool) -> list[Row]:
    """The whole run minus the plain script, where the time goes, and whether the weights are the same bits."""
    repeat = 2 if quick else 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Cast(folder / "cast", _NAMES) as cast:
            contract = _agree(cast, folder)
            plain: list[float] = []
            taken: list[_Taken] = []
            _confidential(cast, contract, folder / "warm")
            same = True
            for turn in range(repeat):
                seconds, weights = _plain(folder, turn)
                plain.append(seconds)
                taken.append(_confidential(cast, contract, folder / f"results-{turn}"))
                same = same and taken[-1].weights == weights
    whole = statistics.median(one.seconds for one in taken)
    base = statistics.median(plain)
    result = [
        row(
            "weights of the whole run equal the plain script's, bit for bit", AREA, float(same), "", target="value == 1"
        ),
        row("whole run", AREA, whole, "s", baseline=base),
        row("whole run minus plain script", AREA, whole - base, "s", target="value <= 2.5"),
    ]
    before = 0.0
    for phase in _PHASES:
        reached = statistics.median(one.reached[phase] for one in taken)
        result.append(row(f"until {phase}", AREA, reached - before, "s"))
        before = reached
    result.append(row("until receipt", AREA, whole - before, "s"))
    return result


def _agree(cast: Cast, folder: Path) -> Proposal:
    cast.introduce()
    cast.accept_simulator()
    shares = {name: folder / "data" / name for name in ("north", "south", "lakeside", "clinic")}
    breast_cancer.write_shares(shares)
    breast_cancer.export_network(folder / "network")
    for name in ("north", "south"):
        cast.parties[name].seal(shares[name], "records", AssetKind.DATASET)
    cast.parties["modelco"].seal(folder / "network", "network", AssetKind.PROGRAM)
    expires = write_moment(datetime.now(UTC) + timedelta(days=1))
    modelco = cast.parties["modelco"]
    text = _DRAFT.format(expires=expires, parameters=_parameters())
    proposal = modelco.propose(modelco.draft(text, measurement=measure_runtime().digest))
    for name in ("north", "south"):
        proposal = cast.parties[name].sign(proposal.id)
    return proposal


def _confidential(cast: Cast, contract: Proposal, output: Path) -> _Taken:
    modelco = cast.parties["modelco"]
    begun = time.perf_counter()
    run = modelco.request_run(contract.id)
    reached: dict[str, float] = {}
    for seen, item in follow(modelco, run):
        if isinstance(item, Phase):
            reached.setdefault(item.name, time.perf_counter() - begun)
        if seen.state == "succeeded":
            break
        if seen.error is not None:
            raise seen.error
    else:
        raise RunEnded(f"Run {run}.")
    seconds = time.perf_counter() - begun
    results = fetch_results(modelco, run, output, overwrite=False)
    return _Taken(seconds, reached, _digest(results.folders["weights"] / "weights.safetensors"))


def _plain(folder: Path, turn: int) -> tuple[float, str]:
    output = folder / f"plain-{turn}.safetensors"
    initial = folder / "network" / "weights.safetensors"
    records = [str(folder / "data" / name / "records.csv") for name in ("north", "south")]
    settings = [str(value) for value in (_EPOCHS, _BATCH, _SEED, _RATE)]
    command = [sys.executable, _PLAIN, str(output), str(initial), *settings, *records]
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun, _digest(output)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
