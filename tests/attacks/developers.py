"""Programs, weights and data that are more than they seem: what a model's developer, or an owner of data, can seal.

At L5 these are all that a party brings. They are read as data by our own readers; PaddlePaddle's loader, pickle and
archive readers never see a byte of them. The readers are the same at every level.
"""

from __future__ import annotations

import copy
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from paddock.enclave.files import MadeFiles
from paddock.errors import (
    DataUnreadable,
    FieldMissing,
    IndexRefused,
    MemoryExceeded,
    OperationRefused,
    OperatorRefused,
    ProgramTooLarge,
    ProgramUnreadable,
    WeightsRefused,
)
from paddock.jobs import arrays, weights
from paddock.jobs import inputs as job_inputs
from paddock.jobs.api import JobContext
from paddock.jobs.arrays import read_array
from paddock.jobs.inputs import check_step_memory
from paddock.jobs.weights import check_weights, read_weights, write_weights
from paddock.program import STANDARD_LIMITS, Program, lexical, memory_bound
from paddock.program import document as documents
from paddock.program import operators as allowed
from paddock.program import reader as programs
from paddock.program.operators import OPERATORS
from paddock.program.operators.entry import Call, Result
from paddock.seal import DataKey, SealOptions, VolumeReader, in_order, index, write_volume
from paddock.seal import reader as volumes
from paddock.testing.stores import MemoryStore
from paddock.views import write_folder
from tests.attacks.catalogue import NOTHING, Actor, Outcome, Residual, at_all_levels, attack, remains
from tests.attacks.ground import Ground
from tests.attacks.switches import both, instead, without
from tests.vectors.programs_by_hand import attribute, changed, document, operation, operations, read

Json = dict[str, Any]
_READER: dict[str, Any] = {"threats": (22,), "claims": at_all_levels(), "alike": True}


def _like(name: str) -> Callable[[], Any]:
    """The allow-list with one operator more, read as if it were a `relu`."""
    return lambda: instead(allowed, "OPERATORS", {**OPERATORS, name: OPERATORS["relu"]})


def _believed(name: str) -> Callable[[], Any]:
    """The allow-list with an operator whose results are what the file says that they are."""

    def declared(call: Call) -> Result:
        try:
            return OPERATORS[name].rule(call)
        except OperationRefused:
            return Result(tuple(each for each in call.declared if each is not None))

    return lambda: instead(allowed, "OPERATORS", {**OPERATORS, name: replace(OPERATORS[name], rule=declared)})


def _told(program: Program) -> str:
    return f"a program that runs {', '.join(sorted({each.name for each in program.operations}))}"[:120]


def _renamed(name: str) -> Program:
    return read(changed("tables", lambda value: operation(value, "1.relu").update({"#": name})))


@attack(
    "developer-python-operator",
    Actor.DEVELOPER,
    "an operator that calls Python",
    what="A program holds `py_func`, which runs a Python function in PaddlePaddle's own loader.",
    stops="Operators outside the allow-list are refused by name and place; PaddlePaddle's loader never sees the file.",
    enforced=("program.reader",),
    rules=("P-4",),
    codes=(OperatorRefused,),
    off=_like("py_func"),
    **_READER,
)
def python_operator(ground: Ground) -> str:
    return _told(_renamed("1.py_func"))


@attack(
    "developer-file-operator",
    Actor.DEVELOPER,
    "an operator that writes files",
    what="A program holds `save_combine`, which writes tensors to a path of the host.",
    stops="Operators outside the allow-list are refused by name and place.",
    enforced=("program.reader",),
    rules=("P-4",),
    codes=(OperatorRefused,),
    off=_like("save_combine"),
    **_READER,
)
def file_operator(ground: Ground) -> str:
    return _told(_renamed("1.save_combine"))


@attack(
    "developer-print-operator",
    Actor.DEVELOPER,
    "an operator that prints tensors",
    what="A program holds `print`, which writes what passes through it to the host's log.",
    stops="Operators outside the allow-list are refused; beside that a run's output streams lead nowhere.",
    enforced=("program.reader", "enclave.boot"),
    rules=("P-4",),
    codes=(OperatorRefused,),
    off=_like("print"),
    **_READER,
)
def print_operator(ground: Ground) -> str:
    return _told(_renamed("1.print"))


