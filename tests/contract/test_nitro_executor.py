"""The executor `nitro` against the suite, with stand-ins of `nitro-cli` and vsock; and what is its own.

The stand-in checks its arguments and starts the guest's end of the passage, so that a launch goes all the way: over the one socket in, as
events over the same one out, and to addresses by the ways that the launch names.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paddock.contract.draft import DEFAULT_MEMORY_BYTES, DEFAULT_SCRATCH_BYTES
from paddock.errors import ContractTooLarge, ExecutorFailed, ExecutorOptionInvalid, ImageInvalid, RunEndedSilently
from paddock.executors import Executor, Launch, load_plugin
from paddock.executors.nitro import NitroBuilder, NitroExecutor
from paddock.executors.nitro.description import FACTS, IMAGE
from paddock.executors.nitro.passage import PARENT
from paddock.executors.supervision import Limits
from paddock.testing.executor_suite import RUN, Behaviour, ExecutorSuite, Recorder
from tests.contract.test_occlum_executor import LIMITS, of
from tests.contract.test_process_executor import PROGRAM
from tests.fixtures.nitro import Nitro
from tests.fixtures.stand_in.nitro_passage import UnixNet

_SMALL = Limits(line_bytes=100_000, events=200, grace_seconds=0.3, log_bytes=1000)
_ASKS = r"""
import json, socket, sys
from urllib.parse import urlsplit
def say(event, **more):
    sys.stdout.write(json.dumps({"event": event, **more}) + "\n"); sys.stdout.flush()
def asked(host, port):
    try:
        with socket.create_connection((host, port), 10) as far:
            far.sendall(b"ping"); far.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: far.recv(100), b"")).decode()
    except OSError as error:
        return type(error).__name__
told = json.loads(sys.stdin.readline())
store = urlsplit(told["store"])
say("phase", phase="asked", detail={"store": asked(store.hostname, store.port), "other": asked("127.0.2.199", store.port)})
say("receipt", envelope={})
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short path: sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="paddock-") as short:
        yield Path(short)


@pytest.fixture
def nitro(folder: Path) -> Nitro:
    return Nitro(folder)


@contextlib.contextmanager
def served() -> Iterator[tuple[int, list[bytes]]]:
    """A server on loopback that answers `pong`; its port, and what it was told."""
    told: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as said:
                    told.append(said.read())
                    connection.sendall(b"pong")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1], told
        listener.shutdown(socket.SHUT_RDWR)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


PORTS = free_port(), free_port()


def launch(run: str = RUN) -> Launch:
    """The suite's launch, with addresses that an enclave can reach."""
    contract = {"payload": "A" * 20_000, "payloadType": "x", "signatures": []}
    store, keeper = (f"http://127.0.0.1:{port}" for port in PORTS)
    return Launch(run, contract, store, {"A" * 64: keeper})


def native(behaviour: str) -> list[str]:
    return [sys.executable, "-I", "-c", PROGRAM, behaviour]


