"""Exporting a developer's own network: what is written, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paddock.errors import NetworkNotCarried, NetworkUnusable, OperatorRefused, WeightsRefused
from paddock.jobs.checking import check_program_folder
from paddock.jobs.engine import engine, functional
from paddock.jobs.export import InputSpec, export_layer, load_user_layer, parse_input
from paddock.samples.breast_cancer import NETWORK

nn: Any = engine.nn
X = InputSpec("x", "float32", (-1, 6))
pytestmark = pytest.mark.filterwarnings("ignore")


class DoublesInTraining(nn.Layer):
    """Does something in training that its graph does not say."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(6, 2)

    def forward(self, x: Any) -> Any:
        return self.out(x) * 2 if self.training else self.out(x)


class AlwaysDrops(nn.Layer):
    """Forgets to say when to drop."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(6, 2)

    def forward(self, x: Any) -> Any:
        return functional.dropout(self.out(x), 0.5)


def test_an_exported_network_is_read_and_reported(tmp_path: Path) -> None:
    export_layer(load_user_layer(f"{NETWORK}:TumourNet"), [parse_input("x:float32[-1,30]")], tmp_path / "net")
    report = check_program_folder(tmp_path / "net")
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == ["program.json", "weights.safetensors"]
    assert report.to_dict()["inputs"] == {"x": "float32[batch, 30]"}
    assert report.outputs == ["float32[batch, 2]"]
    # Three linear layers, two batch normalisations with two trained and two moved vectors each.
    assert report.trainable == 30 * 64 + 64 + 64 * 32 + 32 + 32 * 2 + 2 + 2 * (64 + 32)
    assert report.parameters == report.trainable + 2 * (64 + 32)
    assert "x: float32[batch, 30]" in report.summary()


def test_exporting_leaves_the_layer_as_it_was(tmp_path: Path) -> None:
    layer = load_user_layer(f"{NETWORK}:TumourNet")
    layer.eval()
    before = {name: tensor.numpy().tobytes() for name, tensor in layer.state_dict().items()}
    export_layer(layer, [parse_input("x:float32[-1,30]")], tmp_path)
    assert {name: tensor.numpy().tobytes() for name, tensor in layer.state_dict().items()} == before
    assert not any(each.training for each in layer.sublayers(include_self=True))


@pytest.mark.parametrize("kind", [DoublesInTraining, AlwaysDrops])
def test_a_network_whose_graph_does_not_say_what_it_does_is_refused(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(NetworkNotCarried):
        export_layer(kind(), [X], tmp_path / "net")
    assert not (tmp_path / "net").exists()


def test_operators_that_are_not_allowed_are_refused_by_name(tmp_path: Path) -> None:
    layer = nn.Sequential(nn.Linear(6, 8), nn.Unflatten(1, [2, 2, 2]), nn.Dropout2D(0.5), nn.Flatten())
    with pytest.raises(OperatorRefused, match=r"pd_op\.uniform at op \d+"):
        export_layer(layer, [X], tmp_path)


def test_a_network_that_paddle_cannot_save_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkUnusable):
        export_layer(nn.Linear(7, 2), [X], tmp_path)


def test_files_that_are_no_networks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("Number = 1\nclass Net: pass\nraise_later = None\n")
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    for reference in ("net.py:Net", "net.py:Number", "net.py:None_", "none.py:Net", "net.py", "broken.py:Net"):
        with pytest.raises(NetworkUnusable):
            load_user_layer(str(tmp_path / reference))


def test_a_folder_without_program_or_with_other_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkUnusable):
        check_program_folder(tmp_path)
    export_layer(nn.Linear(6, 2), [X], tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(WeightsRefused):
        check_program_folder(tmp_path)


@pytest.mark.parametrize("text", ["x:float32[-1, 3,28,28]", "ids:int64[-1]"])
def test_inputs_are_read(text: str) -> None:
    assert parse_input(text).shape[0] == -1


@pytest.mark.parametrize(
    "text", ["x", "x:float32", "x:float16[-1]", "x:float32[30]", "x:float32[-1,-1]", "1:float32[-1]"]
)
def test_inputs_written_otherwise_are_refused(text: str) -> None:
    with pytest.raises(NetworkUnusable):
        parse_input(text)
