"""The executor `scone` against the suite, before a stand-in of SCONE's command, CAS and interpreter, and what is its own."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from paddock.errors import ContractTooLarge, ExecutorFailed, ExecutorOptionInvalid
from paddock.executors import Executor, load_plugin
from paddock.executors.scone import SconeBuilder, SconeExecutor
from paddock.testing.executor_suite import RUN, Behaviour, ExecutorSuite, Recorder, launch
from tests.contract.test_occlum_executor import LIMITS, of, run
from tests.contract.test_process_executor import PROGRAM, SMALL
from tests.fixtures.libos import CAS, Scone

NATIVE = (sys.executable, "-I", "-c", PROGRAM)


@pytest.fixture(scope="module")
def scone(tmp_path_factory: pytest.TempPathFactory) -> Scone:
    return Scone(tmp_path_factory.mktemp("scone"))


@pytest.fixture(scope="module")
def image(scone: Scone) -> Path:
    return scone.build(memory="1GiB")


class TestSconeExecutor(ExecutorSuite):
    @pytest.fixture(autouse=True)
    def _machine(self, scone: Scone, image: Path) -> None:
        self.machine, self.image = scone, image

    def executor(self, behaviour: Behaviour) -> Executor:
        self.machine.become([*NATIVE, behaviour.value])
        return self.machine.executor(self.image, SMALL)


def test_it_is_a_plug_in() -> None:
    assert load_plugin("paddock.executors", "scone") is SconeExecutor
    assert load_plugin("paddock.builders", "scone") is SconeBuilder


def test_the_enclave_gets_the_sessions_environment_and_no_other(
    scone: Scone, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    scone.become([*NATIVE, "look"])
    seen = run(scone.executor(image), launch())[0]["detail"]
    assert set(seen["env"]) == {
        *("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ"),
        *("OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE", "SCONE_ALLOW_DLOPEN"),
    }
    assert not list((scone.folder / "runs").iterdir())


def test_every_attempt_has_a_session_of_its_own(scone: Scone, image: Path) -> None:
    scone.become([*NATIVE, "echo"])
    before = set(scone.store.iterdir())
    executor = scone.executor(image)
    for _ in range(2):
        assert run(executor, launch())[-1]["event"] == "receipt"
    made = set(scone.store.iterdir()) - before
    assert len(made) == 2
    for file in made:
        session = json.loads(file.read_text(encoding="utf-8"))
        assert session["services"][0]["attestation"] == {
            "mrenclave": [json.loads((image / "built.json").read_text(encoding="utf-8"))["mrenclave"]]
        }
        assert session["security"]["singleton_enclaves"] is True
        assert session["access_policy"]["update"] == session["access_policy"]["create_sessions"] == ["NONE"]
        assert session["volumes"] == [{"name": "scratch"}]  # its key is the CAS's to make


def test_another_size_is_another_enclave_and_is_not_let_in(scone: Scone, image: Path, tmp_path: Path) -> None:
    scone.become([*NATIVE, "echo"])
    changed = shutil.copytree(image, tmp_path / "image")
    note = json.loads((changed / "built.json").read_text(encoding="utf-8"))
    (changed / "built.json").write_text(json.dumps({**note, "memory_bytes": 2 << 30}), encoding="utf-8")
    event = run(scone.executor(changed), launch())[-1]
    assert event["error"]["code"] == "E-RUN-23"


def test_other_files_are_another_enclave_and_are_not_let_in(tmp_path: Path) -> None:
    machine = Scone(tmp_path)
    image = machine.build(memory="1GiB")
    machine.become([*NATIVE, "echo"])
    assert run(machine.executor(image), launch())[-1]["event"] == "receipt"
    machine.files.write_text("a file system with a program of the host's", encoding="ascii")
    assert run(machine.executor(image), launch())[-1]["error"]["code"] == "E-RUN-23"


def test_what_a_platform_is_tolerated_as_is_said_when_building(tmp_path: Path) -> None:
    machine = Scone(tmp_path)
    image = machine.build(tolerate="hyperthreading,outdated-tcb", advisories="INTEL-SA-00615")
    machine.become([*NATIVE, "echo"])
    assert run(machine.executor(image), launch())[-1]["event"] == "receipt"
    (file,) = machine.store.iterdir()
    assert json.loads(file.read_text(encoding="utf-8"))["security"]["attestation"] == {
        "mode": "hardware",
        "tolerate": ["hyperthreading", "outdated-tcb"],
        "ignore_advisories": ["INTEL-SA-00615"],
    }
    for settings in ({"tolerate": "debug-mode"}, {"tolerate": ","}, {"advisories": "*"}, {"advisories": "INTEL-SA-1"}):
        with pytest.raises(ExecutorOptionInvalid):
            machine.build(**settings)


def test_it_tells_no_measurement_for_contracts(scone: Scone, image: Path) -> None:
    """What SCONE measures is the interpreter: whoever starts it without a session runs what they like under that MRENCLAVE."""
    with pytest.raises(ExecutorFailed, match="whatever it is told to run"):
        scone.executor(image).measure()
    assert SconeBuilder().build(scone.folder / "again", scone.building(), print).measurement is None


def test_a_contract_that_allows_more_memory_is_not_started(scone: Scone, image: Path) -> None:
    with pytest.raises(ContractTooLarge, match=r"limits\.memory_bytes: 1073741825 signed, room for 1073741824"):
        scone.executor(image).start(of({**LIMITS, "memory_bytes": (1 << 30) + 1}), Recorder())


def test_a_session_that_the_cas_refuses_starts_nothing(scone: Scone, image: Path) -> None:
    with pytest.raises(ExecutorFailed, match="not attested"):
        scone.executor(image, settings={"cas": "other.example"}).start(launch(), Recorder())
    assert not list((scone.folder / "runs").iterdir())


def test_a_session_that_the_cas_does_not_confirm_starts_nothing(tmp_path: Path) -> None:
    machine = Scone(tmp_path, {"confirms": "WARN the CAS is slow"})
    with pytest.raises(ExecutorFailed, match="confirmed no session"):
        machine.executor(machine.build()).start(launch(), Recorder())


def test_what_is_missing_on_the_machine_is_said(scone: Scone, image: Path) -> None:
    scone.executor(image).prepare()
    for more, words in (
        ({"device": "/nowhere/sgx"}, "SGX device"),
        ({"scone": "/nowhere/scone"}, "scone"),
        ({"cli-config": "/nowhere/config.json"}, "Attest the CAS"),
    ):
        with pytest.raises(ExecutorFailed, match=words):
            scone.executor(image, settings=more).prepare()
    with pytest.raises(ExecutorFailed, match="Build it first"):
        scone.executor(scone.folder / "none").prepare()
    scone.files.rename(scone.folder / "elsewhere")
    with pytest.raises(ExecutorFailed, match="cannot be read"):
        scone.executor(image).prepare()
    (scone.folder / "elsewhere").rename(scone.files)
    state = scone.folder / "config.json"
    state.chmod(0o644)
    with pytest.raises(ExecutorFailed, match="others can read"):
        scone.executor(image).prepare()
    state.chmod(0o600)


@pytest.mark.parametrize(
    "note",
    [
        {"mrenclave": "0" * 63},
        {"mrenclave": "$MRENCLAVE"},
        {"program": "python3 -c 0"},
        {"program": "/bin/python3\n- name: evil"},
        {"files": "lib.so"},
        {"files": "/lib/a.so:/lib/evil.so"},
        {"tolerate": ["debug-mode"]},
        {"tolerate": "hyperthreading"},
        {"advisories": ["*"]},
        {"advisories": "*"},
        {"memory_bytes": 0},
        {"memory_bytes": True},
        {"memory_bytes": "4"},
    ],
)
def test_a_note_that_was_tampered_with_is_refused(scone: Scone, image: Path, tmp_path: Path, note: object) -> None:
    changed = shutil.copytree(image, tmp_path / "image")
    good = json.loads((changed / "built.json").read_text(encoding="utf-8"))
    (changed / "built.json").write_text(json.dumps(good | note), encoding="utf-8")
    with pytest.raises(ExecutorFailed, match="damaged"):
        scone.executor(changed).start(launch(), Recorder())


@pytest.mark.parametrize("address", ["", "host name", "host:port", "-x", "a\nb", "http://host", "$CAS", "a:1:2"])
def test_addresses_that_are_none_are_refused(scone: Scone, image: Path, address: str) -> None:
    for name in ("cas", "las"):
        with pytest.raises(ExecutorOptionInvalid):
            scone.executor(image, settings={name: address})


def test_a_cas_is_named_without_a_port(scone: Scone, image: Path) -> None:
    """The command reaches it at another one than enclaves do."""
    with pytest.raises(ExecutorOptionInvalid, match="without a port"):
        scone.executor(image, settings={"cas": f"{CAS}:8081"})


def test_settings_that_are_not_understood_are_refused(scone: Scone, image: Path) -> None:
    given = scone.settings(image)
    for name in ("image", "cas", "las", "runs"):
        with pytest.raises(ExecutorOptionInvalid, match=name):
            SconeExecutor(attester="none", settings={key: value for key, value in given.items() if key != name})
    with pytest.raises(ExecutorOptionInvalid, match="colour"):
        SconeExecutor(attester="none", settings={**given, "colour": "red"})
    with pytest.raises(ExecutorOptionInvalid):
        scone.executor(image, settings={"runs": str(scone.folder / "with space")})


@pytest.mark.parametrize("said", ["", "no hash", "0" * 63, "A" * 64])
def test_an_interpreter_that_tells_no_hash_is_not_built_for(tmp_path: Path, said: str) -> None:
    with pytest.raises(ExecutorFailed, match="sconified"):
        Scone(tmp_path, {"says": said}).build()
    assert not list(tmp_path.glob("image-*"))


def test_runs_ids_do_not_get_into_sessions_unread(scone: Scone, image: Path) -> None:
    for name in ("../escape", 'x"\n- y', RUN.upper()):
        with pytest.raises(ExecutorFailed):
            scone.executor(image).start(launch(name), Recorder())
