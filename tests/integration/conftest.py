"""One stage for all tests of whole runs: its parties keep their names, each test makes contracts of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from paddock.testing.stage import Stage

_NET = """
import paddle

class Net(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.hidden = paddle.nn.Linear(2, 8)
        self.norm = paddle.nn.BatchNorm1D(8)
        self.drop = paddle.nn.Dropout(0.1)
        self.out = paddle.nn.Linear(8, 2)

    def forward(self, x):
        return self.out(self.drop(self.norm(paddle.nn.functional.relu(self.hidden(x)))))
"""


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from paddock.jobs.export import export_layer, load_user_layer, parse_input

    folder = tmp_path_factory.mktemp("program")
    (folder / "net.py").write_text(_NET, encoding="utf-8")
    out = folder / "net"
    export_layer(load_user_layer(f"{folder / 'net.py'}:Net"), [parse_input("x:float32[-1,2]")], out)
    return out


@pytest.fixture(scope="session")
def stage(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("stage"), program) as ready:
        yield ready
