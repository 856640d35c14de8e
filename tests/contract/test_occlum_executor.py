"""The executor `occlum` against the suite, before a stand-in of Occlum's commands, and what is its own."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from paddock.errors import ContractTooLarge, ExecutorFailed, ExecutorOptionInvalid
from paddock.evidence.claims import registers_digest
from paddock.executors import Executor, Launch, load_plugin
from paddock.executors.occlum import OcclumExecutor
from paddock.executors.occlum_build import OcclumBuilder
from paddock.executors.occlum_files import PROGRAM as ENTRY
from paddock.executors.tools import run_tool
from paddock.testing.contracts import Participant, proposal
from paddock.testing.executor_suite import RUN, Behaviour, ExecutorSuite, Recorder, launch
from tests.contract.test_process_executor import PROGRAM, SMALL
from tests.fixtures.libos import Occlum, small_runtime

NATIVE = (sys.executable, "-I", "-c", PROGRAM)
LIMITS = {
    "memory_bytes": 1 << 30,
    "lease_seconds": 30,
    "attempts": 2,
    "checkpoint_seconds": 60,
    "run_seconds": 60,
    "processes": 32,
    "scratch_bytes": 1 << 20,
    "output_bytes": 1 << 30,
}


@pytest.fixture(scope="module")
def occlum(tmp_path_factory: pytest.TempPathFactory) -> Occlum:
    return Occlum(tmp_path_factory.mktemp("occlum"))


@pytest.fixture(scope="module")
def image(occlum: Occlum) -> Path:
    return occlum.build(memory="1GiB", scratch="1MiB", threads="32")


@pytest.fixture
def copy(image: Path, tmp_path: Path) -> Path:
    """An image that a test may change."""
    return shutil.copytree(image, tmp_path / "image")


class TestOcclumExecutor(ExecutorSuite):
    @pytest.fixture(autouse=True)
    def _machine(self, occlum: Occlum, image: Path) -> None:
        self.machine, self.image = occlum, image

    def executor(self, behaviour: Behaviour) -> Executor:
        self.machine.become([*NATIVE, behaviour.value])
        return self.machine.executor(self.image, SMALL)


def of(limits: dict[str, int]) -> Launch:
    return Launch(RUN, proposal([Participant.generate("north")], {"limits": limits}).to_dict(), "folder:/nowhere", {})


def run(executor: Executor, launch: Launch) -> list[dict[str, Any]]:
    recorder = Recorder()
    executor.start(launch, recorder)
    recorder.final()
    return recorder.events


def test_it_is_a_plug_in() -> None:
    assert load_plugin("paddock.executors", "occlum") is OcclumExecutor
    assert load_plugin("paddock.builders", "occlum") is OcclumBuilder


def test_the_enclave_gets_nothing_of_the_host(occlum: Occlum, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    occlum.become([*NATIVE, "look"])
    seen = run(occlum.executor(image), launch())[0]["detail"]
    assert set(seen["env"]) == {
        *("HOME", "LANG", "LC_ALL", "OMP_NUM_THREADS", "PATH", "TZ"),
        *("PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE", "PYTHONSAFEPATH"),
    }
    assert RUN not in str(seen["argv"])


def test_runs_have_a_folder_each_that_goes_with_them(occlum: Occlum, image: Path) -> None:
    occlum.become([*NATIVE, "deaf"])
    executor = occlum.executor(image, SMALL)
    recorders = [Recorder(), Recorder()]
    runs = [RUN, "f" * 32]
    for run_id, recorder in zip(runs, recorders, strict=True):
        executor.start(launch(run_id), recorder)
        recorder.until(bool)
    for run_id in runs:
        folder = occlum.folder / "runs" / run_id
        assert folder.stat().st_mode & 0o077 == 0
        assert not list((folder / "run/mount/__ROOT").iterdir())
    for run_id, recorder in zip(runs, recorders, strict=True):
        executor.stop(run_id)
        recorder.final()
    assert not list((occlum.folder / "runs").iterdir())
    assert (image / "instance/build").is_dir()


def test_what_an_earlier_attempt_left_is_removed(occlum: Occlum, image: Path) -> None:
    left = occlum.folder / "runs" / RUN / "run/mount/__ROOT"
    left.mkdir(parents=True)
    (left / "metadata").write_text("of a host", encoding="ascii")
    command = occlum.executor(image).command(launch())
    assert not list((command.folder / "run/mount/__ROOT").iterdir())
    command.clear()


@pytest.mark.parametrize("name", ["../escape", "a/b", "", "A" * 32, RUN + "\n"])
def test_a_run_whose_id_is_none_is_not_started(occlum: Occlum, image: Path, name: str) -> None:
    with pytest.raises(ExecutorFailed):
        occlum.executor(image).start(launch(name), Recorder())
    assert not (occlum.folder / "escape").exists()


def test_the_measurement_is_what_occlum_says(occlum: Occlum, image: Path) -> None:
    library = (image / "instance/build/lib/libocclum-libos.signed.so").read_text(encoding="ascii")
    measurement = registers_digest("sgx", {"mrenclave": library})
    assert occlum.executor(image).measure() == measurement
    larger = occlum.build(memory="2GiB", scratch="1MiB", threads="32")
    assert occlum.executor(larger).measure() != measurement


def test_an_image_that_was_changed_is_noticed(occlum: Occlum, copy: Path) -> None:
    (copy / "instance/build/lib/libocclum-libos.signed.so").write_text("0" * 64, encoding="ascii")
    with pytest.raises(ExecutorFailed, match="changed"):
        occlum.executor(copy).measure()


@pytest.mark.parametrize("name", ["memory_bytes", "processes", "scratch_bytes"])
def test_a_contract_that_allows_more_than_the_image_holds_is_not_started(
    occlum: Occlum, image: Path, name: str
) -> None:
    executor = occlum.executor(image)
    executor.command(of(LIMITS)).clear()
    words = rf"limits\.{name}: {LIMITS[name] + 1} signed, room for {LIMITS[name]}\. .*measured: build"
    with pytest.raises(ContractTooLarge, match=words):
        executor.start(of({**LIMITS, name: LIMITS[name] + 1}), Recorder())
    assert not list((occlum.folder / "runs").iterdir())


@pytest.mark.parametrize("name", ["memory_bytes", "scratch_bytes", "threads"])
@pytest.mark.parametrize("value", [None, "many", True])
def test_an_image_that_does_not_say_what_it_holds_is_not_started(
    occlum: Occlum, copy: Path, name: str, value: object
) -> None:
    note = json.loads((copy / "built.json").read_text(encoding="ascii"))
    (copy / "built.json").write_text(json.dumps({**note, name: value}), encoding="ascii")
    with pytest.raises(ExecutorFailed, match="damaged"):
        occlum.executor(copy).start(of(LIMITS), Recorder())


def test_what_is_missing_on_the_machine_is_said(occlum: Occlum, image: Path) -> None:
    occlum.executor(image).prepare()
    with pytest.raises(ExecutorFailed, match="SGX device"):
        occlum.executor(image, settings={"device": "/nowhere/sgx"}).prepare()
    with pytest.raises(ExecutorFailed, match="occlum"):
        occlum.executor(image, settings={"occlum": "/nowhere/occlum"}).prepare()
    with pytest.raises(ExecutorFailed, match="Build it first"):
        occlum.executor(occlum.folder / "none").prepare()


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("instance/.sgx_mode", "SIM\n", "protects nothing"),
        ("instance/Occlum.json", '{"metadata": {"debuggable": true}}', "looked into"),
        ("instance/Occlum.json", '{"metadata": {}}', "looked into"),
        ("instance/Occlum.json", "[]", "damaged"),
        ("built.json", "{", "damaged"),
        ("built.json", '{"mrenclave": "00"}', "damaged"),
    ],
)
def test_an_image_that_protects_nothing_is_not_started(
    occlum: Occlum, copy: Path, file: str, text: str, words: str
) -> None:
    (copy / file).write_text(text, encoding="ascii")
    executor = occlum.executor(copy)
    for refused in (executor.prepare, lambda: executor.start(launch(), Recorder())):
        with pytest.raises(ExecutorFailed, match=words):
            refused()


def test_settings_that_are_not_understood_are_refused(tmp_path: Path) -> None:
    for settings in ({}, {"image": "x", "colour": "red"}):
        with pytest.raises(ExecutorOptionInvalid):
            OcclumExecutor(attester="none", settings=settings)
    builder = OcclumBuilder(small_runtime)
    for settings in (
        {},
        {"sign-key": "/nowhere"},
        {"sign-key": __file__, "memory": "4 GB"},
        {"sign-key": __file__, "threads": "5"},
        {"sign-key": __file__, "colour": "red"},
    ):
        with pytest.raises(ExecutorOptionInvalid):
            builder.build(tmp_path / "image", settings, print)


@pytest.mark.parametrize("fails", ["build", "print"])
def test_a_build_that_fails_leaves_nothing(tmp_path: Path, fails: str) -> None:
    occlum = Occlum(tmp_path, {"fails": fails})
    with pytest.raises(ExecutorFailed):
        occlum.build()
    assert not list(tmp_path.glob("image-*"))


def test_a_folder_that_holds_something_is_left_alone(occlum: Occlum, image: Path) -> None:
    with pytest.raises(ExecutorFailed, match="empty"):
        OcclumBuilder(small_runtime).build(image, occlum.tools(), print)
    assert (image / "built.json").exists()


@pytest.mark.parametrize("name", ["with space", "$HOME", "host:path", "new\nline", 'quote"', "käse", "-x/../.."])
def test_a_hostile_folder_does_not_get_into_the_files(occlum: Occlum, image: Path, name: str) -> None:
    folder = occlum.folder / name / "image"
    with pytest.raises(ExecutorOptionInvalid):
        OcclumBuilder(small_runtime).build(folder, occlum.tools(), print)
    assert not folder.exists()


def test_the_host_cannot_start_anything_but_the_entry(occlum: Occlum, image: Path) -> None:
    """What Occlum does with other programs and arguments, as the stand-in has it from Occlum's sources."""
    occlum.become([*NATIVE, "silent"])
    python = json.loads((image / "bom.yaml").read_text(encoding="ascii"))["targets"][2]["target"]
    for program in (f"{python}/python3", f"{ENTRY.parent}/../runtime/bin/python3", "/bin/sh"):
        with pytest.raises(ExecutorFailed, match="NOT a valid entry point"):
            _start(occlum, image, program, "-c", "0")
    with pytest.raises(ExecutorFailed, match="decoder"):  # the entry itself runs: it finds no launch
        _start(occlum, image, str(ENTRY), "-c", "0")


def _start(occlum: Occlum, image: Path, *arguments: str) -> None:
    command = occlum.executor(image).command(launch())
    run_tool([command.arguments[0], "run", *arguments], folder=command.folder, seconds=20)
