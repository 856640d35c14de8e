"""The executor `confidential-vm` against the suite, where systemd serves the machine: with a stand-in that starts a program for each connection."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from paddock.errors import ExecutorFailed, ExecutorOptionInvalid, RunEndedSilently
from paddock.executors import Executor, Launch
from paddock.executors.machine import MachineExecutor, served
from paddock.executors.supervision import Limits
from paddock.testing.executor_suite import RUN, Behaviour, ExecutorSuite, Recorder
from tests.contract.test_machine_executor import suite_launch
from tests.contract.test_process_executor import PROGRAM

_SMALL = Limits(line_bytes=100_000, events=200, grace_seconds=0.3, log_bytes=1000)


class Served:
    """What systemd does with `paddock-enclave.socket`: a program for each connection, which is its standard input and output."""

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour
        self.started: list[subprocess.Popen[bytes]] = []
        self.watched: list[socket.socket] | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp:127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                if self.watched is not None:
                    self.watched.append(connection.dup())
                with connection:
                    command = [sys.executable, "-I", "-S", "-c", PROGRAM, self.behaviour]
                    self.started.append(
                        subprocess.Popen(
                            command, stdin=connection.fileno(), stdout=connection.fileno(), stderr=subprocess.DEVNULL
                        )
                    )

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        for each in self.started:
            each.kill()
            each.wait(10)
        for watched in self.watched or ():
            watched.close()


@pytest.fixture
def servers() -> Iterator[list[Served]]:
    made: list[Served] = []
    yield made
    for each in made:
        each.close()


def executor(address: str, **more: str) -> MachineExecutor:
    return MachineExecutor(attester="none", settings={"kind": "served", "address": address, **more}, limits=_SMALL)


class TestServedMachine(ExecutorSuite):
    @pytest.fixture(autouse=True)
    def _server(self, servers: list[Served], monkeypatch: pytest.MonkeyPatch) -> None:
        self.servers = servers
        # What the suite launches has the store in a folder, which another machine does not see.
        monkeypatch.setattr("paddock.testing.executor_suite.launch", suite_launch)

    def executor(self, behaviour: Behaviour) -> Executor:
        self.servers.append(Served(behaviour.value))
        return executor(self.servers[-1].address)

    def test_the_launch_arrives_whole_and_the_receipt_comes_last(self) -> None:
        """As the suite's; addresses are told as they are, since the machine has a network of its own."""
        made, recorder, execution = self._run(Behaviour.ECHO)
        assert recorder.final()["event"] == "receipt"
        told, sent = recorder.events[0]["detail"], suite_launch()
        assert (told["run"], told["contract"], told["store"], told["keepers"]) == (
            sent.run,
            sent.contract,
            sent.store,
            sent.keepers,
        )
        assert told["attester"] == "tsm"
        self._ended(made, execution)

    @pytest.mark.parametrize("behaviour", [Behaviour.SILENT, Behaviour.KILLED])
    def test_an_end_without_a_word_is_a_failure_with_a_code(self, behaviour: Behaviour) -> None:
        """As the suite's; how the other machine's program ended does not reach here."""
        made, recorder, execution = self._run(behaviour)
        assert recorder.final()["error"]["code"] == RunEndedSilently.code
        self._ended(made, execution)

    def test_the_connection_ends_with_the_run(self) -> None:
        made, recorder = self.executor(Behaviour.STUBBORN), Recorder()
        watched = self.servers[-1].watched = []
        execution = made.start(suite_launch(), recorder)
        recorder.until(bool)
        made.stop(execution)
        recorder.final()
        [connection] = watched
        poll = select.poll()
        poll.register(connection, select.POLLRDHUP)
        assert poll.poll(10_000)  # its peer is gone, whatever the program does


def test_a_machine_that_does_not_answer_is_said_beforehand_and_in_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp:127.0.0.1:{taken.getsockname()[1]}"
    made, recorder = executor(address), Recorder()
    with pytest.raises(ExecutorFailed, match="No machine answers"):
        made.prepare()
    made.start(suite_launch(), recorder)
    error = recorder.final()["error"]
    assert (error["code"], error["detail"]) == (ExecutorFailed.code, f"No machine answers at {address}.")


def test_a_machine_that_takes_a_launch_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "SILENCE_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # takes connections, and nobody is there
        recorder = Recorder()
        executor(f"tcp:127.0.0.1:{listener.getsockname()[1]}").start(suite_launch(), recorder)
        assert "says nothing" in recorder.final()["error"]["detail"]


def test_only_addresses_reach_another_machine() -> None:
    made = executor("vsock:3:5005")
    for launch in (
        Launch(RUN, {}, "folder:/store", {}),
        Launch(RUN, {}, "http:///x", {}),
        Launch(RUN, {}, "s3://bucket:1/x", {}),
        Launch(RUN, {}, "http://user@hub", {}),
        Launch(RUN, {}, "http://hub", {"A" * 64: "unix:/run/keeper"}),
    ):
        with pytest.raises(ExecutorFailed, match="through the hub"):
            made.start(launch, Recorder())


def test_what_a_served_machine_reports_only_its_evidence_says() -> None:
    with pytest.raises(ExecutorFailed, match="evidence"):
        executor("vsock:3:5005").measure()


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("vsock:3:5005", ("vsock", "3", 5005)),
        ("tcp:vm.example:5005", ("tcp", "vm.example", 5005)),
        ("tcp:10.0.0.7:1", ("tcp", "10.0.0.7", 1)),
        ("tcp:[fe80::1]:65535", ("tcp", "fe80::1", 65535)),
    ],
)
def test_addresses_are_read(text: str, read: tuple[str, str, int]) -> None:
    address = served.read_address(text)
    assert (address.family, address.host, address.port) == read
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", "vsock:3", "vsock:0:5005", "vsock:4294967295:1", "vsock:3:4294967295", "vsock:x:1", "tcp:host:0", "tcp:host:65536",
     "tcp::5005", "tcp:-x:1", "tcp:a b:1", "tcp:[host]:1", "unix:/run/x", "tcp:host:5005 ", "vsock:٣:5005"],
)  # fmt: skip
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(ExecutorOptionInvalid):
        executor(text)


def test_settings_of_machines_that_are_started_are_none_of_served_ones(tmp_path: Path) -> None:
    for name, value in (("machine", str(tmp_path)), ("cores", "4"), ("tpm", str(tmp_path)), ("accelerator", "kvm")):
        with pytest.raises(ExecutorOptionInvalid, match=name):
            executor("vsock:3:5005", **{name: value})
    with pytest.raises(ExecutorOptionInvalid, match="address"):
        MachineExecutor(attester="none", settings={"kind": "served"})
    with pytest.raises(ExecutorOptionInvalid, match="address"):
        MachineExecutor(attester="none", settings={"kind": "plain", "machine": str(tmp_path), "address": "vsock:3:1"})
    assert executor("vsock:3:5005", attester="sev-guest").isolated