@attack(
    "developer-giant-shape",
    Actor.DEVELOPER,
    "a tensor larger than any machine",
    what="A program of a few kilobytes makes a tensor of 2^60 numbers, so that the run ends, and others' with it.",
    stops="Sizes of all tensors follow from the program and are bounded before any is made.",
    enforced=("program.reader", "program.memory"),
    rules=("P-1", "P-10"),
    codes=(ProgramTooLarge,),
    off=lambda: both(
        lambda: instead(programs.Reader, "_check_size", lambda *_: None),
        lambda: instead(Call, "refuse", lambda *_: None),
        lambda: without(documents._check_sizes, "if math.prod("),
        lambda: instead(programs, "check_work", lambda *_: None),
    ),
    **_READER,
)
def giant_shape(ground: Ground) -> str:
    def grow(value: Json) -> None:
        op = copy.deepcopy(operation(value, "1.full"))
        attribute(op, "shape")["D"] = [1 << 30, 1 << 30]
        op["O"][0]["TT"]["D"][1] = [1 << 30, 1 << 30]
        op["O"][0]["%"] = 900
        operations(value).insert(-1, op)

    return f"a program that asks for {memory_bound(read(changed('tables', grow)), 1, training=False):.0e} bytes"


@attack(
    "developer-batch-without-end",
    Actor.DEVELOPER,
    "a batch larger than the memory that was signed",
    what="A step asks for a batch of a thousand million samples.",
    stops="What a step takes at most is worked out from shapes and batch, and compared with the contract's limit.",
    enforced=("jobs.inputs", "program.memory"),
    rules=("J-9", "P-10"),
    codes=(MemoryExceeded,),
    off=lambda: instead(job_inputs, "memory_bound", lambda *_, **__: 0),
    **_READER,
)
def batch_without_end(ground: Ground) -> str:
    context = JobContext({}, {}, lambda _: None, lambda: None, memory_limit_bytes=1 << 30)
    check_step_memory(context, read(document("tables")), 10**9, training=True)
    return "a batch of a thousand million samples begun"


@attack(
    "developer-lying-shape",
    Actor.DEVELOPER,
    "a shape that does not follow",
    what="A program declares a small shape for a large tensor, so that checks pass and kernels read past their buffers.",
    stops="Every shape is derived from inputs and operators and compared with what the file declares.",
    enforced=("program.reader",),
    rules=("P-6",),
    codes=(OperationRefused,),
    off=lambda: instead(programs, "agrees", lambda *_: True),
    **_READER,
)
def lying_shape(ground: Ground) -> str:
    def lie(value: Json) -> None:
        operation(value, "1.relu")["O"][0]["TT"]["D"][1] = [-1, 1]

    return _told(read(changed("tables", lie)))


@attack(
    "developer-cut-through-the-batch",
    Actor.DEVELOPER,
    "one patient's data carried into another's result",
    what="A program cuts along the batch, so that the prediction for one sample holds what another sample is.",
    stops="The first dimension is the batch, and operators that would mix samples are refused.",
    enforced=("program.operators", "program.reader"),
    rules=("P-8",),
    codes=(OperationRefused,),
    off=_believed("slice"),
    threats=(23,),
    claims=at_all_levels(),
    alike=True,
)
def cut_through_the_batch(ground: Ground) -> str:
    def cut(value: Json) -> None:
        slices = [op for op in operations(value) if op["#"] == "1.slice"]
        attribute(slices[-1], "axes")["D"][0]["D"] = 0

    return _told(read(changed("series", cut)))


