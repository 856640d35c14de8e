"""Jobs in walls beside jobs without: what a training step costs; and what a warm pool saves. What starting one costs is in `walls`."""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import Row, row
from bench.training import ConvNet
from paddock.contract.levels import Level
from paddock.contract.signing import Proposal
from paddock.enclave.files import MadeFiles
from paddock.enclave.workers import built_in_ceilings, start_worker
from paddock.executors.command import CommandExecutor
from paddock.gateway.frames import Link
from paddock.gateway.receiving import Budget
from paddock.gateway.supervisor import Supervisor, Volume, Work
from paddock.jobs.api import NoCheckpoints, Progress
from paddock.jobs.engine import engine
from paddock.jobs.export import InputSpec, export_layer
from paddock.party.follow import follow
from paddock.receipt.progress import ProgressMessage
from paddock.samples import plain_training
from paddock.testing.stage import Stage

AREA = "executors"
_MEMORY = 4 << 30
_BATCH, _SAMPLES, _SEED, _RATE = 64, 512, 7, 0.001
_SETTLED_SECONDS = 1.0


def rows(quick: bool) -> list[Row]:
    """A step of training in a worker, and a run that finds an enclave waiting. Quick: few steps, and no such run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # batch normalisation says how it works
        if quick:  # runs of a warm pool take half a minute; that there are any is shown by tests/integration/test_sandbox_runs.py
            return [_step(repeat=1, epochs=12)]
        return [_step(repeat=9, epochs=30), *_pool(5)]


# --- a step of a training ---


def _step(*, repeat: int, epochs: int) -> Row:
    network = ConvNet()
    with tempfile.TemporaryDirectory() as folder:
        export_layer(network, [InputSpec("x", "float32", (-1, 1, 28, 28))], Path(folder))
        program = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    random = np.random.default_rng(_SEED)
    y = random.integers(0, 10, _SAMPLES)
    x = random.standard_normal((_SAMPLES, 1, 28, 28)).astype("float32")
    data = {"x.npy": _npy(x), "y.npy": _npy(y)}
    walled: list[float] = []
    plain: list[float] = []
    for _ in range(repeat):
        walled.append(_walled_step(program, data, epochs))
        began = time.perf_counter()
        plain_training.train(network, x, y, epochs=epochs // 2, batch_size=_BATCH, seed=_SEED, rate=_RATE)
        plain.append((time.perf_counter() - began) / (epochs // 2 * _SAMPLES // _BATCH))
    step = 1e6 * statistics.median(walled)
    # Of each turn by itself: the machine's speed drifts by more than the target leaves.
    ratio = statistics.median(one / other for one, other in zip(walled, plain, strict=True))
    return row(
        f"training step of {_BATCH} samples in walls",
        AREA,
        step,
        "us",
        baseline=step / ratio,
        target="ratio <= 1.01",
    )


def _walled_step(program: dict[str, bytes], data: dict[str, bytes], epochs: int) -> float:
    told: list[tuple[float, int]] = []

    def note(news: Progress) -> None:
        told.append((time.perf_counter(), news.step))

    parameters: dict[str, Any] = {
        "seed": _SEED,
        "epochs": epochs,
        "batch_size": _BATCH,
        "loss": {"kind": "cross_entropy"},
        "optimizer": {"kind": "adam", "learning_rate": _RATE},
        "mapping": {"x": {"array": "x", "dtype": "float32"}, "label": {"array": "y", "dtype": "int64"}},
    }
    work = Work(
        kind="train",
        parameters=parameters,
        inputs={"program": [Volume(MadeFiles(program))], "data": [Volume(MadeFiles(data))]},
        outputs={"weights": 1 << 30},
        budgets={"weights": Budget(1 << 30)},
        memory_bytes=_MEMORY,
        checkpoints=NoCheckpoints(),
        progress=note,
    )
    worker = start_worker(Level.L2, built_in_ceilings(_MEMORY, 256, 3600), engine=True)
    try:
        Supervisor(Link(worker.channel), work).run()
    finally:
        worker.end()
    (first, before), (last, after) = told[0], told[-1]
    return (last - first) / (after - before)


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


# --- the warm pool ---


def _pool(repeat: int) -> list[Row]:
    result = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        program = folder / "program"
        export_layer(_small(), [InputSpec("x", "float32", (-1, 2))], program)
        stages = {}
        settings: dict[str, str]
        for name, settings in (("cold", {}), ("warm", {"warm": "1"})):
            (folder / name).mkdir()
            stages[name] = stack.enter_context(Stage(folder / name, program, executor_settings=settings))
        for level in ("L5", "L2"):
            contracts = {name: stage.agree(level=level, epochs=1, runs=100) for name, stage in stages.items()}
            taken: dict[str, list[float]] = {"cold": [], "warm": []}
            for _ in range(repeat):
                for name, stage in stages.items():
                    _settle(stage, warm=name == "warm")
                    taken[name].append(_until_first_step(stage, contracts[name]))
            cold, warm = (statistics.median(taken[name]) for name in ("cold", "warm"))
            result.append(
                row(
                    f"from the request of a run to its first steps at {level}, with a warm pool of `process`",
                    AREA,
                    1000 * warm,
                    "ms",
                    baseline=1000 * cold,
                    target="value <= 700",
                )
            )
    return result


def _small() -> Any:
    return engine.nn.Sequential(engine.nn.Linear(2, 8), engine.nn.ReLU(), engine.nn.Linear(8, 2))


def _until_first_step(stage: Stage, contract: Proposal) -> float:
    """One epoch of five steps: its news come as soon as they are done."""
    began = time.perf_counter()
    run = stage.modelco.request_run(contract.id)
    first = 0.0
    for seen, item in follow(stage.modelco, run):
        if isinstance(item, ProgressMessage) and not first:
            first = time.perf_counter() - began
        if seen.error is not None:
            raise seen.error
    return first


def _settle(stage: Stage, *, warm: bool) -> None:
    """Wait until whoever waits for a run has loaded what it loads."""
    executor = stage.engine.executor
    if not isinstance(executor, CommandExecutor) or not warm:
        return
    quiet, before = time.monotonic(), -1
    while time.monotonic() - quiet < _SETTLED_SECONDS or not executor.waiting():
        used = sum(_ticks(executor.waiting()))
        if used != before:
            quiet, before = time.monotonic(), used
        time.sleep(0.1)


def _ticks(roots: list[int]) -> Iterator[int]:
    """Processor time of processes and all below them, each."""
    parents: dict[int, int] = {}
    used: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
                parents[int(entry.name)], used[int(entry.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    for process, ticks in used.items():
        above = process
        while above in parents and above not in roots:
            above = parents[above]
        if above in roots:
            yield ticks
