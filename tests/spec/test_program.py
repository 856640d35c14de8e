"""docs/spec/program.md: each rule, broken once or more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paddock.errors import OperationRefused, OperatorRefused, ProgramTooLarge, ProgramUnreadable
from paddock.program import STANDARD_LIMITS, Limits, memory_bound, read_program, work_bound
from paddock.program.operators import OPERATORS
from tests.vectors.programs_by_hand import FOLDER, attribute, changed, document, operation, operations, read


def _after_the_input(value: dict[str, Any], *added: dict[str, Any]) -> None:
    ops = operations(value)
    place = next(index for index, op in enumerate(ops) if op["#"] == "1.data") + 1
    ops[place:place] = added


def _tensor(number: int, dtype: str, shape: list[int]) -> dict[str, Any]:
    return {"%": number, "TT": {"#": "0.t_dtensor", "D": [{"#": f"0.t_{dtype}"}, shape, "NCHW", [], 0]}}


def _array(number: int, values: list[int]) -> dict[str, Any]:
    found = [{"#": "0.a_i64", "D": each} for each in values]
    about = [
        {"N": "value", "AT": {"#": "0.a_array", "D": found}},
        {"N": "dtype", "AT": {"#": "1.a_dtype", "D": "int64"}},
    ]
    return {"#": "1.full_int_array", "A": about, "I": [], "O": [_tensor(number, "i64", [len(values)])], "OA": []}


def _op(
    name: str, operands: list[int], made: list[dict[str, Any]], attributes: list[Any] | None = None
) -> dict[str, Any]:
    return {"#": name, "A": attributes or [], "I": [{"%": each} for each in operands], "O": made, "OA": []}


_SLICE = [
    {"N": name, "AT": {"#": "0.a_array", "D": [{"#": "0.a_i64", "D": each} for each in values]}}
    for name, values in (("axes", [0]), ("infer_flags", [1]), ("decrease_axis", []))
]


def test_the_saved_programs_pass() -> None:
    for name, operators in (("tables", "batch_norm_ dropout"), ("pictures", "conv2d_transpose"), ("series", "rnn")):
        program = read(document(name))
        assert set(operators.split()) <= program.operator_counts().keys()


def test_p1_too_many_bytes_operations_or_levels_are_refused() -> None:
    data = (FOLDER / "tables.json").read_bytes()
    for limits in (
        Limits(max_bytes=len(data) - 1, max_depth=24, max_operations=1000, max_elements=1 << 20, max_work=1 << 44),
        Limits(max_bytes=len(data), max_depth=11, max_operations=1000, max_elements=1 << 20, max_work=1 << 44),
        Limits(max_bytes=len(data), max_depth=24, max_operations=17, max_elements=1 << 20, max_work=1 << 44),
        Limits(max_bytes=len(data), max_depth=24, max_operations=1000, max_elements=100, max_work=1 << 44),
    ):
        with pytest.raises(ProgramTooLarge):
            read_program(data, limits)


def test_p1_a_bomb_of_brackets_does_not_reach_the_stack() -> None:
    with pytest.raises((ProgramTooLarge, ProgramUnreadable)):
        read_program(b"[" * 1_000_000, STANDARD_LIMITS)


def test_p1_a_tensor_of_a_size_that_no_machine_has_is_refused_before_it_is_made() -> None:
    def grow(value: dict[str, Any]) -> None:
        op = operation(value, "1.full")
        attribute(op, "shape")["D"] = [1 << 30, 1 << 30]
        op["O"][0]["TT"]["D"][1] = [1 << 30, 1 << 30]

    with pytest.raises(ProgramTooLarge):
        read(changed("tables", grow))


def test_p1_nothing_grows_with_the_numbers_that_a_file_gives_its_values() -> None:
    def number(value: dict[str, Any]) -> None:
        large = (1 << 31) - 1
        made = operation(value, "1.relu")["O"][0]["%"]
        for op in operations(value):
            for each in [*op.get("I", ()), *(op["O"] if isinstance(op["O"], list) else [op["O"]])]:
                if each["%"] == made:
                    each["%"] = large

    program = read(changed("tables", number))
    assert max(program.types) < 100


@pytest.mark.parametrize(
    ("op", "name", "value"),
    [
        ("1.full", "shape", [1 << 20, 1 << 20, 1 << 20]),
        ("1.full", "shape", [1 << 62]),
        ("1.full", "shape", [-1]),
        ("1.full", "shape", [0]),
        ("1.full", "shape", [1] * 9),
    ],
)
def test_p1_shapes_whose_product_no_number_holds_are_refused(op: str, name: str, value: list[int]) -> None:
    def grow(document: dict[str, Any]) -> None:
        attribute(operation(document, op), name)["D"] = value

    with pytest.raises((OperationRefused, ProgramTooLarge)):
        read(changed("tables", grow))


def test_p1_a_size_that_hides_behind_the_batch_is_refused() -> None:
    def expand(times: float) -> Any:
        def insert(value: dict[str, Any]) -> None:
            x = operation(value, "1.data")["O"][0]["%"]
            scale = json.loads(json.dumps(operation(value, "1.full")))
            attribute(scale, "value")["D"] = times
            scale["O"][0]["%"] = 900
            about = [{"N": "bias", "AT": {"#": "0.a_f32", "D": 0.0}}]
            about.append({"N": "bias_after_scale", "AT": {"#": "0.a_bool", "D": True}})
            _after_the_input(
                value,
                scale,
                _op("1.shape64", [x], [_tensor(901, "i64", [2])]),
                _array(902, [0]),
                _array(903, [1]),
                _op("1.slice", [901, 902, 903], [_tensor(904, "i64", [1])], _SLICE),
                _op("1.scale", [904, 900], [_tensor(905, "i64", [1])], about),
                _op("1.expand", [900, 905], [_tensor(906, "f32", [-1])]),
            )

        return insert

    assert read(changed("tables", expand(3.0)))
    with pytest.raises(ProgramTooLarge, match=r"pd_op.expand at op \d+ makes"):
        read(changed("tables", expand(float(1 << 32))))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"null",
        b'{"base_code": 1, "base_code": 1}',
        b'{"base_code": NaN, "program": {}}',
    ],
)
def test_p2_what_is_not_the_one_form_of_json_is_refused(data: bytes) -> None:
    with pytest.raises(ProgramUnreadable):
        read_program(data, STANDARD_LIMITS)


def test_p2_unknown_members_are_refused_everywhere() -> None:
    places: list[Any] = [
        lambda value: value,
        lambda value: value["base_code"],
        lambda value: value["program"],
        lambda value: value["program"]["regions"][0],
        lambda value: value["program"]["regions"][0]["blocks"][0],
        lambda value: operation(value, "1.relu"),
        lambda value: operation(value, "p"),
        lambda value: operation(value, "1.relu")["O"][0],
        lambda value: operation(value, "1.relu")["A"][0],
    ]
    for place in places:
        value = changed("tables", lambda value, place=place: place(value).update(more=1))  # type: ignore[misc]
        with pytest.raises(ProgramUnreadable):
            read(value)


def test_p2_another_version_is_refused() -> None:
    with pytest.raises(ProgramUnreadable):
        read(changed("tables", lambda value: value["base_code"].update(version=5)))


def test_p2_an_operation_with_regions_is_refused() -> None:
    with pytest.raises(ProgramUnreadable):
        read(changed("tables", lambda value: operation(value, "1.relu").update(regions=[])))
    handed = {"#": "2.yield", "A": [], "I": [], "O": [], "OA": []}
    regions = [{"#": "region_1", "blocks": [{"#": "block_1", "args": [], "ops": [handed]}]}]
    with pytest.raises(OperationRefused, match=r"pd_op.relu.*holds other operations"):
        read(changed("tables", lambda value: operation(value, "1.relu").update(regions=regions)))


def test_p2_brackets_in_a_name_are_not_levels_and_quotes_do_not_hide_levels() -> None:
    def name(value: dict[str, Any]) -> None:
        operation(value, "p")["A"][3] = "[" * 200 + '\\"'

    assert len(read(changed("tables", name)).parameters) == 8
    deep = b'{"a\\"": ' + b"[" * 70 + b"]" * 70 + b"}"
    with pytest.raises(ProgramTooLarge, match="deeper"):
        read_program(deep, STANDARD_LIMITS)


def test_p2_a_device_that_is_not_three_plain_members_is_refused() -> None:
    for place in ([1, 0], [1, 0, {"a": 1}], [[1], 0, ""], [True, 0, ""]):

        def change(value: dict[str, Any], place: Any = place) -> None:
            attribute(operation(value, "1.full"), "place")["D"] = place

        with pytest.raises(ProgramUnreadable):
            read(changed("tables", change))


def test_p3_a_value_used_before_it_is_made_is_refused() -> None:
    def swap(value: dict[str, Any]) -> None:
        ops = operations(value)
        ops[9], ops[10] = ops[10], ops[9]

    with pytest.raises(OperationRefused, match="before it is made"):
        read(changed("tables", swap))


def test_p3_a_value_made_twice_is_refused() -> None:
    def again(value: dict[str, Any]) -> None:
        operation(value, "1.relu")["O"][0]["%"] = operation(value, "1.data")["O"][0]["%"]

    with pytest.raises(OperationRefused, match="again"):
        read(changed("tables", again))


def test_p3_a_value_that_an_operator_keeps_for_itself_cannot_be_used() -> None:
    def use_mask(value: dict[str, Any]) -> None:
        mask = operation(value, "1.dropout")["O"][1]["%"]
        operations(value)[-1]["I"][0]["%"] = mask

    with pytest.raises(OperationRefused, match="keeps for itself"):
        read(changed("tables", use_mask))


def test_p4_an_operator_that_is_not_listed_is_refused_by_name_and_place() -> None:
    # What PaddlePaddle can write of these stands in tests/unit/jobs/test_refused_operators.py.
    for name, said in (
        ("1.py_func", "pd_op.py_func at op 12"),
        ("1.save", "pd_op.save at op 12"),
        ("1.load", "pd_op.load at op 12"),
        ("0.module", "builtin.module at op 12"),
    ):
        value = changed("tables", lambda value, name=name: operation(value, "1.relu").update({"#": name}))  # type: ignore[misc]
        with pytest.raises(OperatorRefused, match=said):
            read(value)


def test_p4_the_specification_lists_exactly_the_allowed_operators() -> None:
    text = (Path(__file__).parents[2] / "docs" / "spec" / "program.md").read_text(encoding="utf-8")
    listed = text.rsplit("## Appendix", 1)[1].split("\n", 1)[1].strip(" .\n").replace("`", "").split(", ")
    assert sorted(listed) == sorted([*OPERATORS, "data"])


@pytest.mark.parametrize(
    ("op", "name", "change"),
    [
        ("1.dropout", "seed", {"D": 7}),
        ("1.dropout", "fix_seed", {"D": True}),
        ("1.dropout", "mode", {"D": "always"}),
        ("1.batch_norm_", "use_global_stats", {"D": True}),
        ("1.batch_norm_", "momentum", {"D": 1.5}),
        ("1.batch_norm_", "epsilon", {"#": "0.a_f64"}),
        ("1.matmul", "transpose_x", {"#": "0.a_i32", "D": 0}),
    ],
)
def test_p5_an_attribute_of_another_type_or_out_of_bounds_is_refused(
    op: str, name: str, change: dict[str, Any]
) -> None:
    with pytest.raises(OperationRefused):
        read(changed("tables", lambda value: attribute(operation(value, op), name).update(change)))


def test_p5_a_dropped_axis_that_would_write_outside_memory_is_refused() -> None:
    def drop(value: dict[str, Any]) -> None:
        ops = [op for op in operations(value) if op["#"] == "1.slice"]
        attribute(ops[-1], "decrease_axis")["D"][0]["D"] = -2

    with pytest.raises(OperationRefused, match="decrease_axis"):
        read(changed("series", drop))


def test_p5_missing_and_unknown_attributes_are_refused() -> None:
    with pytest.raises(OperationRefused, match="transpose_y"):
        read(changed("tables", lambda value: operation(value, "1.matmul")["A"].pop(1)))
    extra = {"N": "kernel", "AT": {"#": "0.a_str", "D": "x"}}
    with pytest.raises(OperationRefused, match="kernel"):
        read(changed("tables", lambda value: operation(value, "1.relu")["A"].append(extra)))


def test_p5_left_out_and_surplus_operands_are_refused() -> None:
    with pytest.raises(OperationRefused):
        read(changed("tables", lambda value: operation(value, "1.relu")["I"][0].update({"%": 0})))
    with pytest.raises(OperationRefused):
        read(changed("tables", lambda value: operation(value, "1.relu")["I"].append({"%": 9})))


def test_p6_a_declared_shape_or_dtype_that_does_not_follow_is_refused() -> None:
    with pytest.raises(OperationRefused, match="follows from its operands"):
        read(changed("tables", lambda value: operation(value, "1.matmul")["O"][0]["TT"]["D"].__setitem__(1, [-1, 17])))
    with pytest.raises(OperationRefused, match="follows from its operands"):
        read(changed("tables", lambda value: operation(value, "1.relu")["O"][0]["TT"]["D"][0].update({"#": "0.t_f64"})))


def test_p6_weights_that_do_not_fit_their_operator_are_refused() -> None:
    def narrow(value: dict[str, Any]) -> None:
        for op in operations(value):
            if op["#"] == "p" and op["A"][3].startswith("conv2d_transpose"):
                op["O"]["TT"]["D"][1] = [3, *op["O"]["TT"]["D"][1][1:]]

    with pytest.raises(OperationRefused):
        read(changed("pictures", narrow))


def test_p7_parameters_without_fixed_sizes_or_with_equal_names_are_refused() -> None:
    with pytest.raises(OperationRefused):
        read(changed("tables", lambda value: operation(value, "p")["O"]["TT"]["D"].__setitem__(1, [-1])))

    def same_name(value: dict[str, Any]) -> None:
        operations(value)[0]["A"][3] = operations(value)[1]["A"][3]

    with pytest.raises(OperationRefused, match="same name"):
        read(changed("tables", same_name))


def test_p7_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(ProgramUnreadable):
        read(changed("tables", lambda value: operation(value, "p")["O"]["TT"]["D"][0].update({"#": "0.t_str"})))


def test_p8_an_input_whose_first_size_is_not_the_batch_is_refused() -> None:
    def fix(sizes: list[int]) -> Any:
        def change(value: dict[str, Any]) -> None:
            op = operation(value, "1.data")
            attribute(op, "shape")["D"] = sizes
            op["O"][0]["TT"]["D"][1] = sizes

        return change

    for sizes in ([8, 30], [-1, -1], [30], []):
        with pytest.raises(OperationRefused):
            read(changed("tables", fix(sizes)))


def test_p8_an_output_that_is_not_one_per_sample_is_refused() -> None:
    def fetch_parameter(value: dict[str, Any]) -> None:
        op, parameter = operations(value)[-1], operations(value)[1]
        op["I"][0]["%"] = parameter["O"]["%"]
        op["O"][0]["TT"] = parameter["O"]["TT"]

    with pytest.raises(OperationRefused, match="batch"):
        read(changed("tables", fetch_parameter))


def test_p8_a_cut_through_the_batch_is_refused() -> None:
    def cut(value: dict[str, Any]) -> None:
        ops = [op for op in operations(value) if op["#"] == "1.slice"]
        attribute(ops[-1], "axes")["D"][0]["D"] = 0

    with pytest.raises(OperationRefused, match="cuts the batch"):
        read(changed("series", cut))


def test_p8_a_reshape_that_lays_samples_into_one_another_is_refused() -> None:
    def scramble(value: dict[str, Any]) -> None:
        x = operation(value, "1.data")["O"][0]["%"]
        _after_the_input(value, _array(900, [30, -1]), _op("1.reshape", [x, 900], [_tensor(901, "f32", [30, -1])]))

    with pytest.raises(OperationRefused, match="from one sample of a batch to another"):
        read(changed("tables", scramble))


def test_p8_a_flattening_that_lays_samples_into_one_another_is_refused() -> None:
    def scramble(value: dict[str, Any]) -> None:
        x = operation(value, "1.data")["O"][0]["%"]
        order = [{"N": "perm", "AT": {"#": "0.a_array", "D": [{"#": "0.a_i32", "D": each} for each in (1, 0)]}}]
        axes = [{"N": name, "AT": {"#": "0.a_i32", "D": each}} for name, each in (("start_axis", 0), ("stop_axis", 1))]
        _after_the_input(
            value,
            _op("1.transpose", [x], [_tensor(900, "f32", [30, -1])], order),
            _op("1.flatten", [900], [_tensor(901, "f32", [-1])], axes),
        )

    with pytest.raises(OperationRefused, match="from one sample of a batch to another"):
        read(changed("tables", scramble))


def test_p8_samples_cannot_be_joined_along_the_batch() -> None:
    def join(value: dict[str, Any]) -> None:
        x = operation(value, "1.data")["O"][0]["%"]
        vector = {"%": 900, "TT": {"#": "0.t_vec", "D": [_tensor(1, "f32", [-1, 30])["TT"]] * 2}}
        full = json.loads(json.dumps(operation(value, "1.full")))
        attribute(full, "value")["D"] = 0.0
        attribute(full, "dtype")["D"] = "int32"
        full["O"] = [_tensor(902, "i32", [1])]
        _after_the_input(
            value,
            full,
            _op("0.combine", [x, x], [vector]),
            _op("1.concat", [900, 902], [_tensor(901, "f32", [-1, 30])]),
        )

    with pytest.raises(OperationRefused, match="joins samples"):
        read(changed("tables", join))


def test_p8_a_norm_over_the_batch_is_refused() -> None:
    def norm(value: dict[str, Any]) -> None:
        x = operation(value, "1.data")["O"][0]["%"]
        order = [{"N": "perm", "AT": {"#": "0.a_array", "D": [{"#": "0.a_i32", "D": each} for each in (1, 2, 0)]}}]
        epsilon = [{"N": "epsilon", "AT": {"#": "0.a_f32", "D": 1e-5}}]
        made = [_tensor(903, "f32", [30, 1, -1]), _tensor(904, "f32", [30]), _tensor(905, "f32", [30])]
        _after_the_input(
            value,
            _array(900, [2]),
            _op("1.unsqueeze", [x, 900], [_tensor(901, "f32", [-1, 30, 1])]),
            _op("1.transpose", [901], [_tensor(902, "f32", [30, 1, -1])], order),
            _op("1.instance_norm", [902, 0, 0], made, epsilon),
        )

    with pytest.raises(OperationRefused, match="mixes the samples"):
        read(changed("tables", norm))


def test_p8_the_number_of_samples_is_nothing_to_compute_with() -> None:
    def compare(value: dict[str, Any]) -> None:
        x = operation(value, "1.data")["O"][0]["%"]
        _after_the_input(
            value,
            _op("1.shape64", [x], [_tensor(900, "i64", [2])]),
            _array(901, [5, 5]),
            _op("1.less_than", [900, 901], [_tensor(902, "bool", [2])]),
        )

    with pytest.raises(OperationRefused, match="number of samples"):
        read(changed("tables", compare))


def test_p9_rows_are_picked_by_an_input_only_and_the_reader_says_below_what() -> None:
    assert read(document("series")).inputs[0].below == 50

    def compute(value: dict[str, Any]) -> None:
        ops = operations(value)
        place = next(index for index, op in enumerate(ops) if op["#"] == "1.embedding")
        made = json.loads(json.dumps(operation(value, "1.data")["O"][0]))
        made["%"] = 900
        flags = {"N": "stop_gradient", "AT": {"#": "0.a_array", "D": [{"#": "0.a_bool", "D": True}]}}
        picked = ops[place]["I"][0]["%"]
        ops.insert(place, {"#": "1.add", "A": [], "I": [{"%": picked}, {"%": picked}], "O": [made], "OA": [flags]})
        ops[place + 1]["I"][0]["%"] = 900

    with pytest.raises(OperationRefused, match="computed numbers"):
        read(changed("series", compute))


def test_p9_rows_picked_by_fixed_numbers_must_be_there() -> None:
    def pick(rows: list[int]) -> Any:
        def change(value: dict[str, Any]) -> None:
            embedding = operation(value, "1.embedding")
            fixed, found = _array(900, rows), json.loads(json.dumps(embedding))
            found["I"][0]["%"] = 900
            found["O"] = [_tensor(901, "f32", [len(rows), 8])]
            ops = operations(value)
            place = ops.index(embedding)
            ops[place:place] = [fixed, found]

        return change

    assert read(changed("series", pick([0, 49]))).operator_counts()["embedding"] == 2
    for rows in ([0, 50], [-1]):
        with pytest.raises(OperationRefused, match="do not have"):
            read(changed("series", pick(rows)))


def test_p10_the_bound_grows_with_the_batch_and_counts_more_in_training() -> None:
    program = read(document("pictures"))
    small, large = (memory_bound(program, size, training=True) for size in (1, 1000))
    # 64 numbers in, 64 out, and what is between, forward and back.
    assert large - small > 999 * 2 * 4 * 128
    assert memory_bound(program, 1000, training=False) < large


def _loop(value: dict[str, Any]) -> dict[str, Any]:
    return operation(value, "1.while")


def _block(op: dict[str, Any], index: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = op["regions"][index]["blocks"][0]
    return found


def test_p11_loops_are_unrolled_and_branches_guarded() -> None:
    looped = read(document("BranchInLoop"))
    assert looped.operator_counts()["matmul"] == 3 * 2
    assert {len(each.guards) for each in looped.operations if each.name == "matmul"} == {1}
    nested = read(document("NestedBranch"))
    assert {len(each.guards) for each in nested.operations if each.name == "matmul"} == {2}
    # Two turns each of: the second layer, the first, the second; then the way out.
    decided = read(document("NestedLoop"))
    assert decided.operator_counts()["matmul"] == 6
    assert decided.operator_counts()["tanh"] == 2
    assert not any(each.guards for each in decided.operations)


def test_p11_a_loop_whose_end_is_not_fixed_is_refused_by_name_and_place() -> None:
    with pytest.raises(OperationRefused, match=r"pd_op.while at op \d+.*not fixed"):
        read(document("EndedByWeights"))


def test_p11_a_loop_that_unrolls_into_too_much_is_refused() -> None:
    def count(value: dict[str, Any]) -> None:
        for op in operations(value):
            if op["#"] == "1.full":
                attribute(op, "value")["D"] = (
                    1e15 if attribute(op, "value")["D"] == 3.0 else attribute(op, "value")["D"]
                )
        for op in _block(_loop(value))["ops"]:
            if op["#"] == "1.full" and attribute(op, "value")["D"] == 3.0:
                attribute(op, "value")["D"] = 1e15

    limits = replace(STANDARD_LIMITS, max_operations=400)
    with pytest.raises(ProgramTooLarge, match="unroll"):
        read_program(json.dumps(changed("BranchInLoop", count)).encode(), limits)


def test_p11_a_loop_that_never_turns_is_checked_all_the_same() -> None:
    def strange(value: dict[str, Any]) -> None:
        for op in operations(value):
            if op["#"] == "1.full" and attribute(op, "value")["D"] == 3.0:
                attribute(op, "value")["D"] = 0.0

    assert "matmul" not in read(changed("BranchInLoop", strange)).operator_counts()

    def hidden(value: dict[str, Any]) -> None:
        strange(value)
        branch = next(op for op in _block(_loop(value))["ops"] if op["#"] == "1.if")
        _block(branch, 1)["ops"][0]["#"] = "1.py_func"

    with pytest.raises(OperatorRefused, match=r"pd_op.py_func at op \d+"):
        read(changed("BranchInLoop", hidden))


def test_p11_what_a_block_makes_is_not_seen_outside_it() -> None:
    def leak(value: dict[str, Any]) -> None:
        inside = _block(operation(value, "1.if"))["ops"][0]["O"][0]["%"]
        operation(value, "1.add")["I"][0]["%"] = inside

    with pytest.raises(OperationRefused, match="outside its block"):
        read(changed("Branch", leak))

    def across(value: dict[str, Any]) -> None:
        branch = operation(value, "1.if")
        _block(branch, 1)["ops"][0]["I"][0]["%"] = _block(branch, 0)["ops"][0]["O"][0]["%"]

    with pytest.raises(OperationRefused, match="outside its block"):
        read(changed("Branch", across))


def test_p11_blocks_hand_out_what_is_declared() -> None:
    def fewer(value: dict[str, Any]) -> None:
        _block(operation(value, "1.if"), 1)["ops"][-1]["I"].pop()

    def none(value: dict[str, Any]) -> None:
        _block(operation(value, "1.if"))["ops"].pop()

    def others(value: dict[str, Any]) -> None:
        block = _block(operation(value, "1.if"))
        block["ops"][-1]["I"][0]["%"] = operation(value, "1.greater_than")["O"][0]["%"]

    def declared(value: dict[str, Any]) -> None:
        operation(value, "1.if")["O"][0]["TT"]["D"][1] = [-1, 5]

    for change in (fewer, none, others, declared):
        with pytest.raises((OperationRefused, ProgramUnreadable)):
            read(changed("Branch", change))


def test_p11_a_loop_keeps_the_types_of_what_goes_round() -> None:
    def argument(value: dict[str, Any]) -> None:
        _block(_loop(value))["args"][1]["TT"]["D"][1] = [-1, 5]

    def surplus(value: dict[str, Any]) -> None:
        _block(_loop(value))["args"].append({**_block(_loop(value))["args"][1], "#": -9})

    def handed(value: dict[str, Any]) -> None:
        operands = _block(_loop(value))["ops"][-1]["I"]
        operands[1], operands[2] = operands[2], operands[1]

    for change in (argument, surplus, handed):
        with pytest.raises(OperationRefused, match=r"pd_op.while at op \d+"):
            read(changed("BranchInLoop", change))


def test_p11_inputs_outputs_and_parameters_stand_outside() -> None:
    for name in ("1.data", "p", "1.fetch"):

        def move(value: dict[str, Any], name: str = name) -> None:
            _block(operation(value, "1.if"))["ops"].insert(0, operation(value, name))

        def only(value: dict[str, Any], name: str = name) -> None:
            move(value)
            operations(value).remove(operation(value, name))

        for change in (move, only):
            with pytest.raises((OperationRefused, ProgramUnreadable)):
                read(changed("Branch", change))


def test_p11_a_condition_is_a_single_truth_value() -> None:
    def number(value: dict[str, Any]) -> None:
        operation(value, "1.if")["I"][0]["%"] = operation(value, "1.greater_than")["I"][0]["%"]

    with pytest.raises(OperationRefused, match="not a single truth value"):
        read(changed("Branch", number))


def test_p12_a_sample_that_takes_too_much_work_is_refused() -> None:
    data = (FOLDER / "pictures.json").read_bytes()
    needed = work_bound(read(document("pictures")))
    # Four kernels of 3 by 3 at 16 places are the least that it can be.
    assert needed > 4 * 9 * 16
    assert read_program(data, replace(STANDARD_LIMITS, max_work=needed))
    with pytest.raises(ProgramTooLarge, match="multiplications"):
        read_program(data, replace(STANDARD_LIMITS, max_work=needed - 1))


def test_p12_turns_of_a_loop_add_up() -> None:
    assert work_bound(read(document("BranchInLoop"))) >= 3 * 2 * 4 * 4
