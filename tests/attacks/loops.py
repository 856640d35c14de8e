"""Programs that mean to run for ever, that hold Python, or that lay one sample into another's result."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from paddock.errors import OperationRefused, OperatorRefused, ProgramTooLarge
from paddock.program import STANDARD_LIMITS, control, work_bound
from paddock.program import operators as allowed
from paddock.program import reader as programs
from paddock.program.operators import OPERATORS, entry
from tests.attacks.catalogue import Actor, at_all_levels, attack
from tests.attacks.ground import Ground
from tests.attacks.switches import instead, without
from tests.vectors.programs_by_hand import attribute, changed, document, operation, operations, read

Json = dict[str, Any]
_READER: dict[str, Any] = {"threats": (22,), "claims": at_all_levels(), "alike": True}


@attack(
    "developer-endless-loop",
    Actor.DEVELOPER,
    "a loop that turns for ever",
    what="A program's loop counts to a number that no run reaches, so that reading or running it never ends.",
    stops="Loops are unrolled while the program is read, and what they unroll into is bounded as operations are.",
    enforced=("program.control", "program.reader"),
    rules=("P-1", "P-11"),
    codes=(ProgramTooLarge,),
    off=lambda: without(programs.Reader._counted, "if self._count >"),
    **_READER,
)
def endless_loop(ground: Ground) -> str:
    # A smaller limit than a run's, so that the trial is short.
    limits = replace(STANDARD_LIMITS, max_operations=2_000)

    def count(value: Json) -> None:
        loop = operation(value, "1.while")
        for op in [*operations(value), *loop["regions"][0]["blocks"][0]["ops"]]:
            if op["#"] == "1.full" and attribute(op, "value")["D"] == 3.0:
                attribute(op, "value")["D"] = 200.0

    content = json.dumps(changed("BranchInLoop", count)).encode()
    return f"a program of {len(programs.read_program(content, limits).operations)} operations"


@attack(
    "developer-loop-that-data-ends",
    Actor.DEVELOPER,
    "a loop whose end only a run shows",
    what="A program's loop is ended by values that are computed: nobody who signs can say how long it runs.",
    stops="A loop whose every turn cannot be worked out from the file is refused by name and place.",
    enforced=("program.control",),
    rules=("P-11",),
    codes=(OperationRefused,),
    off=lambda: instead(control.Loop, "_goes_on", lambda *_: False),
    **_READER,
)
def loop_that_data_ends(ground: Ground) -> str:
    return f"a program with outputs {', '.join(map(str, read(document('EndedByWeights')).output_types()))}"


@attack(
    "developer-gradient-of-its-own",
    Actor.DEVELOPER,
    "a gradient that is Python",
    what="A program holds `pylayer`, which names Python functions of the process by number.",
    stops="Operators outside the allow-list are refused by name and place, whatever they hold.",
    enforced=("program.document", "program.reader"),
    rules=("P-4",),
    codes=(OperatorRefused,),
    off=lambda: instead(
        allowed,
        "OPERATORS",
        {
            **OPERATORS,
            "pylayer": entry.Operator(("tensor",), OPERATORS["relu"].rule, {"backward_function_id": entry.Kind("i32")}),
        },
    ),
    **_READER,
)
def gradient_of_its_own(ground: Ground) -> str:
    value = document("OwnGradient")
    # What it holds would be refused for itself.
    del operation(value, "1.pylayer")["regions"]
    return f"a program that runs {', '.join(read(value).operator_counts())}"


@attack(
    "developer-days-of-work",
    Actor.DEVELOPER,
    "a small program that computes for days",
    what="A program of a few lines multiplies matrices that fit into memory, for longer than anybody waits.",
    stops="The multiplications of a sample follow from the shapes and are bounded before anything runs.",
    enforced=("program.work",),
    rules=("P-12",),
    codes=(ProgramTooLarge,),
    off=lambda: instead(programs, "check_work", lambda *_: None),
    **_READER,
)
def days_of_work(ground: Ground) -> str:
    sizes = [1 << 15, 1 << 15]
    turned = [{"N": f"transpose_{side}", "AT": {"#": "0.a_bool", "D": False}} for side in "xy"]

    def multiply(value: Json) -> None:
        full = json.loads(json.dumps(operation(value, "1.full")))
        attribute(full, "shape")["D"] = sizes
        full["O"] = [_tensor(900, sizes)]
        times = [
            {"#": "1.matmul", "A": turned, "I": [{"%": last}, {"%": 900}], "O": [_tensor(last + 1, sizes)], "OA": []}
            for last in range(900, 910)
        ]
        operations(value)[-1:-1] = [full, *times]

    return f"a program that multiplies {work_bound(read(changed('tables', multiply))):.0e} times"


@attack(
    "developer-samples-laid-into-one-another",
    Actor.DEVELOPER,
    "a reshape that lays samples into one another",
    what="A program reshapes a batch so that its rows are pieces of several samples, and then reduces along them: one "
    "patient's data stands in another's prediction.",
    stops="A reshape or flatten must keep what stands before the batch, so that every sample stays a piece.",
    enforced=("program.operators",),
    rules=("P-8",),
    codes=(OperationRefused,),
    off=lambda: without(entry.moved, "if _before_the_batch("),
    threats=(23,),
    claims=at_all_levels(),
    alike=True,
)
def samples_laid_into_one_another(ground: Ground) -> str:
    def scramble(value: Json) -> None:
        about = [{"N": "value", "AT": {"#": "0.a_array", "D": [{"#": "0.a_i64", "D": each} for each in (30, -1)]}}]
        about.append({"N": "dtype", "AT": {"#": "1.a_dtype", "D": "int64"}})
        ops, x = operations(value), operation(value, "1.data")["O"][0]["%"]
        place = next(index for index, op in enumerate(ops) if op["#"] == "1.data") + 1
        ops[place:place] = [
            {"#": "1.full_int_array", "A": about, "I": [], "O": [_tensor(900, [2], "i64")], "OA": []},
            {"#": "1.reshape", "A": [], "I": [{"%": x}, {"%": 900}], "O": [_tensor(901, [30, -1])], "OA": []},
        ]

    program = read(changed("tables", scramble))
    return f"a program that runs {', '.join(sorted(program.operator_counts()))}"


def _tensor(number: int, sizes: list[int], dtype: str = "f32") -> Json:
    return {"%": number, "TT": {"#": "0.t_dtensor", "D": [{"#": f"0.t_{dtype}"}, sizes, "NCHW", [], 0]}}
