"""One test or more per rule of docs/spec/gateway.md §5: an output that is not what all signed does not leave."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from paddock.contract.terms import Terms
from paddock.enclave.control import controlled
from paddock.enclave.tensors import TensorForm, check_tensors
from paddock.errors import OutputMissing, OutputRefused, OutputTooLarge
from paddock.jobs.registry import job_kind
from tests.fixtures.cast import terms
from tests.vectors.volumes_by_hand import context, network, table, train_parameters

ONE = np.ones((2, 3), "float32")


def agreed(level: str, kind: str, *, output: str = "out", most: int = 1 << 20, total: int = 1 << 21) -> Terms:
    """Terms with one output, of the training step, of this type."""

    def change(value: dict[str, Any]) -> None:
        value["level"] = level
        value["steps"][0]["parameters"] = train_parameters()
        row = {"source": f"training.{output}", "to": ["modelco"], "type": kind, "max_bytes": most}
        value["outputs"] = {"result": row}
        value["limits"]["output_bytes"] = total

    return terms(change)


def leave(level: str, kind: str, files: Mapping[str, bytes], **changes: Any) -> dict[str, bytes]:
    """What leaves of an output's files."""
    found = controlled(agreed(level, kind, **changes), {"training.out": files}, {"network": network()})
    return dict(found["training.out"])


def stays(level: str, kind: str, files: Mapping[str, bytes], saying: str = "") -> None:
    with pytest.raises(OutputRefused, match=saying or "output"):
        leave(level, kind, files)


def tensors(header: Any, data: bytes) -> bytes:
    """A `.safetensors` file whose header is this JSON, or these bytes."""
    raw = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw + data


