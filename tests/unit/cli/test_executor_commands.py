"""`paddock executor`: listing, checking, measuring, and how settings are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from paddock.executors import Built, check_settings
from tests.fixtures.command import paddock, paddock_json


class Toy:
    about = "A toy."
    settings: ClassVar = {"colour": "Its colour."}

    def describe(self, settings: Mapping[str, str]) -> Mapping[str, str]:
        check_settings(settings, self.settings, required=["colour"])
        return {"toy.txt": settings["colour"] + "\n"}

    def build(self, folder: Path, settings: Mapping[str, str], said: Callable[[str], None]) -> Built:
        said("painting")
        text = self.describe(settings)["toy.txt"]
        folder.mkdir()
        (folder / "toy.txt").write_text(text, encoding="utf-8")
        return Built(["toy.txt"], "sha256:" + "0" * 64, ["Play with it."])


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    from paddock.cli import executor_commands
    from paddock.executors import load_plugin, plugin_names

    def load(group: str, name: str) -> Callable[..., Any]:
        return Toy if (group, name) == ("paddock.builders", "toy") else load_plugin(group, name)

    def names(group: str) -> list[str]:
        return [*plugin_names(group), *(["toy"] if group == "paddock.builders" else [])]

    monkeypatch.setattr(executor_commands, "load_plugin", load)
    monkeypatch.setattr(executor_commands, "plugin_names", names)


def test_the_list_tells_what_starts_runs_and_what_is_built() -> None:
    found = paddock_json("executor", "list").json
    assert found["process"]["starts"] is True
    settings = {"colour": "Its colour."}
    assert found["toy"] == {"starts": False, "about": "", "builds": "A toy.", "settings": settings, "options": {}}
    assert list(found["gramine"]["options"]) == ["image"]
    shown = paddock("executor", "list").out
    assert "A toy." in shown
    assert "Its colour." in shown


def test_an_executor_is_checked_before_anything_is_served() -> None:
    assert paddock_json("executor", "check", "process").json == {"executor": "process", "ready": True}
    assert paddock_json("executor", "check", "nowhere").error == "E-SERVICE-11"


@pytest.mark.parametrize("verb", ["check", "measure"])
@pytest.mark.parametrize("option", ["size=1", "size", "=1", "size="])
def test_a_setting_that_is_not_known_or_not_understood_is_refused(verb: str, option: str) -> None:
    done = paddock_json("executor", verb, "process", "--option", option)
    assert (done.code, done.error) == (5, "E-RUN-29")


def test_what_is_built_is_shown_and_written(tmp_path: Path) -> None:
    assert paddock_json("executor", "describe", "toy", "-o", "colour=red").json == {"toy.txt": "red\n"}
    assert paddock("executor", "describe", "toy", "-o", "colour=red").out == "toy.txt\nred\n\n"
    done = paddock_json("executor", "build", "toy", tmp_path / "here", "-o", "colour=red").json
    assert done == {"files": ["toy.txt"], "measurement": "sha256:" + "0" * 64, "notes": ["Play with it."]}
    assert (tmp_path / "here" / "toy.txt").read_text(encoding="utf-8") == "red\n"
    assert "Play with it." in paddock("executor", "build", "toy", tmp_path / "there", "-o", "colour=red").out


@pytest.mark.parametrize("options", [[], ["colour=red", "colour=red"], ["colour=red", "shape=round"]])
def test_building_refuses_settings_that_are_missing_twice_or_unknown(options: list[str], tmp_path: Path) -> None:
    given = [word for option in options for word in ("-o", option)]
    assert paddock_json("executor", "build", "toy", tmp_path / "here", *given).error == "E-RUN-29"
    assert not (tmp_path / "here").exists()


def test_a_measurement_that_cannot_be_computed_in_full_is_not_shown_as_one(tmp_path: Path) -> None:
    from tests.contract.test_machine_executor import machine
    from tests.unit.executors.test_machine_tdx import tdvf, tdx_image

    folder = tdx_image(machine(tmp_path / "machine"))
    (folder / "firmware").write_bytes(tdvf())
    given = ["-o", f"machine={folder}", "-o", "kind=tdx", "-o", f"firmware={folder / 'firmware'}"]
    done = paddock_json("executor", "measure", "confidential-vm", *given)
    assert (done.code, done.json["measurement"], set(done.json["missing"])) == (4, None, {"rtmr0"})
    shown = paddock("executor", "measure", "confidential-vm", *given)
    assert (shown.code, shown.out) == (4, "")
    whole = paddock_json("executor", "measure", "confidential-vm", *given, "-o", f"rtmr0={'ab' * 48}")
    assert (whole.code, whole.json["missing"]) == (0, {})
    assert whole.json["told"] == {"rtmr0": "ab" * 48}
    assert "rtmr0" not in whole.json["computed"]
    registers = [f"{name}={value}" for part in ("computed", "told") for name, value in whole.json[part].items()]
    assert paddock_json("measure", "--registers", "tdx", *registers).json["measurement"] == whole.json["measurement"]
    shown = paddock("executor", "measure", "confidential-vm", *given, "-o", f"rtmr0={'ab' * 48}")
    assert shown.out == whole.json["measurement"] + "\n"
    said = " ".join(shown.err.split())
    assert f"rtmr0 {'ab' * 48} is what a start told: nothing computed it" in said
