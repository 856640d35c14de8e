"""A developer's own network, turned into a program and its initial weights. The developer's Python stays at home."""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddock.errors import NetworkNotCarried, NetworkUnusable
from paddock.jobs.engine import engine
from paddock.jobs.evaluator import ProgramLayer
from paddock.jobs.inputs import PROGRAM_FILE
from paddock.jobs.weights import FILE as WEIGHTS_FILE
from paddock.jobs.weights import write_weights
from paddock.program import STANDARD_LIMITS, Program, read_program

_INPUT = re.compile(r"([A-Za-z_]\w{0,63}):(float32|float64|int32|int64)\[\s*(-1(?:\s*,\s*[1-9]\d{0,8}){0,7})\s*\]")
_SEED = 20_240_229
_SAMPLES = 3


@dataclass(frozen=True)
class InputSpec:
    """An input of a network: name, dtype, and shape with -1 for the batch first."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def parse_input(text: str) -> InputSpec:
    """Read `x:float32[-1,30]`.

    Raises:
        NetworkUnusable: it is written otherwise.
    """
    match = _INPUT.fullmatch(text.strip())
    if match is None:
        raise NetworkUnusable(f"'{text[:100]}' is not an input; one is written like x:float32[-1,30].")
    return InputSpec(match[1], match[2], tuple(int(size) for size in match[3].split(",")))


def load_user_layer(reference: str) -> Any:
    """Make the layer of `path/to/net.py:Net`. It is the caller's own file and is run as such.

    Its tensors get the same names every time, so that weights fit a layer made again from the same file.

    Raises:
        NetworkUnusable: no such file or class, it is not a layer, or it cannot be made without arguments.
    """
    path_text, _, name = reference.rpartition(":")
    path = Path(path_text)
    if not name.isidentifier() or not path.is_file():
        raise NetworkUnusable(f"'{reference}' does not name a file and a class in it.")
    spec = importlib.util.spec_from_file_location(f"paddock_network_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise NetworkUnusable(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    # Paddle looks the source of `forward` up by its module.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        kind = getattr(module, name, None)
        if not (isinstance(kind, type) and issubclass(kind, engine.nn.Layer)):
            raise NetworkUnusable(f"{name} in {path} is not a paddle.nn.Layer.")
        with engine.utils.unique_name.guard():
            return kind()
    except NetworkUnusable:
        raise
    except Exception as error:
        raise NetworkUnusable(f"{path}: {type(error).__name__}: {error}") from error


def export_layer(layer: Any, inputs: Sequence[InputSpec], directory: Path) -> Program:
    """Write `program.json` and `weights.safetensors` of a layer.

    1. PaddlePaddle saves the layer, in training mode, into a private folder that is removed.
    2. The program is read as an enclave will read it.
    3. The rebuilt program is compared with the layer: outputs, and the weights after two training steps, bit for bit.

    The layer is in the same state afterwards as before.

    Args:
        layer: a `paddle.nn.Layer`.
        inputs: of its `forward`, in order.
        directory: made if it is not there; existing files of these names are replaced.

    Raises:
        ProgramRefused: the network uses something that a sealed program cannot hold.
        NetworkNotCarried: the saved program does not do what the layer does.
        NetworkUnusable: PaddlePaddle cannot save it.
    """
    modes = [(each, each.training) for each in layer.sublayers(include_self=True)]
    state = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
    try:
        layer.train()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # batch normalisation tells its own developers how it works
            document = _saved(layer, inputs)
            program = read_program(document, STANDARD_LIMITS)
            weights = _weights(layer, program)
            _compare(layer, program, weights)
    finally:
        layer.set_state_dict(state)
        for each, training in modes:
            each.training = training
    directory.mkdir(parents=True, exist_ok=True)
    (directory / PROGRAM_FILE).write_bytes(document)
    (directory / WEIGHTS_FILE).write_bytes(write_weights(weights))
    return program


def _saved(layer: Any, inputs: Sequence[InputSpec]) -> bytes:
    specs = [engine.static.InputSpec(list(each.shape), each.dtype, each.name) for each in inputs]
    with tempfile.TemporaryDirectory(prefix="paddock-export-") as private:
        path = Path(private) / "network"
        try:
            engine.jit.save(layer, str(path), input_spec=specs)
        except Exception as error:
            said = str(error).strip().splitlines()[-1:] or [""]
            raise NetworkUnusable(f"PaddlePaddle cannot save it: {type(error).__name__}: {said[0][:300]}") from error
        finally:
            # Saving leaves a static-graph form of `forward` behind, which the caller did not ask for.
            if hasattr(layer.forward, "rollback"):
                layer.forward = layer.forward.rollback()
        return path.with_suffix(".json").read_bytes()


def _weights(layer: Any, program: Program) -> dict[str, Any]:
    tensors = {tensor.name: tensor for tensor in _tensors(layer)}
    missing = [each.name for each in program.parameters if each.name not in tensors]
    if missing:
        raise NetworkNotCarried(f"{len(missing)} tensors are neither parameters nor buffers, first {missing[0]}.")
    return {each.name: tensors[each.name].numpy() for each in program.parameters}


def _tensors(layer: Any) -> list[Any]:
    return [*layer.parameters(), *layer.buffers()]


def _compare(layer: Any, program: Program, weights: Mapping[str, Any]) -> None:
    """Whether the rebuilt program evaluates and trains as the layer does, bit for bit, on made-up numbers."""
    rebuilt = ProgramLayer(program, weights)
    batch = [_made_up(each.type.dtype, each.type.shape, each.below) for each in program.inputs]
    traces = [_trace(each, batch) for each in (layer, rebuilt)]
    for what, own, other in zip(("evaluation", "training"), *traces, strict=True):
        if own != other:
            raise NetworkNotCarried(f"Its {what} differs from that of the exported program.")
    own_weights = {tensor.name: tensor for tensor in _tensors(layer)}
    for name, array in rebuilt.weights().items():
        if own_weights[name].numpy().tobytes() != array.tobytes():
            raise NetworkNotCarried(f"{name} differs after training steps of the exported program.")


def _made_up(dtype: str, shape: Sequence[int], below: int | None) -> Any:
    random = np.random.default_rng(_SEED)
    sizes = (_SAMPLES, *shape[1:])
    if dtype.startswith("int"):
        return random.integers(0, below or 2, sizes).astype(dtype)
    return random.standard_normal(sizes).astype(dtype)


def _trace(layer: Any, batch: Sequence[Any]) -> tuple[list[bytes], list[bytes]]:
    layer.eval()
    with engine.no_grad():
        evaluated = [each.numpy().tobytes() for each in _run(layer, batch)]
    layer.train()
    engine.seed(_SEED)
    trained = []
    trainable = [tensor for tensor in layer.parameters() if not tensor.stop_gradient]
    optimizer = engine.optimizer.SGD(1e-3, parameters=trainable) if trainable else None
    for _ in range(2):
        outputs = _run(layer, batch)
        trained += [each.numpy().tobytes() for each in outputs]
        if optimizer is not None:
            sum((each * each).mean() for each in outputs).backward()
            optimizer.step()
            optimizer.clear_grad()
    return evaluated, trained


def _run(layer: Any, batch: Sequence[Any]) -> list[Any]:
    outputs = layer(*[engine.to_tensor(each) for each in batch])
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]