def tensor(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


# --- sizes ---


def test_j16_an_output_has_no_more_bytes_than_all_signed() -> None:
    assert leave("L2", "files", {"a": b"1234", "b": b"5678"}, most=8)
    with pytest.raises(OutputTooLarge, match="9 bytes"):
        leave("L2", "files", {"a": b"1234", "b": b"56789"}, most=8)


def test_j16_all_outputs_together_have_no_more() -> None:
    def change(value: dict[str, Any]) -> None:
        value["level"] = "L2"
        row = {"to": ["modelco"], "type": "files", "max_bytes": 8}
        value["outputs"] = {"one": {**row, "source": "training.a"}, "two": {**row, "source": "evaluation.b"}}
        value["limits"]["output_bytes"] = 10

    made = {"training.a": {"x": bytes(8)}, "evaluation.b": {"x": bytes(2)}}
    assert controlled(terms(change), made, {})
    with pytest.raises(OutputTooLarge, match="All outputs"):
        controlled(terms(change), {**made, "evaluation.b": {"x": bytes(3)}}, {})


def test_j16_what_was_written_anew_is_judged_again() -> None:
    short = b'{"a":[' + b",".join([b"1e9"] * 20) + b"]}"
    assert leave("L2", "metrics", {"m.json": short})["m.json"] == (
        b'{"a":[' + b",".join([b"1000000000.0"] * 20) + b"]}\n"
    )
    with pytest.raises(OutputTooLarge, match="bytes and may have"):
        leave("L2", "metrics", {"m.json": short}, most=len(short))

    def change(value: dict[str, Any]) -> None:
        value["level"] = "L2"
        row = {"to": ["modelco"], "type": "metrics", "max_bytes": 300}
        value["outputs"] = {"one": {**row, "source": "training.a"}, "two": {**row, "source": "evaluation.b"}}
        value["limits"]["output_bytes"] = 300

    with pytest.raises(OutputTooLarge, match="All outputs"):
        controlled(terms(change), {"training.a": {"m.json": short}, "evaluation.b": {"m.json": short}}, {})


def test_j16_an_output_that_was_not_made_is_missed() -> None:
    with pytest.raises(OutputMissing):
        controlled(agreed("L2", "files"), {}, {})


# --- weights ---


def test_j17_what_the_library_writes_passes_as_it_is() -> None:
    many = {"b": ONE, "a.w_0": np.ones(3, "int64"), "c": np.zeros((0, 4), "float64"), "d": np.ones((), "uint8")}
    content = save(many)
    assert leave("L2", "weights", {"w.safetensors": content}) == {"w.safetensors": content}
    assert check_tensors(content, "x")["b"] == TensorForm("float32", (2, 3))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04K\x01.",  # a pickle
        b"PK\x03\x04" + bytes(100),  # an archive
        (1 << 60).to_bytes(8, "little"),
        (9).to_bytes(8, "little") + b"{}",
        tensors(b"[]", b""),
        tensors(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
        tensors({"a": tensor(0, 4, [1])}, bytes(5)),  # a byte behind
        tensors({"a": tensor(0, 4, [1])}, bytes(3)),
        tensors({"a": tensor(0, 4, [1]), "b": tensor(8, 12, [1])}, bytes(12)),  # a gap
        tensors({"a": tensor(4, 8, [1])}, bytes(8)),  # a gap in front
        tensors({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, bytes(12)),  # an overlap
        tensors({"a": tensor(0, 4, [1]), "b": tensor(0, 4, [1])}, bytes(4)),  # one byte in two tensors
        tensors({"a": tensor(0, 4, [2])}, bytes(4)),
        tensors({"a": tensor(0, 4, [1 << 40, 1 << 40])}, bytes(4)),  # a giant shape
        tensors({"a": tensor(0, 4, [-1, -1])}, bytes(4)),
        tensors({"a": tensor(4, 0, [1])}, bytes(4)),
        tensors({"a": {**tensor(0, 4, [1]), "more": "text"}}, bytes(4)),
        tensors({"a": tensor(0, 4, [1], "OBJ")}, bytes(4)),
        tensors({"a": tensor(0, 4, [1.0])}, bytes(4)),  # type: ignore[list-item]
        tensors({"a": tensor(0, 4, [1] * 17)}, bytes(4)),
        tensors({"a b": tensor(0, 4, [1])}, bytes(4)),
        tensors({"": tensor(0, 4, [1])}, bytes(4)),
        tensors({"x" * 201: tensor(0, 4, [1])}, bytes(4)),
        tensors({"__metadata__": {"words": "the patients' names"}, "a": tensor(0, 4, [1])}, bytes(4)),
        save({"a": ONE}, metadata={"words": "the patients' names"}),
        tensors(json.dumps({"a": tensor(0, 4, [1])}, indent=1).encode(), bytes(4)),  # blanks
        tensors(b'{"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),  # escapes
        tensors(b'{"a":{"shape":[1],"dtype":"F32","data_offsets":[0,4]}}', bytes(4)),  # an order
        tensors(b'{"a":' * 5000, b""),
    ],
)  # fmt: skip
def test_j17_weights_are_tensors_without_a_place_to_hide_in(content: bytes) -> None:
    stays("L2", "weights", {"w.safetensors": content})


def test_j17_beside_tensors_stand_numbers_alone() -> None:
    def preprocessing(**changes: Any) -> bytes:
        row = {"normalise": "standard", "subtract": [0.5], "divide": [2.0], **changes}
        return json.dumps({"version": 1, "inputs": {"x": row}}, sort_keys=True, separators=(",", ":")).encode()

    good = preprocessing()
    assert leave("L2", "weights", {"preprocessing.json": good}) == {"preprocessing.json": good}
    for bad in (
        b"{}",
        good + b" ",
        good.replace(b'"version":1', b'"version":2'),
        preprocessing(normalise="words"),
        preprocessing(subtract=["words"]),
        preprocessing(subtract=[True]),
        preprocessing(subtract=[10**400]),
        preprocessing(divide=[1 << 53]),
        preprocessing(more=[1.0]),
        good.replace(b"0.5", b"0.50"),
        good.replace(b"0.5", b"NaN"),
        good.replace(b'"inputs"', b'"inputs":{},"inputs"'),
    ):
        stays("L2", "weights", {"preprocessing.json": bad})
    stays("L2", "weights", {"notes.txt": b"words"})


def test_j17_a_header_is_bounded_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def parsed(*_: Any, **__: Any) -> Any:
        pytest.fail("it was parsed")

    content = tensors(b"{" + b" " * (4 << 20), b"")
    monkeypatch.setattr("paddock.enclave.tensors.json", SimpleNamespace(loads=parsed))
    with pytest.raises(OutputRefused, match="no header"):
        leave("L2", "weights", {"w.safetensors": content}, most=1 << 24, total=1 << 24)


# --- metrics and curves ---


def test_j18_numbers_leave_in_one_form() -> None:
    written = b'{"epochs": [ {"epoch":1,"loss":0.123456789} ], "auc":1}'
    expected = {"epochs": [{"epoch": 1, "loss": 0.123456789}], "auc": 1}
    assert (
        leave("L2", "curve", {"c.json": written})["c.json"]
        == (json.dumps(expected, separators=(",", ":")) + "\n").encode()
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1]",
        b'{"words":"the patients\' names"}',
        b'{"a":null}',
        b'{"a":true}',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":Infinity}',
        b'{"a":1,"a":2}',
        b'{"a b":1}',
        b'{"":1}',
        b'{"' + b"x" * 64 + b'":1}',
        b'{"a":[[[[[[[1]]]]]]]}',
        b'{"a":' + b"9" * 30 + b"}",
        b'{"a":"\xff"}',
        b"[" * 100_000,
        b'{"a":1} {"b":2}',
    ],
)
def test_j18_metrics_are_finite_numbers_under_names(content: bytes) -> None:
    stays("L2", "metrics", {"m.json": content})
    stays("L2", "metrics", {"m.txt": b'{"a":1}'})


