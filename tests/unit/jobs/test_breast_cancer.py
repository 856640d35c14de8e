"""The sample from end to end: shares, export, training, evaluation, prediction, and the plain script beside it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from paddock.jobs.registry import job_kind
from paddock.samples import breast_cancer, plain_training
from tests.vectors.volumes_by_hand import Volume, context

_EPOCHS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("shares")
    breast_cancer.write_shares({name: made / name for name in ("north", "south", "lakeside", "clinic")})
    breast_cancer.write_truth(made / "truth.csv")
    breast_cancer.export_network(made / "net")
    return made


def _volume(folder: Path) -> Volume:
    return Volume({path.name: path.read_bytes() for path in folder.iterdir()})


def _mapping(*, label: bool) -> dict[str, Any]:
    x = {"columns": list(breast_cancer.COLUMNS), "dtype": "float32", "normalise": "standard"}
    return {"x": x, "label": {"column": breast_cancer.LABEL, "dtype": "int64"}} if label else {"x": x}


def _train(folder: Path, told: list[Any]) -> dict[str, dict[str, bytes]]:
    parameters = {
        "seed": 7, "epochs": _EPOCHS, "batch_size": 32, "loss": {"kind": "cross_entropy"}, "metrics": ["accuracy"],
        "optimizer": {"kind": "adam", "learning_rate": 0.003}, "mapping": _mapping(label=True),
    }  # fmt: skip
    data = [_volume(folder / name) for name in ("north", "south")]
    given = context(parameters, progress=told.append, program=[_volume(folder / "net")], data=data)
    return job_kind("train").run(given)


def test_the_shares_are_the_569_patients_once_each_and_the_clinic_has_no_diagnoses(folder: Path) -> None:
    rows = {path.parent.name: _rows(path) for path in folder.glob("*/*.csv")}
    assert {name: len(lines) - 1 for name, lines in rows.items()} == {
        "north": 200, "south": 180, "lakeside": 119, "clinic": 70,
    }  # fmt: skip
    assert rows["clinic"][0] == ["patient", *breast_cancer.COLUMNS]
    assert rows["north"][0] == [*breast_cancer.COLUMNS, "malignant"]
    patients = [tuple(line[:30]) for name in ("north", "south", "lakeside") for line in rows[name][1:]]
    assert len({*patients, *(tuple(line[1:]) for line in rows["clinic"][1:])}) == 569


def test_a_plain_script_in_a_process_of_its_own_gets_the_same_weights(folder: Path) -> None:
    told: list[Any] = []
    made = _train(folder, told)
    records = [str(folder / name / "records.csv") for name in ("north", "south")]
    initial, output = str(folder / "net" / "weights.safetensors"), str(folder / "plain.safetensors")
    arguments = [plain_training.__file__, output, initial, str(_EPOCHS), "32", "7", "0.003", *records]
    subprocess.run([sys.executable, "-W", "ignore", *arguments], check=True)
    (folder / "trained.safetensors").write_bytes(made["weights"]["weights.safetensors"])
    plain, sealed = load_file(output), load_file(folder / "trained.safetensors")
    assert plain.keys() == sealed.keys()
    assert [name for name in plain if plain[name].tobytes() != sealed[name].tobytes()] == []

    epochs = json.loads(made["curve"]["curve.json"])["epochs"]
    assert [row["epoch"] for row in epochs] == list(range(1, _EPOCHS + 1))
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    assert told[-1].step == told[-1].total == _EPOCHS * 12


def test_evaluation_and_prediction_use_what_was_fitted_in_training(folder: Path) -> None:
    weights = Volume(_train(folder, [])["weights"])
    assert weights.names() == ["preprocessing.json", "weights.safetensors"]
    names = ["accuracy", "auc", "sensitivity", "specificity"]
    parameters = {
        "batch_size": 50, "loss": {"kind": "cross_entropy"}, "metrics": names, "mapping": _mapping(label=True),
    }  # fmt: skip
    program = [_volume(folder / "net")]
    given = context(parameters, program=program, weights=[weights], data=[_volume(folder / "lakeside")])
    metrics = job_kind("evaluate").run(given)["metrics"]
    values = json.loads(metrics["metrics.json"])
    assert list(values) == ["samples", "loss", *names]
    assert values["auc"] > 0.95
    assert values["auc"] == json.loads(metrics["roc.json"])["auc"]

    parameters = {
        "batch_size": 50, "output": "softmax", "id_column": "patient", "mapping": _mapping(label=False),
    }  # fmt: skip
    given = context(parameters, program=program, weights=[weights], data=[_volume(folder / "clinic")])
    (folder / "predictions.csv").write_bytes(job_kind("predict").run(given)["predictions"]["predictions.csv"])
    assert breast_cancer.check_predictions(folder / "truth.csv", folder / "predictions.csv") > 0.85


def test_a_run_that_must_end_ends_between_batches(folder: Path) -> None:
    calls = 0

    class Ended(Exception):
        pass

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 10:
            raise Ended

    parameters = {
        "seed": 7, "epochs": 1000, "batch_size": 32, "loss": {"kind": "cross_entropy"},
        "optimizer": {"kind": "sgd", "learning_rate": 0.003}, "mapping": _mapping(label=True),
    }  # fmt: skip
    given = context(parameters, check=check, program=[_volume(folder / "net")], data=[_volume(folder / "north")])
    with pytest.raises(Ended):
        job_kind("train").run(given)


def _rows(path: Path) -> Sequence[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))
