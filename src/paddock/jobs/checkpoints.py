"""What a training needs to go on in another process, with the bits that it would have had.

Random numbers need nothing: the generator is seeded anew before every batch (J-11). The rate needs nothing: its schedule
is stepped as often as epochs were finished (J-12).

Source: docs/spec/program.md §6 (J-15).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from safetensors.numpy import save

from paddock.errors import DataUnreadable, JobStateRefused
from paddock.jobs.api import Files
from paddock.jobs.arrays import read_safetensors
from paddock.jobs.engine import engine
from paddock.jobs.evaluator import ProgramLayer
from paddock.jobs.parameters import TrainParameters

STATE, TENSORS = "state.json", "tensors.safetensors"
_MAX_STATE_BYTES = 64 << 20
_COUNTER = re.compile(r"_[0-9]+$")


@dataclass
class Position:
    """Where a training stands: before which batch, and what it has noted so far.

    Args:
        epoch: the epoch at work, from 0.
        batch: batches of it that are done.
        total: the sum of their losses, each times its samples.
        seen: their samples.
        outputs: what the network gave for them, where metrics are asked for: float[…, outputs] each.
        rows: the curve of the epochs before.
    """

    epoch: int = 0
    batch: int = 0
    total: float = 0.0
    seen: int = 0
    outputs: list[Any] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)


class _State(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal["paddock/training-state/v1"]
    parameters: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    samples: Annotated[int, Field(ge=1)]
    epoch: Annotated[int, Field(ge=0)]
    batch: Annotated[int, Field(ge=0)]
    total: Annotated[str, StringConstraints(max_length=40)]
    seen: Annotated[int, Field(ge=0)]
    rows: list[dict[str, int | float]]


def write_training(
    position: Position, layer: ProgramLayer, optimizer: Any, parameters: TrainParameters, samples: int
) -> dict[str, bytes]:
    """The state between two batches, as files.

    Args:
        position: where it stands.
        layer: with its weights as they are.
        optimizer: with what it has gathered.
        parameters: of the training.
        samples: how many there are.
    """
    state = _State(
        version="paddock/training-state/v1",
        parameters=_digest(parameters),
        samples=samples,
        epoch=position.epoch,
        batch=position.batch,
        total=position.total.hex(),
        seen=position.seen,
        rows=position.rows,
    )
    tensors = {f"weights/{name}": value for name, value in layer.weights().items()}
    for (index, kind), tensor in _gathered(optimizer, layer).items():
        tensors[f"optimizer/{index}/{kind}"] = tensor.numpy()
    if position.outputs:
        tensors["outputs"] = np.concatenate(position.outputs)
    content: bytes = save({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)})
    return {STATE: state.model_dump_json().encode(), TENSORS: content}


def read_training(
    files: Files, layer: ProgramLayer, optimizer: Any, parameters: TrainParameters, samples: int
) -> Position:
    """Put layer and optimiser into the state that was written, and return where the training stands (J-15).

    Args:
        files: as `write_training` made them.
        layer: of the same program.
        optimizer: made for it anew, and never stepped.
        parameters: of the training.
        samples: how many there are.

    Raises:
        JobStateRefused: it is not the state of this training, or not whole.
    """
    if files.names() != [STATE, TENSORS] or files.size(STATE) > _MAX_STATE_BYTES:
        raise JobStateRefused("It is not made of the two files of a training's state.")
    with files.open(STATE) as stream:
        content = stream.read()
    try:
        state = _State.model_validate_json(content)
        total = float.fromhex(state.total)
    except (ValidationError, ValueError, OverflowError) as error:
        raise JobStateRefused("Its members are not those of a training's state.") from error
    if (state.parameters, state.samples) != (_digest(parameters), samples):
        raise JobStateRefused("It is that of a training with other parameters or data.")
    if len(state.rows) != state.epoch or state.epoch >= parameters.epochs or not math.isfinite(total):
        raise JobStateRefused("It says to stand where no training stands.")
    with files.open(TENSORS) as stream:
        content = stream.read()
    try:
        tensors = read_safetensors(content, "A training's state")
    except DataUnreadable as error:
        raise JobStateRefused(error.detail) from None
    outputs = _outputs(tensors, state, metrics=bool(parameters.metrics))
    gathered = {name: tensors.pop(name) for name in list(tensors) if name.startswith("optimizer/")}
    _restore_optimizer(gathered, layer, optimizer)
    _restore_weights(tensors, layer)
    return Position(state.epoch, state.batch, total, state.seen, outputs, [dict(row) for row in state.rows])


def _digest(parameters: TrainParameters) -> str:
    value = parameters.model_dump(mode="json")
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _outputs(tensors: dict[str, Any], state: _State, *, metrics: bool) -> list[Any]:
    kept = tensors.pop("outputs", None)
    if (kept is not None) != (metrics and state.seen > 0) or (kept is not None and len(kept) != state.seen):
        raise JobStateRefused("What the network gave so far is not what the state says.")
    return [] if kept is None else [kept]


def _gathered(optimizer: Any, layer: ProgramLayer) -> dict[tuple[int, str], Any]:
    """The optimiser's tensors by the number of their parameter and their kind.

    Paddle names each after its parameter, whose name counts what the process made before, and adds a counter.
    """
    owners = {tensor.name: index for index, tensor in enumerate(layer.parameters())}
    found: dict[tuple[int, str], Any] = {}
    for name, tensor in optimizer.state_dict().items():
        if name == "LR_Scheduler":
            continue
        owner = max((each for each in owners if name.startswith(f"{each}_")), key=len, default=None)
        if owner is None:
            raise RuntimeError("an optimiser's tensor belongs to no parameter")
        found[owners[owner], _COUNTER.sub("", name.removeprefix(f"{owner}_"))] = tensor
    return found


def _restore_optimizer(gathered: Mapping[str, Any], layer: ProgramLayer, optimizer: Any) -> None:
    if not gathered:
        return
    # An optimiser makes its tensors when it first steps: with gradients of zero; what that does to the weights and to
    # these tensors is overwritten.
    trainable = [tensor for tensor in layer.parameters() if not tensor.stop_gradient]
    sum((tensor * 0.0).sum() for tensor in trainable).backward()
    optimizer.step()
    optimizer.clear_grad()
    made = {f"optimizer/{index}/{kind}": tensor for (index, kind), tensor in _gathered(optimizer, layer).items()}
    kinds: dict[str, set[str]] = {}
    for name in made:
        kinds.setdefault(name.split("/")[1], set()).add(name)
    known: dict[str, set[str]] = {}
    for name in gathered:
        known.setdefault(name.split("/")[1], set()).add(name)
    # A parameter that the network does not use has no gradient, and the optimiser nothing of it.
    if any(names != kinds.get(index) for index, names in known.items()):
        raise JobStateRefused("What its optimiser gathered is not what this one gathers.")
    for name, value in gathered.items():
        _set(made[name], value)


def _restore_weights(tensors: Mapping[str, Any], layer: ProgramLayer) -> None:
    own = {f"weights/{name}": tensor for name, tensor in layer.tensors().items()}
    if own.keys() != tensors.keys():
        raise JobStateRefused("Its tensors are not those of the program.")
    for name, tensor in own.items():
        _set(tensor, tensors[name])


def _set(tensor: Any, value: Any) -> None:
    if list(value.shape) != list(tensor.shape) or str(value.dtype) != str(tensor.dtype).rpartition(".")[2]:
        raise JobStateRefused("A tensor of it has another shape or type.")
    tensor.set_value(engine.to_tensor(value))
