"""`paddock program check`: what a developer is told before sealing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.command import paddock, paddock_json
from tests.vectors.programs_by_hand import FOLDER, document, operation, operations


def test_a_file_that_passes_is_described() -> None:
    said = paddock("program", "check", FOLDER / "Branch.json", "--batch-size", 64)
    assert said.code == 0
    for words in (
        "Fit to be sealed",
        "float32[batch, 4]",
        "64 samples",
        "multiplications",
        "batch_norm_",
        "paddock program export",
    ):
        assert words in said.out
    body = paddock_json("program", "check", FOLDER / "Branch.json", "--batch-size", 64).json
    assert body["fit"] is True
    assert body["refusals"] == []
    assert body["inputs"] == {"x": "float32[batch, 4]"}
    assert body["parameters"] == 2 * 20 + 1 + 4 * 4
    assert body["trainable"] == 2 * 20 + 1 + 2 * 4
    assert body["batch_size"] == 64
    assert body["training_memory"] > body["evaluation_memory"] > 64 * 4 * 4
    assert body["weights_checked"] is False


def test_every_refusal_is_named_with_its_place_its_layer_and_what_to_do(tmp_path: Path) -> None:
    value = document("tables")
    first = operation(value, "1.relu")
    first["#"] = "1.py_func"
    first["A"].append({"N": "struct_name", "AT": {"#": "0.a_str", "D": "/Sequential/Mine/"}})
    operation(value, "1.dropout")["A"][0]["AT"] = {"#": "0.a_i32", "D": 5}
    last = [op for op in operations(value) if op["#"] == "1.add"][-1]
    last["#"] = "4.mine"
    file = _written(tmp_path, value)
    said = paddock("program", "check", file)
    assert said.code == 3
    assert "Refused at 2 places" in said.out
    assert "pd_op.py_func at op 12, in /Sequential/Mine/" in said.out
    assert "no Python travels with a program" in said.out
    assert "dialect-4.mine at op 16" in said.out
    done = paddock_json("program", "check", file)
    assert done.code == 3
    assert done.json["fit"] is False
    assert [(each["code"], each["operator"], each["place"]) for each in done.json["refusals"]] == [
        ("E-PROGRAM-02", "pd_op.py_func", 12),
        ("E-PROGRAM-02", "dialect-4.mine", 16),
    ]
    assert done.json["refusals"][0]["layer"] == "/Sequential/Mine/"


@pytest.mark.parametrize(
    ("name", "operator", "code"),
    [
        ("Printed", "pd_op.print", "E-PROGRAM-02"),
        ("OwnGradient", "pd_op.pylayer", "E-PROGRAM-02"),
        ("Listed", "pd_op.create_array", "E-PROGRAM-02"),
        ("EndedByWeights", "pd_op.while", "E-PROGRAM-03"),
    ],
)
def test_exported_programs_that_are_refused_say_what_to_do(name: str, operator: str, code: str) -> None:
    done = paddock_json("program", "check", FOLDER / f"{name}.json")
    assert done.code == 3
    first = done.json["refusals"][0]
    assert (first["operator"], first["code"]) == (operator, code)
    assert first["why"]
    assert first["instead"]


def test_a_file_that_is_no_program_is_one_refusal(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"[]")
    done = paddock_json("program", "check", tmp_path / "x.json")
    assert done.code == 3
    assert [each["code"] for each in done.json["refusals"]] == ["E-PROGRAM-01"]


def test_a_folder_without_weights_or_a_file_that_is_not_there_ends_with_its_own_error(tmp_path: Path) -> None:
    (tmp_path / "program.json").write_bytes((FOLDER / "tables.json").read_bytes())
    assert paddock("program", "check", tmp_path).code == 3
    assert paddock("program", "check", tmp_path / "nothing.json").code == 5


def _written(folder: Path, value: Any) -> Path:
    file = folder / "changed.json"
    file.write_text(json.dumps(value), encoding="utf-8")
    return file
