"""docs/spec/program.md, rules of the jobs: each broken once or more."""

from __future__ import annotations

import csv
import io
import json
import pickle
from typing import Any

import numpy as np
import pytest

from paddock.errors import (
    DataUnreadable,
    Diverged,
    FieldMissing,
    MemoryExceeded,
    ParametersRefused,
    ShapeMismatch,
    StepInputRefused,
    ValuesRefused,
    WeightsRefused,
)
from paddock.jobs.data import load_samples
from paddock.jobs.metrics import roc, rounded
from paddock.jobs.parameters import EvaluateParameters, PredictParameters, TrainParameters, read_parameters
from paddock.jobs.registry import job_kind
from paddock.jobs.training import batch_seed, batches, epoch_order
from paddock.jobs.weights import check_weights, write_weights
from tests.vectors.volumes_by_hand import (
    COLUMNS,
    ROOM,
    Volume,
    context,
    csv_text,
    initial_weights,
    mapping,
    network,
    program,
    samples,
    table,
    train_parameters,
)

SECRET = "4711.0815"


def _load(*volumes: Volume, fitted: Any = None, id_column: str | None = None, room: int = ROOM, **changes: Any) -> Any:
    parameters = read_parameters(TrainParameters, train_parameters(mapping={**mapping(), **changes}))
    return load_samples(
        program(), volumes, parameters.mapping, fitted=fitted, id_column=id_column, memory_limit_bytes=room
    )


def _npy(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": "3"},
        {"epochs": True},
        {"epochs": 0},
        {"more": 1},
        {"loss": {"kind": "mine"}},
        {"optimizer": {"kind": "adam", "learning_rate": 0.1, "code": "x"}},
        {"metrics": ["r2"]},
        {"mapping": {"x": mapping()["x"]}},
        {"mapping": {**mapping(), "label": {"column": "label", "dtype": "float32"}}},
        {"batch_size": 1 << 40},
    ],
)
def test_j1_parameters_of_other_names_types_or_bounds_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ParametersRefused):
        job_kind("train").check_parameters(train_parameters(**changes))


def test_j1_what_is_refused_is_named_and_its_value_is_not() -> None:
    with pytest.raises(ParametersRefused, match="optimizer") as caught:
        job_kind("train").check_parameters(train_parameters(optimizer={"kind": "adam", "learning_rate": SECRET}))
    assert SECRET not in str(caught.value)


def test_j2_a_field_with_two_sources_or_none_is_refused() -> None:
    for field in ({"dtype": "float32"}, {"dtype": "float32", "column": "a", "array": "b"}):
        with pytest.raises(ParametersRefused):
            read_parameters(PredictParameters, {"batch_size": 1, "output": "raw", "mapping": {"x": field}})


def test_j2_the_mapping_must_name_the_programs_inputs_with_their_dtypes() -> None:
    with pytest.raises(ShapeMismatch, match="'x'"):
        _load(table(4, 1), y={"columns": COLUMNS, "dtype": "float32"})
    with pytest.raises(ShapeMismatch, match="float64"):
        _load(table(4, 1), x={"columns": COLUMNS, "dtype": "float64"})


def test_j2_predict_takes_no_label_and_evaluate_needs_one() -> None:
    with pytest.raises(ParametersRefused):
        read_parameters(PredictParameters, {"batch_size": 1, "output": "raw", "mapping": mapping()})
    with pytest.raises(ParametersRefused):
        read_parameters(EvaluateParameters, {"batch_size": 1, "loss": {"kind": "mse"}, "mapping": mapping(label=False)})


def test_j3_tables_of_a_volume_come_in_path_order_and_share_a_header() -> None:
    one, two = samples(3, 1), samples(2, 2)
    loaded = _load(Volume({"b.csv": csv_text(two), "a.csv": csv_text(one), "README": b"x"}), x=_raw())
    assert loaded.inputs[0].tolist() == np.array([row[:-1] for row in one + two], dtype="float32").tolist()
    other = csv_text(two, [*COLUMNS[::-1], "label"])
    with pytest.raises(DataUnreadable, match="header"):
        _load(Volume({"a.csv": csv_text(one), "b.csv": other}))


def _raw() -> dict[str, Any]:
    return {"columns": COLUMNS, "dtype": "float32", "normalise": "none"}


def test_j3_ragged_rows_and_what_is_no_text_are_refused() -> None:
    for content in (csv_text([*samples(2, 1), [1, 2]]), b"\xff\xfe\x00", b'"', b"", b"a,a\n1,2\n"):
        with pytest.raises(DataUnreadable):
            _load(Volume({"a.csv": content}))