@attack(
    "developer-computed-rows",
    Actor.DEVELOPER,
    "an embedding read out of its range",
    what="A program computes the numbers by which it picks rows of a table, beyond the table's end, where other memory is.",
    stops="Rows are picked by an input's own numbers alone, and these are compared with the table's size.",
    enforced=("program.reader", "jobs.data"),
    rules=("P-9",),
    codes=(OperationRefused,),
    off=lambda: both(
        lambda: instead(Call, "refuse", lambda *_: None),
        lambda: instead(programs.Reader, "_follow", lambda *_: None),
    ),
    **_READER,
)
def computed_rows(ground: Ground) -> str:
    def compute(value: Json) -> None:
        ops = operations(value)
        place = next(number for number, op in enumerate(ops) if op["#"] == "1.embedding")
        made = json.loads(json.dumps(operation(value, "1.data")["O"][0]))
        made["%"] = 900
        flags = {"N": "stop_gradient", "AT": {"#": "0.a_array", "D": [{"#": "0.a_bool", "D": True}]}}
        picked = ops[place]["I"][0]["%"]
        ops.insert(place, {"#": "1.add", "A": [], "I": [{"%": picked}, {"%": picked}], "O": [made], "OA": [flags]})
        ops[place + 1]["I"][0]["%"] = 900

    return _told(read(changed("series", compute)))


@attack(
    "developer-negative-axis",
    Actor.DEVELOPER,
    "an axis outside the tensor",
    what="A program turns a tensor of three dimensions along axis -98, to have a kernel reach beyond its shape.",
    stops="Attributes are compared with the shapes that they speak of.",
    enforced=("program.operators",),
    rules=("P-5", "P-6"),
    codes=(OperationRefused,),
    off=lambda: instead(Call, "axis", lambda _call, axis, rank: axis % rank),
    **_READER,
)
def negative_axis(ground: Ground) -> str:
    def turn(value: Json) -> None:
        attribute(operation(value, "1.transpose"), "perm")["D"][0]["D"] -= 99

    return _told(read(changed("series", turn)))


@attack(
    "developer-hidden-members",
    Actor.DEVELOPER,
    "a file that two readers read differently",
    what="A program's JSON says `ops` twice: a reader that takes the first sees an honest program, one that takes the last "
    "another one.",
    stops="JSON has one form: no name twice, none unknown.",
    enforced=("program.lexical", "program.document"),
    rules=("P-2",),
    codes=(ProgramUnreadable,),
    off=lambda: instead(lexical, "_unique", dict),
    **_READER,
)
def hidden_members(ground: Ground) -> str:
    honest, other = (json.dumps(operations(document(name))) for name in ("series", "tables"))
    whole = json.dumps(document("tables"))
    twice = whole.replace(f'"ops": {other}', f'"ops": {honest}, "ops": {other}')
    if twice == whole:
        raise AssertionError("the document has another form")
    return _told(programs.read_program(twice.encode(), STANDARD_LIMITS))


# --- weights and arrays ---


class _Code:
    """Stands for code in a pickle: it says that it ran."""

    ran = False

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return _run, ()


def _run() -> dict[str, Any]:
    _Code.ran = True
    return {}


def _tensors() -> dict[str, Any]:
    program = read(document("tables"))
    return {each.name: np.zeros(each.type.shape, each.type.dtype) for each in program.parameters}


@attack(
    "developer-pickle-in-weights",
    Actor.DEVELOPER,
    "code in a pickle that is called weights",
    what="A developer seals a pickle under the name of a weights file; unpickling it runs its code.",
    stops="Weights are safetensors: numbers behind a table; nothing is ever unpickled.",
    enforced=("jobs.weights", "jobs.arrays"),
    rules=("J-8",),
    codes=(WeightsRefused,),
    off=lambda: instead(weights, "read_safetensors", lambda content, _what: _unpickled(content)),
    **_READER,
)
def pickle_in_weights(ground: Ground) -> str:
    _Code.ran = False
    volume = MadeFiles({weights.FILE: pickle.dumps(_Code())})
    read_weights(read(document("tables")), volume)
    return f"code of the developer {'ran' if _Code.ran else 'was read'}"


def _unpickled(content: bytes) -> dict[str, Any]:
    pickle.loads(content)
    return _tensors()


