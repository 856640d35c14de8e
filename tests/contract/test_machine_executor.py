"""The executor `confidential-vm` against the suite, with a stand-in of QEMU that checks its arguments; and what is its own."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from paddock.contract.draft import DEFAULT_MEMORY_BYTES, DEFAULT_PROCESSES, DEFAULT_SCRATCH_BYTES
from paddock.errors import ContractTooLarge, ExecutorFailed, ExecutorOptionInvalid, ImageInvalid
from paddock.evidence.claims import registers_digest
from paddock.executors import Executor, Launch, load_plugin
from paddock.executors.command import CommandExecutor
from paddock.executors.machine import MachineBuilder, MachineExecutor, qemu
from paddock.executors.machine.description import DISK, FACTS, KERNEL_IMAGE
from paddock.executors.machine.executor import _reported, _unfit
from paddock.executors.machine.measured import expected_registers
from paddock.executors.machine.pe import section
from paddock.executors.machine.qemu import Kind
from paddock.executors.machine.settings import StartSettings, read_recipe, read_start
from paddock.executors.supervision import Limits
from paddock.testing.executor_suite import RUN, Behaviour, ExecutorSuite, Recorder
from tests.contract.test_occlum_executor import LIMITS, of
from tests.contract.test_process_executor import PROGRAM
from tests.unit.executors.test_machine_image import facts, machine_image, written

_TOOLS = Path("/usr/bin/swtpm")
_TPM = pytest.mark.skipif(not _TOOLS.exists(), reason="not installed: swtpm (Debian: apt-get install swtpm tpm2-tools)")
_SMALL = Limits(line_bytes=100_000, events=200, grace_seconds=0.3, log_bytes=1000)
_CHECKS = r"""
import os, stat, sys
words = sys.argv[1:]
def after(flag): return [words[n + 1] for n, word in enumerate(words) if word == flag]
def need(holds, what):
    if not holds: sys.exit(f"stand-in of QEMU: {what}")
flags = {"-nodefaults", "-no-user-config", "-no-reboot"}
need(flags <= set(words), "flags")
known = flags | {"-display", "-sandbox", "-machine", "-accel", "-cpu", "-drive", "-smp", "-m", "-kernel", "-chardev", "-serial", "-device", "-netdev", "-tpmdev"}
need(all(word in known for word in words if word.startswith("-") and not word.startswith("-cmd")), "an option that is not known")
need(after("-accel") == ["tcg"] and after("-machine") == ["q35"], "machine")
for file in after("-kernel") + [row.rpartition("file=")[2] for row in after("-drive")]:
    need(os.path.isfile(file), f"no file {file}")
need(all("readonly=on" in row for row in after("-drive")), "a drive that can be written")
need("stdio,id=launch,signal=off" in after("-chardev") and "file,id=events,path=/dev/stdout" in after("-chardev"), "ports")
[control] = [row.rpartition("path=")[2] for row in after("-chardev") if row.startswith("socket,id=tpm")]
need(stat.S_ISSOCK(os.stat(control).st_mode), "no TPM")
[network] = after("-netdev")
need(network.startswith("user,id=net,restrict=on"), "network")
sys.argv[1:] = [BEHAVIOUR]
"""


def stand_in(folder: Path, behaviour: str) -> Path:
    """A program in QEMU's place."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "qemu"
    checks = _CHECKS.replace("BEHAVIOUR", repr(behaviour))
    program.write_text(f"#!{sys.executable} -I\n{checks}\n{PROGRAM}", encoding="utf-8")
    program.chmod(0o755)
    return program


def machine(folder: Path) -> Path:
    """The folder of an image that says what it is and is nothing."""
    (folder / "tpm").mkdir(parents=True)
    (folder / "tpm" / "tpm2-00.permall").write_bytes(b"state")
    (folder / FACTS).write_text(json.dumps(facts()), encoding="utf-8")
    for name in (KERNEL_IMAGE, DISK, "firmware"):
        (folder / name).write_bytes(b"x")
    return folder