def test_j18_numbers_are_bounded_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def parsed(*_: Any, **__: Any) -> Any:
        pytest.fail("it was parsed")

    content = b'{"a":[' + b" " * (8 << 20) + b"]}"
    monkeypatch.setattr("paddock.enclave.typed.json", SimpleNamespace(loads=parsed))
    for kind, name in (("metrics", "m.json"), ("weights", "preprocessing.json")):
        with pytest.raises(OutputRefused, match="at most"):
            leave("L2", kind, {name: content}, most=1 << 24, total=1 << 24)


# --- tables ---


def test_j19_tables_leave_in_one_form() -> None:
    written = b'id,"score"\r\nMr X,0.5\r\n"a ""b""",1\r\n'
    assert leave("L2", "table", {"t.csv": written})["t.csv"] == b'id,score\nMr X,0.5\n"a ""b""",1\n'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"a,b\n1\n",
        b"a,b\n1,2,3\n",
        b"a,a\n1,2\n",
        b"a\n\x00\n",
        b"a\n\x1b[2J\n",
        b"a\n\xff\n",
        b"\xff\n1\n",
        b'a\n"1\n',
        b'a\n"1"x\n',
        b'a\n"1\n2"\n',
        b"a\n" + b"x" * 1001 + b"\n",
        b"a\n" + b"x" * 200_000 + b"\n",
        b"a\n\xe2\x80\xae1\n",
    ],
)
def test_j19_a_table_is_rows_of_plain_cells_under_one_header(content: bytes) -> None:
    stays("L2", "table", {"t.csv": content})
    stays("L2", "table", {"t.txt": b"a\n1\n"})


def test_j19_a_row_is_bounded_before_it_is_read() -> None:
    row = b"a,b\n" + b"x," * 600_000
    with pytest.raises(OutputRefused, match="a line of more"):
        leave("L2", "table", {"t.csv": row}, most=1 << 24, total=1 << 24)
    with pytest.raises(OutputRefused, match="strict CSV"):  # no row that goes over many lines
        leave("L2", "table", {"t.csv": b'a\n"' + b'\n","' * 10}, most=1 << 24, total=1 << 24)


# --- text ---