def test_j3_arrays_are_read_and_never_unpickled() -> None:
    values = np.arange(60, dtype="float64").reshape(2, 30)
    fields: dict[str, Any] = {"x": {"array": "x", "dtype": "float32"}, "label": {"array": "y", "dtype": "int64"}}
    label = _npy(np.array([0, 1], dtype="uint8"))
    good = Volume({"x.npy": _npy(values), "in/y.npy": label})
    assert _load(good, **fields).inputs[0].tolist() == values.tolist()
    same = Volume({"all.safetensors": write_weights({"x": values, "y": np.array([0, 1])})})
    assert _load(same, **fields).label.tolist() == [0, 1]

    class Bomb:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("it was unpickled",))

    bombs = [_npy(np.array([Bomb(), 1], dtype=object), allow_pickle=True), pickle.dumps(Bomb())]
    for content in (*bombs, _npy(values)[:-8], _npy(values) + b"more", b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 70_000):
        with pytest.raises(DataUnreadable):
            _load(Volume({"x.npy": content, "y.npy": label}), **fields)
    with pytest.raises(FieldMissing, match="'x'"):
        _load(Volume({"y.npy": label}), **fields)


def test_j3_a_missing_column_is_named() -> None:
    with pytest.raises(FieldMissing, match=r"Column 'c7' is not in data input 2"):
        _load(
            table(3, 1), Volume({"a.csv": csv_text([[1, 2]], ["c0", "label"])}), x={**_raw(), "columns": ["c0", "c7"]}
        )


def test_j4_volumes_are_pooled_in_the_signed_order() -> None:
    one, two = table(3, 1), table(2, 2)
    forth, back = _load(one, two, x=_raw()), _load(two, one, x=_raw())
    assert forth.inputs[0].tolist() == [*back.inputs[0][2:].tolist(), *back.inputs[0][:2].tolist()]


def test_j5_normalising_is_fitted_on_the_pool_and_used_again() -> None:
    one, two = table(50, 1), table(30, 2)
    pooled = _load(one, two)
    assert np.abs(pooled.inputs[0].mean(axis=0)).max() < 1e-6
    assert np.abs(pooled.inputs[0].std(axis=0) - 1).max() < 1e-6
    again = _load(two, fitted=pooled.fitted)
    assert again.inputs[0].tolist() == pooled.inputs[0][50:].tolist()
    smallest = _load(one, x={**_raw(), "normalise": "minmax"}).inputs[0]
    assert (float(smallest.min()), float(smallest.max())) == (0.0, 1.0)


def test_j5_a_column_that_never_changes_is_not_divided_by_zero() -> None:
    rows = [[5.0] * 30 + [0], [5.0] * 30 + [1]]
    assert _load(Volume({"a.csv": csv_text(rows)})).inputs[0].tolist() == [[0.0] * 30] * 2


def test_j5_weights_fitted_for_another_mapping_are_refused() -> None:
    made = job_kind("train").run(context(train_parameters(epochs=1), program=[network()], data=[table(20, 1)]))
    weights = Volume(made["weights"])
    for wanted in ("none", "minmax"):
        parameters = {"batch_size": 8, "output": "softmax", "mapping": mapping(wanted, label=False)}
        with pytest.raises(StepInputRefused, match="normalise"):
            job_kind("predict").run(context(parameters, program=[network()], weights=[weights], data=[table(4, 2)]))
    del weights.files["preprocessing.json"]
    parameters = {"batch_size": 8, "output": "softmax", "mapping": mapping(label=False)}
    with pytest.raises(StepInputRefused, match="preprocessing"):
        job_kind("predict").run(context(parameters, program=[network()], weights=[weights], data=[table(4, 2)]))


@pytest.mark.parametrize("cell", ["", "nan", "inf", "x" + SECRET, "1_000", "1e999"])
def test_j6_cells_that_are_no_numbers_are_counted_and_not_shown(cell: str) -> None:
    rows = samples(3, 1)
    rows[1][4] = cell
    with pytest.raises(ValuesRefused, match="Column 'c4' of data input 1: 1 of 3") as caught:
        _load(Volume({"a.csv": csv_text(rows)}))
    assert SECRET not in str(caught.value)


