"""Training that is interrupted and goes on elsewhere (J-15): each test tries to get other bits, or to make it swallow another
training's state."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from paddock.errors import JobStateRefused
from paddock.jobs.api import Files, Outputs
from paddock.jobs.registry import job_kind
from tests.vectors.volumes_by_hand import Volume, context, network, table, train_parameters

BATCHES = 3  # 40 samples by 16
COUNT = 40


class _Interrupted(Exception):
    pass


class Kept:
    """Keeps a state before chosen batches, in memory; ends the process's work after so many."""

    def __init__(self, every: int = 1, end_after: int | None = None, state: Files | None = None) -> None:
        self._every = every
        self._end_after = end_after
        self._asked = 0
        self.state = state
        self.saved: list[dict[str, bytes]] = []

    def due(self) -> bool:
        self._asked += 1
        return self._asked % self._every == 0

    def save(self, files: Mapping[str, bytes]) -> None:
        self.saved.append(dict(files))
        if len(self.saved) == self._end_after:
            raise _Interrupted

    def latest(self) -> Files | None:
        return self.state


def run(parameters: Mapping[str, Any], kept: Kept | None = None, program: str = "tables", rows: int = COUNT) -> Outputs:
    given = context(parameters, program=[network(program)], data=[table(rows, 1)])
    if kept is not None:
        given = replace(given, checkpoints=kept)
    return job_kind("train").run(given)


def interrupted(parameters: Mapping[str, Any], after: int, every: int = 1) -> dict[str, bytes]:
    """The state that is kept last by a training that ends with its `after`th state."""
    kept = Kept(every, end_after=after)
    with pytest.raises(_Interrupted):
        run(parameters, kept)
    return kept.saved[-1]


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"kind": "sgd", "learning_rate": 0.05, "weight_decay": 0.01},
    "momentum": {"kind": "momentum", "learning_rate": 0.05, "momentum": 0.9, "nesterov": False},
    "nesterov": {"kind": "momentum", "learning_rate": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
    "adam": {"kind": "adam", "learning_rate": 0.01},
    "adam with decay": {"kind": "adam", "learning_rate": 0.01, "weight_decay": 0.1},
    "adamw": {"kind": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "steps": {"schedule": {"kind": "step", "every": 1, "factor": 0.5}},
    "cosine, dropping": {"schedule": {"kind": "cosine", "lowest": 0.001}, "drop_last": True, "metrics": ["auc"]},
    "in order, no metrics": {"shuffle": False, "metrics": []},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("options", OPTIONS)
def test_j15_an_interrupted_training_gives_the_same_bits(optimizer: str, options: str) -> None:
    parameters = train_parameters(epochs=3, optimizer=OPTIMIZERS[optimizer], **OPTIONS[options])
    whole = run(parameters)
    watched = Kept()
    assert run(parameters, watched) == whole  # keeping its state changes nothing
    per_epoch = 2 if parameters.get("drop_last") else BATCHES
    assert len(watched.saved) == 3 * per_epoch
    for number in (1, per_epoch, per_epoch + 1, 3 * per_epoch):
        state = interrupted(parameters, number)
        assert state == watched.saved[number - 1]
        assert run(parameters, Kept(every=10**6, state=Volume(state))) == whole, number


def _arrays(program: str) -> tuple[dict[str, Any], Volume]:
    random = np.random.default_rng(3)
    fields: dict[str, Any] = {"x": {"array": "x"}, "label": {"array": "y"}}
    if program == "series":
        made = {"x": random.integers(0, 10, (COUNT, 5)), "y": random.integers(0, 2, COUNT)}
        parameters = train_parameters(epochs=2)
    else:
        shape = (COUNT, 1, 8, 8)
        made = {name: random.standard_normal(shape).astype("float32") for name in ("x", "y")}
        parameters = train_parameters(epochs=2, loss={"kind": "mse"}, metrics=["mae"])
    for name, array in (("x", made["x"]), ("label", made["y"])):
        fields[name]["dtype"] = str(array.dtype)
    return {**parameters, "mapping": fields}, Volume({"a.safetensors": save(made)})


@pytest.mark.parametrize("program", ["series", "pictures"])
def test_j15_recurrent_and_convolving_networks_too(program: str) -> None:
    parameters, data = _arrays(program)
    given = context(parameters, program=[network(program)], data=[data])
    whole = job_kind("train").run(given)
    for number in (1, 3, 5):
        kept = Kept(end_after=number)
        with pytest.raises(_Interrupted):
            job_kind("train").run(replace(given, checkpoints=kept))
        resumed = replace(given, checkpoints=Kept(every=10**6, state=Volume(kept.saved[-1])))
        assert job_kind("train").run(resumed) == whole


def test_j15_it_may_be_interrupted_again_and_again() -> None:
    parameters = train_parameters(epochs=4)
    state: Files | None = None
    ended = 0
    while True:
        # Every process keeps two states and ends: the first stands where it began.
        kept = Kept(end_after=2, state=state)
        try:
            made = run(parameters, kept)
            break
        except _Interrupted:
            state, ended = Volume(kept.saved[-1]), ended + 1
    assert ended == 4 * BATCHES - 1
    assert made == run(parameters)


_ELSEWHERE = """
import sys
from pathlib import Path
import tests.spec.test_jobs_resumed as here
from paddock.jobs.engine import engine
# Names of tensors count what a process made before: this one made others.
engine.nn.Linear(3, 3)
folder = Path(sys.argv[1])
state = here.Volume({path.name: path.read_bytes() for path in (folder / "state").iterdir()})
made = here.run(here.train_parameters(epochs=3), here.Kept(every=10**6, state=state))
for output, files in made.items():
    for name, content in files.items():
        (folder / f"{output}-{name}").write_bytes(content)
"""


def test_j15_in_another_process_too(tmp_path: Path) -> None:
    parameters = train_parameters(epochs=3)
    (tmp_path / "state").mkdir()
    for name, content in interrupted(parameters, 5).items():
        (tmp_path / "state" / name).write_bytes(content)
    command = [sys.executable, "-W", "ignore", "-c", _ELSEWHERE, str(tmp_path)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    for output, files in run(parameters).items():
        for name, content in files.items():
            assert (tmp_path / f"{output}-{name}").read_bytes() == content


def _json(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, bytes]], None]:
    def apply(files: dict[str, bytes]) -> None:
        value = json.loads(files["state.json"])
        change(value)
        files["state.json"] = json.dumps(value).encode()

    return apply


def _tensors(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, bytes]], None]:
    def apply(files: dict[str, bytes]) -> None:
        value = load(files["tensors.safetensors"])
        change(value)
        files["tensors.safetensors"] = save(value)

    return apply


