"""Matrix products, embeddings and recurrent layers."""

from __future__ import annotations

from paddock.program.model import TensorType
from paddock.program.operators.entry import Call, Kind, Operator, Result, broadcast, checked, tensor

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def _matmul(call: Call) -> Result:
    left, right = call.floating(0), call.floating(1)
    if len(left.shape) < 2 or len(right.shape) < 2 or left.dtype != right.dtype:
        call.refuse("its operands are not matrices of one dtype.")
    rows, inner = _matrix(left, turned=bool(call.attributes.get("transpose_x", False)))
    other, columns = _matrix(right, turned=bool(call.attributes.get("transpose_y", False)))
    if inner != other:
        call.refuse(f"{left} and {right} do not fit together.")
    if inner < 0:
        call.refuse("it mixes the samples of a batch.")  # P-8
    return tensor(left.dtype, checked(call, (*broadcast(call, left.shape[:-2], right.shape[:-2]), rows, columns)))


def _matrix(found: TensorType, *, turned: bool) -> tuple[int, int]:
    rows, columns = found.shape[-2:]
    return (columns, rows) if turned else (rows, columns)


def _embedding(call: Call) -> Result:
    picks, rows = call.tensor(0), call.floating(1)
    if picks.dtype not in {"int32", "int64"} or len(rows.shape) != 2 or not call.operand(1).is_parameter:
        call.refuse("it does not pick rows of a parameter by whole numbers.")
    padding = call.attributes["padding_idx"]
    if not -1 <= padding < rows.shape[0]:
        call.refuse(f"its padding row {padding} is outside its {rows.shape[0]} rows.")
    return tensor(rows.dtype, checked(call, (*picks.shape, rows.shape[1])))


def _rnn(call: Call) -> Result:
    found, states, weights = call.floating(0), call.tensors(1), call.tensors(2)
    about = call.attributes
    directions, layers, hidden = 2 if about["is_bidirec"] else 1, about["num_layers"], about["hidden_size"]
    if len(found.shape) != 3 or found.shape[2] != about["input_size"] or found.shape[0] < 0:
        call.refuse(f"its input is {found}, not [time, batch, {about['input_size']}].")
    state = TensorType(found.dtype, (layers * directions, found.shape[1], hidden))
    wanted_states = 2 if about["mode"] == "LSTM" else 1
    if len(states) != wanted_states or any(each != state for each in states):
        call.refuse(f"its initial states are not {wanted_states} of {state}.")
    wide = _GATES[about["mode"]] * hidden
    wanted: list[tuple[int, ...]] = []
    for layer in range(layers):
        taken = about["input_size"] if layer == 0 else hidden * directions
        wanted += [(wide, taken), (wide, hidden)] * directions
    wanted += [(wide,)] * (2 * layers * directions)
    if [each.shape for each in weights] != wanted or any(each.dtype != found.dtype for each in weights):
        call.refuse("its weights do not have the shapes that its attributes ask for.")
    output = TensorType(found.dtype, checked(call, (*found.shape[:2], hidden * directions)))
    return Result((output, (state,) * wanted_states))


PRODUCTS = {
    "matmul": Operator(("tensor", "tensor"), _matmul, {"transpose_x": Kind("bool"), "transpose_y": Kind("bool")}),
    "bmm": Operator(("tensor", "tensor"), _matmul),
    "embedding": Operator(
        ("tensor", "tensor"), _embedding, {"padding_idx": Kind("i64"), "sparse": Kind("bool", (False,))}
    ),
    "rnn": Operator(
        ("tensor", "list", "list", "nothing", "state"),
        _rnn,
        {
            "dropout_prob": Kind("f32", low=0.0, high=1.0),
            "is_bidirec": Kind("bool"),
            "input_size": Kind("i32", low=1),
            "hidden_size": Kind("i32", low=1),
            "num_layers": Kind("i32", low=1, high=64),
            "mode": Kind("str", tuple(_GATES)),
            "seed": Kind("i32", (0,)),
            "is_test": Kind("bool"),
        },
        scratch=(1, 3),
    ),
}
