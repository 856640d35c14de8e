"""Operators that reach out of a program, in files that stock PaddlePaddle writes: each is refused by its name and its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from paddock.errors import OperatorRefused
from paddock.jobs.engine import engine
from paddock.program import STANDARD_LIMITS, read_program, survey

nn: Any = engine.nn
pytestmark = pytest.mark.filterwarnings("ignore")


class Prints(nn.Layer):
    """Shows what passes through it to whoever reads the host's log."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        return engine.static.Print(self.first(x)) * 2


class CallsPython(nn.Layer):
    """Has a Python function called."""

    def forward(self, x: Any) -> Any:
        result = engine.zeros_like(x)
        engine.static.py_func(lambda given: given, x=x, out=result)
        return result


def _saved(layer: Any, folder: Path) -> bytes:
    layer.train()
    engine.jit.save(layer, str(folder / "net"), input_spec=[engine.static.InputSpec([-1, 4], "float32", "x")])
    return (folder / "net.json").read_bytes()


@contextmanager
def _old_graph() -> Iterator[tuple[Any, Any, Any]]:
    """A program of PaddlePaddle's older form, whose operators its translator knows, with an input; and its one block."""
    with engine.pir_utils.OldIrGuard():
        engine.enable_static()
        try:
            main = engine.static.Program()
            with engine.static.program_guard(main, engine.static.Program()):
                yield main, engine.static.data("x", [-1, 4], "float32"), main.global_block()
        finally:
            engine.disable_static()


def _translated(kind: str, folder: Path) -> bytes:
    """The file of a program with an operator that reads or writes files, as PaddlePaddle translates and writes it."""
    with _old_graph() as (main, x, block):
        result = block.create_var(name="result", shape=[-1, 4], dtype="float32")
        takes = {"X": [x]} if kind.startswith("save") else None
        gives = {"save": None, "save_combine": {"Y": []}}.get(kind, {"Out": [result]})
        block.append_op(type=kind, inputs=takes, outputs=gives, attrs={"file_path": str(folder / "stolen")})
        program = engine.pir.translate_to_pir(main.desc)
    engine.base.core.serialize_pir_program(program, str(folder / "net.json"))
    return (folder / "net.json").read_bytes()


def _refused(content: bytes, name: str) -> None:
    ops = json.loads(content)["program"]["regions"][0]["blocks"][0]["ops"]
    place = [op["#"] for op in ops].index(f"1.{name}")
    with pytest.raises(OperatorRefused, match=rf"pd_op\.{name} at op {place}\b"):
        read_program(content, STANDARD_LIMITS)
    _, refusals = survey(content, STANDARD_LIMITS)
    found = [each for each in refusals if each.operator == f"pd_op.{name}"]
    assert [(each.code, each.place) for each in found] == [(OperatorRefused.code, place)]
    assert found[0].instead


def test_print_is_refused_where_it_stands(tmp_path: Path) -> None:
    _refused(_saved(Prints(), tmp_path), "print")


@pytest.mark.parametrize("kind", ["save_combine", "load_combine"])
def test_operators_that_write_and_read_files_are_refused_where_they_stand(kind: str, tmp_path: Path) -> None:
    _refused(_translated(kind, tmp_path), kind)
    assert not (tmp_path / "stolen").exists()


def test_py_func_save_and_load_cannot_be_exported_at_all(tmp_path: Path) -> None:
    """Stock PaddlePaddle has no such operators in the form that it saves; renamed ones are refused in tests/spec/test_program.py."""
    with pytest.raises(TypeError, match="py_func"):
        _saved(CallsPython(), tmp_path)
    for kind in ("save", "load"):
        with pytest.raises(SystemError, match=f"pd_op.{kind}"):
            _translated(kind, tmp_path)
    with _old_graph() as (main, x, _):
        engine.static.py_func(lambda given: given, x=x, out=x)
        with pytest.raises(SystemError, match=r"pd_op\.py_func"):
            engine.pir.translate_to_pir(main.desc)
    assert not (tmp_path / "net.json").exists()
