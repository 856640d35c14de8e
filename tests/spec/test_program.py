"""docs/spec/program.md: each rule, broken once or more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paddock.errors import OperationRefused, OperatorRefused, ProgramTooLarge, ProgramUnreadable
from paddock.program import STANDARD_LIMITS, Limits, memory_bound, read_program
from paddock.program.operators import OPERATORS
from tests.vectors.programs_by_hand import FOLDER, attribute, changed, document, operation, operations, read


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
    for name, said in (("1.py_func", "pd_op.py_func at op 12"), ("0.module", "builtin.module at op 12")):
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


def test_p10_the_bound_grows_with_the_batch_and_counts_more_in_training() -> None:
    program = read(document("pictures"))
    small, large = (memory_bound(program, size, training=True) for size in (1, 1000))
    # 64 numbers in, 64 out, and what is between, forward and back.
    assert large - small > 999 * 2 * 4 * 128
    assert memory_bound(program, 1000, training=False) < large