def test_j20_text_is_text() -> None:
    words = "Résumé:\t5 of 7 身\r\n".encode()
    assert leave("L2", "text", {"log.txt": words}) == {"log.txt": words}
    for bad in (b"\xff", b"a\x00", b"\x1b[2J", "\u202egnp.exe".encode(), b"\x80\x04K\x01."):
        stays("L2", "text", {"log.txt": bad})
    assert leave("L2", "files", {"any": b"\x80\x04K\x01."})


# --- what a level adds ---


def _trained() -> dict[str, dict[str, bytes]]:
    made = job_kind("train").run(context(train_parameters(), program=[network()], data=[table(40, 1)]))
    return {f"training.{name}": files for name, files in made.items()}


def test_l12_what_a_training_gives_leaves_unchanged_at_level_5() -> None:
    made = _trained()
    for output, kind in (("weights", "weights"), ("curve", "curve")):
        files = made[f"training.{output}"]
        assert leave("L5", kind, files) == files


def _tensors_of(content: bytes) -> dict[str, Any]:
    from safetensors.numpy import load

    found: dict[str, Any] = load(content)
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda held: held.update(more=ONE),
        lambda held: held.pop(min(held)),
        lambda held: held.update({min(held): held[min(held)].astype("float64")}),
        lambda held: held.update({min(held): ONE}),
        lambda held: held.update(other=held.pop(min(held))),
    ],
)
def test_l12_weights_at_level_5_are_exactly_the_programs(change: Callable[[dict[str, Any]], object]) -> None:
    content = dict(_tensors_of(network().files["weights.safetensors"]))
    leave("L5", "weights", {"weights.safetensors": save(content)})
    change(content)
    stays("L5", "weights", {"weights.safetensors": save(content)}, "exactly")
    assert leave("L4", "weights", {"weights.safetensors": save(content)})


def test_l12_weights_without_a_program_do_not_leave_at_level_5() -> None:
    files = {"training.out": {"weights.safetensors": network().files["weights.safetensors"]}}
    held = agreed("L5", "weights")
    without = held.steps[0].model_copy(update={"inputs": {"data": ("north",)}})
    with pytest.raises(OutputRefused, match="sealed program"):
        controlled(held.model_copy(update={"steps": (without, *held.steps[1:])}), files, {"network": network()})


def test_l12_at_level_5_no_name_says_anything() -> None:
    for kind, files in {
        "weights": {"the patients' names.safetensors": save({"a": ONE})},
        "metrics": {"words.json": b"{}"},
        "curve": {"metrics.json": b"{}"},
        "table": {"words.csv": b"a\n1\n"},
    }.items():
        stays("L5", kind, files, "name")
    named = {"version": 1, "inputs": {"words": {"divide": [1.0], "normalise": "minmax", "subtract": [0.0]}}}
    content = json.dumps(named, sort_keys=True, separators=(",", ":")).encode()
    stays("L5", "weights", {"preprocessing.json": content}, "normalise")
    assert leave("L4", "weights", {"preprocessing.json": content})


def test_l12_at_level_5_a_table_holds_numbers_and_signed_identifiers() -> None:
    plain = b"row,class,probability_0\n1,0,0.250000\n2,1,-1e-5\n"
    assert leave("L5", "table", {"predictions.csv": plain}) == {"predictions.csv": plain}
    for bad in (b"row,class\n1,malignant\n", b"row,the patients\n1,0\n", b"row,class\nMr X,0\n", b"a\n0x1f\n"):
        stays("L5", "table", {"predictions.csv": bad})
    held = agreed("L5", "table")
    step = held.steps[0].model_copy(update={"parameters": {**train_parameters(), "id_column": "patient id"}})
    held = held.model_copy(update={"steps": (step, *held.steps[1:])})

    def identified(content: bytes) -> Any:
        return controlled(held, {"training.out": {"predictions.csv": content}}, {})

    assert identified(b"patient id,class\nA-17,0\n")
    for bad in (b"patient id,class\nMr X has it,0\n", b"patient id,class\nA-17,A-17\n", b"patient id,a b\nA-17,1\n"):
        with pytest.raises(OutputRefused):
            identified(bad)
