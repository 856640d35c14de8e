"""Sealed programs of every family: reading them, at the sizes that people use too, and training them beside the developer's own layer."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.harness import Row, interleaved, row, timed
from paddock.jobs.checking import check_program
from paddock.jobs.engine import engine
from paddock.jobs.evaluator import ProgramLayer
from paddock.program import STANDARD_LIMITS, read_program
from tests.fixtures.families import CLASSIFIERS, FAMILIES, Family

_AREA = "programs"
_SAMPLES = 4
_FULL_BATCH = 32
_TURN_SECONDS = 0.02
_SECONDS = 3
_LEAST_TURNS = 24
_SPEED = "ratio >= 0.95"
_QUICK = ("lenet",)


@dataclass(frozen=True)
class _Case:
    """A network, and the same one rebuilt from its file; each with an optimiser of its own."""

    own: Callable[[], None]
    rebuilt: Callable[[], None]


def rows(quick: bool) -> list[Row]:
    """Reading ResNet-50 and each family at its full size; then the speed of training of each family. Quick: one small family."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as name:
        warnings.simplefilter("ignore")  # batch normalisation says how it works
        folder = Path(name)
        families = _QUICK if quick else tuple(FAMILIES)
        full = [] if quick else [_full(name, folder / name) for name, family in FAMILIES.items() if family.full]
        return [*_reading(folder, quick=quick), *full, *(_speed(family, folder, quick=quick) for family in families)]


def _reading(folder: Path, *, quick: bool) -> list[Row]:
    name, family = ("lenet", CLASSIFIERS["lenet"]) if quick else ("resnet50", CLASSIFIERS["resnet"])
    make, inputs = family.full or (family.make, family.inputs)
    file = _saved(make(), inputs, folder / name)
    timings = interleaved({"check": lambda: check_program(file, 32)}, repeat=3 if quick else 31)
    milliseconds = 1000 * timings["check"].median
    command = [sys.executable, "-m", "paddock.cli.main", "program", "check", str(file)]
    whole = min(
        timed(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(1 if quick else 3)
    )
    return [
        row(f"program check {name}", _AREA, milliseconds, "ms", target="value <= 100"),
        row("paddock program check, the whole command", _AREA, whole, "s"),
    ]


def _full(name: str, folder: Path) -> Row:
    """Reading a family at its full size; it must be fit to be sealed."""
    family = FAMILIES[name]
    make, inputs = family.full or (family.make, family.inputs)
    try:
        file = _saved(make(), inputs or family.inputs, folder / "full")
        report, refusals = check_program(file, _FULL_BATCH)
        if report is None:
            raise RuntimeError(f"{name} at its full size is refused: {refusals[0]}")
        milliseconds = 1000 * interleaved({"check": lambda: check_program(file, _FULL_BATCH)}, repeat=3)["check"].median
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # with weights of half a gigabyte
    return row(
        f"program check {name} at full size, {report.parameters / 1e6:.1f} million numbers", _AREA, milliseconds, "ms"
    )


def _speed(family: str, folder: Path, *, quick: bool) -> Row:
    case = _case(FAMILIES[family], folder)
    case.own()
    case.rebuilt()
    once = timed(case.own)
    steps = math.ceil(_TURN_SECONDS / once)
    work = {"own": lambda: _repeat(case.own, steps), "rebuilt": lambda: _repeat(case.rebuilt, steps)}
    # Many short turns: what else the machine does meanwhile falls on both alike.
    turns = 3 if quick else max(_LEAST_TURNS, math.ceil(_SECONDS / (steps * once)))
    timings = interleaved(work, repeat=turns)
    rebuilt = steps / timings["rebuilt"].median
    # Of each turn by itself, so that a machine that grows slower or faster meanwhile tells on neither.
    ratio = median(one / other for one, other in zip(timings["own"].seconds, timings["rebuilt"].seconds, strict=True))
    own = rebuilt / ratio
    return row(f"{family}, steps of {_SAMPLES} samples", _AREA, rebuilt, "1/s", baseline=own, target=_SPEED)


def _repeat(step: Callable[[], None], times: int) -> None:
    for _ in range(times):
        step()


def _case(family: Family, folder: Path) -> _Case:
    own = family.make()
    program = read_program(_saved(own, family.inputs, folder / "family").read_bytes(), STANDARD_LIMITS)
    tensors = {tensor.name: tensor for tensor in own.state_dict().values()}
    rebuilt = ProgramLayer(program, {each.name: tensors[each.name].numpy() for each in program.parameters})
    batch = [engine.to_tensor(each) for each in family.batch(_SAMPLES)]
    return _Case(_stepper(own, batch), _stepper(rebuilt, batch))


def _saved(layer: Any, inputs: Sequence[Any], path: Path) -> Path:
    layer.train()
    specification = [engine.static.InputSpec([-1, *each.shape], each.dtype, each.name) for each in inputs]
    engine.jit.save(layer, str(path), input_spec=specification)
    if hasattr(layer.forward, "rollback"):
        layer.forward = layer.forward.rollback()
    return path.with_suffix(".json")


def _stepper(layer: Any, batch: Sequence[Any]) -> Callable[[], None]:
    layer.train()
    trained = [parameter for parameter in layer.parameters() if not parameter.stop_gradient]
    optimizer = engine.optimizer.Momentum(1e-3, parameters=trained)

    def step() -> None:
        outputs = layer(*batch)
        outputs = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
        sum((each * each).mean() for each in outputs).backward()
        optimizer.step()
        optimizer.clear_grad()

    return step