@attack(
    "developer-pickle-in-array",
    Actor.DEVELOPER,
    "code in an array of objects",
    what="An owner of data seals a `.npy` file of Python objects, which NumPy unpickles.",
    stops="The kind of number is read before anything else; what is not a number is refused.",
    enforced=("jobs.arrays",),
    rules=("J-8",),
    codes=(DataUnreadable,),
    off=lambda: instead(arrays, "_npy", _numpy_load),
    **_READER,
)
def pickle_in_array(ground: Ground) -> str:
    _Code.ran = False
    written = io.BytesIO()
    np.save(written, np.array([_Code()], dtype=object), allow_pickle=True)
    try:
        read_array(MadeFiles({"x.npy": written.getvalue()}), 1, "x")
    except DataUnreadable:
        if not _Code.ran:
            raise
    return f"code of the owner {'ran' if _Code.ran else 'was read'}"


def _numpy_load(volume: Any, path: str, _number: int) -> Any:
    with volume.open(path) as stream:
        return np.load(stream, allow_pickle=True)


def _unpacked(volume: Any, path: str, _number: int) -> Any:
    with volume.open(path) as stream, np.load(stream) as archive:
        return archive["x"]


@attack(
    "developer-zip-bomb",
    Actor.DEVELOPER,
    "an archive that unpacks to a thousand times its size",
    what="An owner of data seals a compressed archive of zeros in the place of an array.",
    stops="Nothing is unpacked: an array's bytes stand in its file as they are, as many as its header says.",
    enforced=("jobs.arrays",),
    codes=(FieldMissing, DataUnreadable),
    off=lambda: instead(arrays, "_npy", _unpacked),
    **_READER,
)
def zip_bomb(ground: Ground) -> str:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (4 << 20,)})
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(16 << 20))
    found = read_array(MadeFiles({"x.npy": packed.getvalue()}), 1, "x")
    return f"{found.nbytes >> 20} MiB out of {len(packed.getvalue()) >> 10} KiB"


@attack(
    "developer-other-weights",
    Actor.DEVELOPER,
    "weights of another shape than the program's",
    what="A developer seals weights with one dimension less, so that a kernel reads past their end.",
    stops="Names, shapes and dtypes of weights are the program's, each compared before it is used.",
    enforced=("jobs.weights",),
    rules=("J-8",),
    codes=(WeightsRefused,),
    off=lambda: without(check_weights, "for name, found in wanted.items():"),
    **_READER,
)
def other_weights(ground: Ground) -> str:
    tensors = _tensors()
    name = max(tensors, key=lambda each: tensors[each].size)
    tensors[name] = tensors[name].reshape(-1)[:1]
    taken = check_weights(read(document("tables")), write_weights(tensors))
    return f"{name} with {taken[name].size} number"


# --- paths ---


@attack(
    "developer-path-traversal",
    Actor.DEVELOPER,
    "a file of a volume that leaves its folder",
    what="Whoever seals an output or input names a file `../outside`, so that opening the volume writes it beside the "
    "folder that it was opened into.",
    stops="Paths in a volume's file table have no empty, `.` or `..` parts and are not absolute.",
    enforced=("seal.index", "seal.paths"),
    rules=("S-17",),
    codes=(IndexRefused,),
    off=lambda: both(
        lambda: instead(index, "is_path", lambda _raw: True),
        lambda: instead(volumes, "check_path", lambda path: path.encode()),
    ),
    threats=(4,),
    claims=at_all_levels(),
    alike=True,
)
def path_traversal(ground: Ground) -> str | Outcome:
    store, key = MemoryStore(), DataKey(bytes(32))
    with instead(index, "check_path", lambda path: path.encode()):
        sealed = write_volume(in_order({"../outside": b"x"}), key, store, options=SealOptions(padding="none"))
    write_folder(VolumeReader.open(sealed.asset, store, key), ground.folder / "opened", overwrite=False)
    if (ground.folder / "outside").exists():
        return "a file beside the folder that the volume was opened into"
    return Outcome.refused(NOTHING, "nothing beside the folder")


remains(
    Residual(
        Actor.DEVELOPER,
        "a network made to memorise",
        "A network with enough parameters can carry records out in its weights, to whoever the contract gives them.",
    ),
)