def settings(folder: Path, program: Path | str) -> dict[str, str]:
    image = folder / "machine"
    if not image.exists():
        machine(image)
    firmware = str(image / "firmware")
    return {"machine": str(image), "kind": "plain", "accelerator": "tcg", "firmware": firmware, "qemu": str(program)}


def launch(store: str = "http://127.0.0.1:1", run: str = RUN) -> Launch:
    return Launch(run, {}, store, {"A" * 64: "http://127.0.0.1:2"})


@_TPM
class TestMachineExecutor(ExecutorSuite):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = tmp_path
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        # What the suite launches has the store in a folder, which a machine does not see.
        monkeypatch.setattr("paddock.testing.executor_suite.launch", suite_launch)

    def executor(self, behaviour: Behaviour) -> Executor:
        program = stand_in(self.folder, behaviour.value)
        return MachineExecutor(attester="none", settings=settings(self.folder, program), limits=_SMALL)

    def test_the_launch_arrives_whole_and_the_receipt_comes_last(self) -> None:
        """As the suite's, but for the addresses: they are those of the machine's own network."""
        executor, recorder, execution = self._run(Behaviour.ECHO)
        assert recorder.final()["event"] == "receipt"
        told = recorder.events[0]["detail"]
        assert told["run"] == RUN
        assert told["contract"] == suite_launch().contract
        assert told["store"] == "http://10.0.2.100:1"
        assert list(told["keepers"].values()) == ["http://10.0.2.101:2"]
        assert told["attester"] == "tpm:tcti=device:/dev/tpmrm0;pcrs=sha256:0,2,3,4,5,6,7,8,9,11,12,13,14"
        self._ended(executor, execution)

    def test_nothing_is_left_of_a_run(self) -> None:
        executor, recorder, execution = self._run(Behaviour.STUBBORN)
        recorder.until(bool)
        [copy] = self.folder.glob("paddock-tpm-*")
        assert copy.stat().st_mode & 0o077 == 0
        executor.stop(execution)
        recorder.final()
        assert not list(self.folder.glob("paddock-tpm-*"))
        assert not [line for line in _commands() if str(self.folder) in line and "swtpm" in line]


def suite_launch(run: str = RUN) -> Launch:
    """The suite's launch, with addresses that a machine can reach."""
    contract = {"payload": "A" * 20_000, "payloadType": "x", "signatures": []}
    return Launch(run, contract, "http://127.0.0.1:1", {"A" * 64: "http://127.0.0.1:2"})


def _commands() -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    return found


def test_it_is_found_by_name_and_so_is_what_builds_it() -> None:
    assert load_plugin("paddock.executors", "confidential-vm") is MachineExecutor
    assert load_plugin("paddock.builders", "confidential-vm") is MachineBuilder
    assert set(MachineBuilder().describe({})) == {"paddock-enclave.socket", "paddock-enclave@.service"}
    assert "ListenStream=5005\n" in MachineBuilder().describe({"listen": "tcp:5005"})["paddock-enclave.socket"]
    for wrong in ({"kernel": "/k"}, {"listen": "unix:/run/x"}):
        with pytest.raises(ExecutorOptionInvalid):
            MachineBuilder().describe(wrong)


def test_no_attester_of_the_host_reaches_into_a_machine(tmp_path: Path) -> None:
    with pytest.raises(ExecutorOptionInvalid, match="attests itself"):
        MachineExecutor(attester="unix:/run/simulator", settings=settings(tmp_path, "qemu"))


@_TPM
@pytest.mark.parametrize("missing", [FACTS, KERNEL_IMAGE, DISK, "firmware", "tpm/tpm2-00.permall"])
def test_what_is_missing_is_said_beforehand(tmp_path: Path, missing: str) -> None:
    chosen = settings(tmp_path, stand_in(tmp_path, "echo"))
    executor = MachineExecutor(attester="none", settings=chosen)
    executor.prepare()
    (tmp_path / "machine" / missing).unlink()
    with pytest.raises(ImageInvalid if missing == FACTS else ExecutorFailed):
        executor.prepare()