def test_j6_a_label_that_is_no_whole_number_is_refused() -> None:
    rows = samples(3, 1)
    rows[1][-1] = "0.5"
    with pytest.raises(ValuesRefused, match="'label'"):
        _load(Volume({"a.csv": csv_text(rows)}))


def test_j6_arrays_with_numbers_that_are_not_finite_are_refused() -> None:
    values = np.zeros((2, 30))
    values[1, 3] = np.nan
    volume = Volume({"x.npy": _npy(values), "label.npy": _npy(np.array([0, 1]))})
    fields: dict[str, Any] = {"x": {"array": "x", "dtype": "float32"}, "label": {"array": "label", "dtype": "int64"}}
    with pytest.raises(ValuesRefused, match="1 values"):
        _load(volume, **fields)
    volume.files["x.npy"] = _npy(np.full((2, 30), 1e300))
    with pytest.raises(ValuesRefused, match="too large"), np.errstate(over="ignore"):
        _load(volume, **fields)


def test_j6_no_samples_are_refused() -> None:
    with pytest.raises(ValuesRefused, match="no samples"):
        _load(Volume({"a.csv": csv_text([])}))


def test_j7_shapes_that_differ_from_the_programs_are_named() -> None:
    with pytest.raises(ShapeMismatch, match=r"'x' of the program takes \[batch, 30\]; the data give \[batch, 2\]"):
        _load(table(3, 1), x={**_raw(), "columns": ["c0", "c1"]})


def test_j7_a_label_outside_the_networks_classes_is_refused_before_training() -> None:
    rows = samples(20, 1)
    rows[3][-1] = 2
    told: list[Any] = []
    with pytest.raises(ValuesRefused, match="label of 1 samples"):
        job_kind("train").run(
            context(
                train_parameters(),
                program=[network()],
                data=[Volume({"a.csv": csv_text(rows)})],
                progress=told.append,
            )
        )
    assert not told


def test_j7_fields_of_different_length_are_refused() -> None:
    volume = Volume({"x.npy": _npy(np.zeros((3, 30))), "y.npy": _npy(np.array([0, 1]))})
    with pytest.raises(ShapeMismatch, match="different numbers"):
        _load(volume, x={"array": "x", "dtype": "float32"}, label={"array": "y", "dtype": "int64"})


def test_p9_numbers_outside_an_embedding_are_refused() -> None:
    made = program("series")
    parameters = read_parameters(
        PredictParameters,
        {"batch_size": 2, "output": "raw", "mapping": {"x": {"array": "x", "dtype": "int64"}}},
    )
    for outside in (50, -1):
        values = np.full((2, 5), outside)
        with pytest.raises(ValuesRefused, match="0 to 49"):
            load_samples(
                made,
                [Volume({"x.npy": _npy(values)})],
                parameters.mapping,
                fitted={},
                id_column=None,
                memory_limit_bytes=ROOM,
            )


def test_j8_weights_of_other_names_shapes_or_dtypes_are_refused() -> None:
    made = program()
    good = initial_weights(made)
    name = next(iter(good))
    check_weights(made, write_weights(good))
    wrong: list[dict[str, Any]] = [
        {key: value for key, value in good.items() if key != name},
        {**good, "more": np.zeros(1, "float32")},
        {**good, name: np.zeros((*good[name].shape, 1), "float32")},
        {**good, name: good[name].astype("float64")},
    ]
    for tensors in wrong:
        with pytest.raises(WeightsRefused):
            check_weights(made, write_weights(tensors))
    for content in (b"", pickle.dumps(good), write_weights(good)[:-1]):
        with pytest.raises(WeightsRefused):
            check_weights(made, content)


def test_j9_more_memory_than_the_contract_allows_is_refused_before_the_start() -> None:
    with pytest.raises(MemoryExceeded):
        _load(table(20, 1), room=100)
    for kind, parameters in (
        ("train", train_parameters(batch_size=1_000_000)),
        ("predict", {"batch_size": 1_000_000, "output": "raw", "mapping": mapping("none", label=False)}),
    ):
        with pytest.raises(MemoryExceeded):
            job_kind(kind).run(context(parameters, program=[network()], data=[table(3, 1)], room=1 << 24))