class TestNitroExecutor(ExecutorSuite):
    @pytest.fixture(autouse=True)
    def _instance(self, nitro: Nitro, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nitro = nitro
        self.image = nitro.build()
        monkeypatch.setattr("paddock.testing.executor_suite.launch", launch)

    def executor(self, behaviour: Behaviour) -> Executor:
        self.nitro.become(native(behaviour.value))
        return self.nitro.executor(self.image, _SMALL)

    def test_the_launch_arrives_whole_and_the_receipt_comes_last(self) -> None:
        """As the suite's, but for the addresses: they are those of the enclave's own loopback network."""
        executor, recorder, execution = self._run(Behaviour.ECHO)
        assert recorder.final()["event"] == "receipt"
        told = recorder.events[0]["detail"]
        assert told["run"] == RUN
        assert told["contract"] == launch().contract
        assert told["store"] == f"http://127.0.2.100:{PORTS[0]}"
        assert list(told["keepers"].values()) == [f"http://127.0.2.101:{PORTS[1]}"]
        assert told["attester"] == "nsm"
        self._ended(executor, execution)

    def test_nothing_is_left_of_a_run_and_none_is_started_for_looking_in(self) -> None:
        executor, recorder, execution = self._run(Behaviour.STUBBORN)
        recorder.until(bool)
        assert running(self.nitro)
        executor.stop(execution)
        recorder.final()
        assert not running(self.nitro)
        [started] = [words for words in self.nitro.asked() if words[0] == "run-enclave"]
        assert dict(zip(started[1::2], started[2::2], strict=True)) == {
            "--eif-path": str(self.image / IMAGE),
            "--cpu-count": "2",
            "--memory": "8192",
            "--enclave-name": f"paddock-{RUN}",
        }


def running(nitro: Nitro) -> list[int]:
    """The processes of enclaves that run still."""
    found = []
    for file in (nitro.folder / "enclaves").iterdir():
        number = json.loads(file.read_text(encoding="utf-8"))["ProcessID"]
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{number}/stat").read_text(encoding="utf-8")
            if stat.rpartition(")")[2].split()[0] != "Z":
                found.append(number)
    return found


def test_an_enclave_reaches_what_the_launch_names_and_nothing_else(nitro: Nitro) -> None:
    executor = nitro.executor(nitro.build(), _SMALL)
    nitro.become([sys.executable, "-I", "-c", _ASKS])
    recorder = Recorder()
    with served() as (port, told):
        executor.start(Launch(RUN, {}, f"http://127.0.0.1:{port}/store", {}), recorder)
        assert recorder.final()["event"] == "receipt"
    assert recorder.events[0]["detail"] == {"store": "pong", "other": "ConnectionRefusedError"}
    assert told == [b"ping"]


def test_another_enclave_of_the_instance_is_not_served(nitro: Nitro) -> None:
    """It finds the port, and is turned away before anything is connected to."""
    executor = nitro.executor(nitro.build(), _SMALL)
    nitro.become(native("stubborn"))
    recorder = Recorder()
    with served() as (port, told):
        execution = executor.start(Launch(RUN, {}, f"http://127.0.0.1:{port}", {}), recorder)
        recorder.until(bool)
        [way] = [int(each.name[2:]) for each in nitro.folder.glob("3-*")]
        for cid, answer in ((17, b""), (16, b"pong")):
            with UnixNet(nitro.folder, cid).connect(PARENT, way) as connection:
                heard = b""
                with contextlib.suppress(OSError):  # who is turned away may be told so at any of these
                    connection.sendall(b"ping")
                    connection.shutdown(socket.SHUT_WR)
                    heard = connection.recv(100)
                assert heard == answer
        executor.stop(execution)
        recorder.final()
    assert told == [b"ping"]


def test_a_debug_enclave_is_ended_before_it_gets_a_launch(nitro: Nitro) -> None:
    """Its registers would be zeros, which keepers refuse (A-5: tests/evidence/nitro.py)."""
    executor = nitro.executor(nitro.build(), _SMALL)
    nitro.become(native("echo"), flags="DEBUG_MODE")
    with pytest.raises(ExecutorFailed, match="debug mode"):
        executor.start(launch(), Recorder())
    assert not running(nitro)


@pytest.mark.parametrize(
    "tells", [{"EnclaveCID": 3}, {"EnclaveCID": "16"}, {"EnclaveID": "--all"}, {"EnclaveID": "i-0-encff"}]
)
def test_what_is_told_of_an_enclave_is_read_strictly(nitro: Nitro, tells: dict[str, Any]) -> None:
    executor = nitro.executor(nitro.build(), _SMALL)
    nitro.become(native("echo"), tells=tells)
    with pytest.raises(ExecutorFailed):
        executor.start(launch(), Recorder())
    assert not running(nitro)


def test_an_instance_that_has_no_room_says_so(nitro: Nitro) -> None:
    executor = nitro.executor(nitro.build(), _SMALL)
    nitro.become(native("echo"), fails="run")
    with pytest.raises(ExecutorFailed, match="Insufficient CPUs"):
        executor.start(launch(), Recorder())


def test_an_enclave_that_vanishes_is_the_end_of_its_run(nitro: Nitro) -> None:
    executor = nitro.executor(nitro.build(), _SMALL)
    nitro.become(native("stubborn"))
    recorder = Recorder()
    executor.start(launch(), recorder)
    recorder.until(bool)
    [number] = running(nitro)
    os.killpg(number, signal.SIGKILL)
    assert recorder.final()["error"]["code"] == RunEndedSilently.code


def test_a_host_that_vanishes_is_the_end_of_its_enclave(nitro: Nitro) -> None:
    """Also where nobody is left to end it: the guest sees the end of its connection."""
    executor = nitro.executor(nitro.build(), Limits(grace_seconds=0.3))
    nitro.become(native("stubborn"))
    recorder = Recorder()
    executor.start(launch(), recorder)
    recorder.until(bool)
    (nitro.folder / "nitro-cli").unlink()
    executor.stop(RUN)
    assert recorder.final()["event"] == "failed"
    for _ in range(200):
        if not running(nitro):
            return
        threading.Event().wait(0.05)
    pytest.fail("the enclave runs on")


def test_it_is_found_by_name_and_so_is_what_builds_it() -> None:
    assert load_plugin("paddock.executors", "nitro") is NitroExecutor
    assert load_plugin("paddock.builders", "nitro") is NitroBuilder
    described = NitroBuilder().describe({"memory": "16384"})
    assert set(described) == {"allocator.yaml", "initial.sh", "start.sh"}
    assert "memory_mib: 16384" in described["allocator.yaml"]
    for wrong in ({"debug-mode": "yes"}, {"cores": "0"}, {"memory": "4GiB"}):
        with pytest.raises(ExecutorOptionInvalid):
            NitroBuilder().describe(wrong)


def test_no_attester_of_the_host_reaches_into_an_enclave() -> None:
    with pytest.raises(ExecutorOptionInvalid, match="attests itself"):
        NitroExecutor(attester="unix:/run/simulator", settings={"image": "image"})


def test_what_is_missing_is_said_beforehand(nitro: Nitro) -> None:
    image = nitro.build()
    nitro.executor(image).prepare()
    for changed, says in (
        ({"memory": str(1 << 22)}, None),
        ({"nitro-cli": str(nitro.folder / "none")}, "AWS Nitro Enclaves CLI"),
        ({"device": str(nitro.folder / "none")}, "enclaves enabled"),
    ):
        if says is None:
            nitro.executor(image, settings=changed).prepare()
            continue
        with pytest.raises(ExecutorFailed, match=says):
            nitro.executor(image, settings=changed).prepare()
    with (image / IMAGE).open("r+b") as file:
        file.truncate(200 << 20)  # sparse
    with pytest.raises(ExecutorFailed, match="not the one that was built"):
        nitro.executor(image).prepare()
    note = json.loads((image / FACTS).read_text(encoding="utf-8"))
    (image / FACTS).write_text(json.dumps({**note, "size": 200 << 20}), encoding="utf-8")
    with pytest.raises(ExecutorFailed, match="at least 800 MiB"):
        nitro.executor(image, settings={"memory": "799"}).prepare()
    (image / FACTS).unlink()
    with pytest.raises(ImageInvalid):
        nitro.executor(image).prepare()


def test_a_contract_that_allows_more_than_fits_starts_nothing(nitro: Nitro) -> None:
    """What a draft allows that says nothing of it fits into an enclave of which nothing is said."""
    executor = nitro.executor(nitro.build(), _SMALL)
    usual = {**LIMITS, "memory_bytes": DEFAULT_MEMORY_BYTES, "scratch_bytes": DEFAULT_SCRATCH_BYTES}
    for limits in ({"memory_bytes": 6 << 30}, {"scratch_bytes": 3 << 30}, {"processes": 50_000}):
        with pytest.raises(ContractTooLarge, match="larger 'memory'"):
            executor.start(replace(launch(), contract=of({**usual, **limits}).contract), Recorder())
    assert not (nitro.folder / "asked").exists()
    nitro.become(native("echo"))
    recorder = Recorder()
    executor.start(replace(launch(), contract=of(usual).contract), recorder)
    assert recorder.final()["event"] == "receipt"


def test_a_measurement_is_that_of_the_image_as_it_lies_there(nitro: Nitro) -> None:
    image = nitro.build()
    noted = json.loads((image / FACTS).read_text(encoding="utf-8"))
    assert nitro.executor(image).measure() == noted["measurement"]
    assert nitro.executor(image).registers().computed == noted["registers"]
    other = nitro.build(compression="none")
    (image / IMAGE).write_bytes((other / IMAGE).read_bytes())
    with pytest.raises(ExecutorFailed, match="changed after"):
        nitro.executor(image).measure()


def test_a_store_in_a_folder_is_refused_before_anything_starts(nitro: Nitro) -> None:
    executor = nitro.executor(nitro.build())
    with pytest.raises(ExecutorFailed, match="through the hub"):
        executor.start(Launch(RUN, {}, "folder:/store", {}), Recorder())
    assert not (nitro.folder / "asked").exists()