def _first(value: Mapping[str, Any], prefix: str) -> str:
    return min(name for name in value if name.startswith(prefix))


@pytest.mark.parametrize(
    "change",
    [
        lambda files: files.pop("state.json"),
        lambda files: files.pop("tensors.safetensors"),
        lambda files: files.update(more=b""),
        lambda files: files.update({"state.json": b"{"}),
        lambda files: files.update({"tensors.safetensors": files["tensors.safetensors"][:-1]}),
        _json(lambda value: value.update(version="paddock/training-state/v2")),
        _json(lambda value: value.update(more=1)),
        _json(lambda value: value.pop("seen")),
        _json(lambda value: value.update(epoch="1")),
        _json(lambda value: value.update(epoch=3, rows=value["rows"] * 3)),
        _json(lambda value: value.update(epoch=2)),
        _json(lambda value: value.update(batch=BATCHES)),
        _json(lambda value: value.update(batch=-1)),
        _json(lambda value: value.update(rows=[])),
        _json(lambda value: value.update(seen=7)),
        _json(lambda value: value.update(total="nan")),
        _json(lambda value: value.update(total="much")),
        _json(lambda value: value.update(samples=COUNT + 1)),
        _json(lambda value: value.update(parameters="0" * 64)),
        _tensors(lambda value: value.pop(_first(value, "weights/"))),
        _tensors(lambda value: value.pop(_first(value, "optimizer/"))),
        _tensors(lambda value: value.pop("outputs")),
        _tensors(lambda value: value.update(more=np.zeros(1, "float32"))),
        _tensors(lambda value: value.update({"optimizer/0/more": np.zeros(1, "float32")})),
        _tensors(lambda value: value.update({"optimizer/99/moment1": np.zeros(1, "float32")})),
        _tensors(lambda value: value.update({"weights/more": np.zeros(1, "float32")})),
        _tensors(lambda value: value.update({_first(value, "weights/"): np.zeros((1, 1), "float32")})),
        _tensors(lambda value: value.update({name: each.astype("float64") for name, each in value.items()})),
        _tensors(lambda value: value.update({_first(value, "optimizer/"): np.zeros((2, 1, 1), "float32")})),
    ],
)
def test_j15_what_is_not_this_trainings_state_is_refused(change: Callable[[dict[str, bytes]], object]) -> None:
    parameters = train_parameters(epochs=3)
    files = interrupted(parameters, 5)
    run(parameters, Kept(every=10**6, state=Volume(files)))
    change(files)
    with pytest.raises(JobStateRefused):
        run(parameters, Kept(every=10**6, state=Volume(files)))


def test_j15_the_state_of_other_parameters_data_or_networks_is_refused() -> None:
    parameters = train_parameters(epochs=3)
    state = Volume(interrupted(parameters, 5))
    others: list[dict[str, Any]] = [
        {"seed": 8},
        {"epochs": 4},
        {"batch_size": 8},
        {"optimizer": OPTIMIZERS["adamw"]},
        {"metrics": []},
    ]
    for other in others:
        with pytest.raises(JobStateRefused, match="other parameters"):
            run({**parameters, **other}, Kept(state=state))
    with pytest.raises(JobStateRefused, match="other parameters"):
        run(parameters, Kept(state=state), rows=COUNT + 1)