def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    executor = MachineExecutor(attester="none", settings=settings(tmp_path, "/no/such/qemu"))
    with pytest.raises(ExecutorFailed, match="qemu-system-x86"):
        executor.prepare()


def test_a_store_in_a_folder_is_refused_before_anything_starts(tmp_path: Path) -> None:
    executor = MachineExecutor(attester="none", settings=settings(tmp_path, stand_in(tmp_path, "echo")))
    with pytest.raises(ExecutorFailed, match="through the hub"):
        executor.start(launch("folder:/store"), Recorder())


_ROOM = 1792 << 20  # of the 3 GiB of a machine


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"memory_bytes": _ROOM - (1 << 20)}, None),
        ({"memory_bytes": _ROOM - (1 << 20) + 1}, f"{_ROOM + 1} signed, room for {_ROOM}.*larger 'memory'"),
        ({"scratch_bytes": _ROOM - (1 << 30) + 1}, f"limits.scratch_bytes together: {_ROOM + 1} signed"),
        ({"processes": 23_552}, None),
        ({"processes": 23_553}, "limits.processes: 23553 signed, room for 23552"),
    ],
)
def test_a_contract_that_allows_more_than_a_machine_holds_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int], words: str | None
) -> None:
    started: list[Launch] = []
    monkeypatch.setattr(CommandExecutor, "start", lambda _self, told, _on_event: started.append(told))
    executor = MachineExecutor(attester="none", settings={**settings(tmp_path, "qemu"), "memory": "3072"})
    told = replace(launch(), contract=of({**LIMITS, **limits}).contract)
    with contextlib.nullcontext() if words is None else pytest.raises(ContractTooLarge, match=words):
        executor.start(told, Recorder())
    assert bool(started) == (words is None)


def test_a_machine_without_a_word_holds_what_a_draft_allows_without_a_word(tmp_path: Path) -> None:
    chosen = read_start(settings(tmp_path, "qemu"))
    assert isinstance(chosen, StartSettings)
    room = chosen.shape.room()
    assert room.memory_bytes == DEFAULT_MEMORY_BYTES + DEFAULT_SCRATCH_BYTES
    assert room.processes is not None
    assert room.processes >= DEFAULT_PROCESSES


def test_a_measurement_is_that_of_the_shape_that_was_measured(tmp_path: Path) -> None:
    chosen = settings(tmp_path, "qemu")
    image = machine_image(facts()["command_line"].encode())
    written(tmp_path / "machine", image)
    with pytest.raises(ExecutorFailed, match="without a reference"):
        MachineExecutor(attester="none", settings=chosen).measure()
    reference = {"firmware": "ab" * 32, "cores": 2, "memory_mib": 6400, "register_0": "cd" * 32}
    registers = dict(expected_registers(image, "cd" * 32))
    measured = registers_digest("tpm", registers)
    written(tmp_path / "machine", image, reference=reference, registers=registers, measurement=measured)
    # The firmware that is there is another one than the one that was started for reference.
    with pytest.raises(ExecutorFailed, match="firmware"):
        MachineExecutor(attester="none", settings=chosen).measure()
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of the one byte that stands for it
    reference["firmware"] = digest
    written(tmp_path / "machine", image, reference=reference, registers=registers, measurement=measured)
    assert MachineExecutor(attester="none", settings=chosen).measure() == measured
    with pytest.raises(ExecutorFailed, match="2 cores and 6400"):
        MachineExecutor(attester="none", settings={**chosen, "cores": "4"}).measure()
    # What stands in its description is not taken for what its files are.
    told = {**registers, "sha256:09": "11" * 32}
    written(tmp_path / "machine", image, reference=reference, registers=told, measurement=measured)
    with pytest.raises(ImageInvalid, match="other registers"):
        MachineExecutor(attester="none", settings=chosen).measure()