def test_j10_the_order_of_an_epoch_is_the_specified_one() -> None:
    # Worked out once, by the sentence of the specification; numpy keeps these streams (NEP 19).
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([7, 3])))
    assert epoch_order(7, 3, 10, shuffle=True).tolist() == generator.permutation(10).tolist()
    assert epoch_order(7, 0, 10, shuffle=True).tolist() == [8, 0, 7, 1, 3, 6, 2, 4, 5, 9]
    assert epoch_order(7, 3, 4, shuffle=False).tolist() == [0, 1, 2, 3]
    assert [len(each) for each in batches(range(10), 4, drop_last=False)] == [4, 4, 2]
    assert [len(each) for each in batches(range(10), 4, drop_last=True)] == [4, 4]


def test_j10_no_complete_batch_is_refused() -> None:
    with pytest.raises(ShapeMismatch, match="no complete batch"):
        job_kind("train").run(context(train_parameters(drop_last=True), program=[network()], data=[table(9, 1)]))


def test_j11_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    def weights(seed: int) -> bytes:
        made = job_kind("train").run(context(train_parameters(seed=seed), program=[network()], data=[table(40, 1)]))
        return made["weights"]["weights.safetensors"]

    first = weights(7)
    assert first == weights(7)
    assert first != weights(8)


def test_j11_what_a_batch_draws_depends_on_its_place_alone() -> None:
    seeds = [batch_seed(7, epoch, batch) for epoch in range(20) for batch in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert batch_seed(7, 3, 2) == int(np.random.SeedSequence([7, 3, 2, 1]).generate_state(1)[0])
    orders = {int(np.random.SeedSequence([7, epoch]).generate_state(1)[0]) for epoch in range(20)}
    assert not orders & set(seeds)


def test_j12_schedules_change_the_rate_between_epochs() -> None:
    def curve(**schedule: Any) -> Any:
        parameters = train_parameters(epochs=3, schedule=schedule, metrics=[])
        made = job_kind("train").run(context(parameters, program=[network()], data=[table(40, 1)]))
        return [row["loss"] for row in json.loads(made["curve"]["curve.json"])["epochs"]]

    constant = curve(kind="constant")
    step, cosine = curve(kind="step", every=1, factor=0.1), curve(kind="cosine", lowest=0.0)
    assert constant[0] == step[0] == cosine[0]
    assert len({constant[1], step[1], cosine[1]}) == 3


def test_j13_what_is_reported_is_finite_rounded_and_not_one_point_per_sample() -> None:
    assert rounded(1 / 3) == 0.33333
    assert rounded(float("nan")) == rounded(float("inf")) == 0.0
    random = np.random.default_rng(1)
    made = roc(random.standard_normal(5000), random.integers(0, 2, 5000))
    assert len(made["true_positive_rate"]) == len(made["false_positive_rate"]) == 102
    assert all(value == round(value, 5) for value in made["true_positive_rate"])


def test_j13_a_loss_that_leaves_the_numbers_ends_the_training() -> None:
    parameters = train_parameters(
        epochs=60, optimizer={"kind": "sgd", "learning_rate": 100}, loss={"kind": "mse"}, metrics=[],
        mapping={**mapping(), "label": {"columns": ["c0", "c1"], "dtype": "float32"}},
    )  # fmt: skip
    with pytest.raises(Diverged):
        job_kind("train").run(context(parameters, program=[network()], data=[table(40, 1)]))


def test_j14_predictions_have_the_datas_order_and_its_ids() -> None:
    rows = [[f"P-{number}", *row] for number, row in enumerate(samples(5, 3))]
    data = Volume({"a.csv": csv_text(rows, ["patient", *COLUMNS, "label"])})
    parameters = {
        "batch_size": 2, "output": "softmax", "id_column": "patient", "mapping": mapping("none", label=False),
    }  # fmt: skip
    made = job_kind("predict").run(context(parameters, program=[network()], data=[data]))
    lines = list(csv.reader(io.StringIO(made["predictions"]["predictions.csv"].decode())))
    assert lines[0] == ["patient", "class", "probability_0", "probability_1"]
    assert [line[0] for line in lines[1:]] == [f"P-{number}" for number in range(5)]
    assert all(abs(float(line[2]) + float(line[3]) - 1) < 1e-5 for line in lines[1:])


def test_j14_an_id_that_is_not_printable_is_refused() -> None:
    data = Volume({"a.csv": csv_text([["x\x07", *samples(1, 3)[0]]], ["patient", *COLUMNS, "label"])})
    parameters = {
        "batch_size": 2, "output": "raw", "id_column": "patient", "mapping": mapping("none", label=False),
    }  # fmt: skip
    with pytest.raises(ValuesRefused, match="'patient'"):
        job_kind("predict").run(context(parameters, program=[network()], data=[data]))