@pytest.mark.parametrize("kind", ["plain", "sev-snp", "tdx"])
def test_a_kernel_image_that_was_changed_is_not_measured(tmp_path: Path, kind: str) -> None:
    chosen = {**settings(tmp_path, "qemu"), "kind": kind}
    image = machine_image(facts()["command_line"].encode())
    written(tmp_path / "machine", image)
    (tmp_path / "machine" / KERNEL_IMAGE).write_bytes(image + b"!")
    with pytest.raises(ImageInvalid, match="another file"):
        MachineExecutor(attester="none", settings=chosen).measure()


@pytest.mark.parametrize(
    ("parts", "firmware", "words"),
    [
        (("257.3", "6.12"), "sev-snp-firmware", "add words to the command line"),
        (("252.39", "6.1.0"), "sev-snp-firmware", "random numbers"),
        (("252.39", "6.1.0"), "tdx-firmware", "random numbers"),
    ],
)
def test_what_no_machine_with_encrypted_memory_may_start_is_not_built_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: tuple[str, str], firmware: str, words: str
) -> None:
    monkeypatch.setattr("paddock.executors.machine.executor.build_machine", lambda *_: pytest.fail("it was built"))
    with pytest.raises(ExecutorFailed, match=words):
        MachineBuilder().build(tmp_path / "new", {**_parts(tmp_path, *parts), firmware: "/f"}, lambda _: None)


def test_a_build_says_for_which_machines_its_parts_are_not(tmp_path: Path) -> None:
    def unfit(stub: str, release: str, *kinds: Kind) -> list[str]:
        return _unfit(read_recipe(_parts(tmp_path, stub, release)).kernel, kinds)

    assert unfit("252.39", "6.12") == []
    [note] = unfit("257.3", "6.12", Kind.TDX)
    assert note.startswith("warning: not for machines of sev-snp: ")
    assert [note.partition(": On")[0].partition(": Linux")[0] for note in unfit("257.3", "6.1")] == [
        "warning: not for machines of sev-snp",
        "warning: not for machines of tdx",
    ]


def _parts(folder: Path, stub: str, release: str) -> dict[str, str]:
    from tests.unit.executors.test_machine_tdx import image

    made = image(stub_version=stub, kernel=release)
    (folder / "stub").write_bytes(made)
    (folder / "kernel").write_bytes(section(made, ".linux"))
    return {"stub": str(folder / "stub"), "kernel": str(folder / "kernel"), "modules": str(folder)}


# --- the relay --------------------------------------------------------------------------------------------------------


def test_the_relay_carries_both_ways_and_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                got = b""
                while part := connection.recv(4096):
                    got += part
                connection.sendall(b"answer to " + got)

        threading.Thread(target=serve, daemon=True).start()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            command = [sys.executable, "-I", "-S", str(qemu._RELAY), "127.0.0.1", str(port)]
            with subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=theirs.fileno()
            ) as relay:
                theirs.close()
                ours.settimeout(30)
                ours.sendall(b"a question")
                ours.shutdown(socket.SHUT_WR)
                answer = b""
                while part := ours.recv(4096):
                    answer += part
                assert answer == b"answer to a question"
                assert relay.wait(30) == 0


def test_the_relay_says_nothing_of_its_own() -> None:
    command = [sys.executable, "-I", "-S", str(qemu._RELAY), "127.0.0.1", "1"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 1)


def test_a_build_says_what_other_kinds_of_machines_report_or_why_not(tmp_path: Path) -> None:
    from tests.unit.executors import test_machine_tdx as tdx

    image = machine(tmp_path / "machine")
    tdx.tdx_image(image)
    (image / "firmware").write_bytes(tdx.tdvf())
    notes = _reported(2, image, Kind.TDX, image / "firmware")
    assert any(note.startswith("tdx, firmware: mrtd=") for note in notes)
    assert any("rtmr0 is missing" in note for note in notes)
    assert not any("measurement for contracts" in note for note in notes)
    [note] = _reported(2, image, Kind.SEV_SNP, image / "firmware")
    assert note.startswith("sev-snp: not computed")
