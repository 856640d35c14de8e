"""The attester on a Unix socket, as the simulator answers."""

from __future__ import annotations

import json
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from paddock.attest.unix import UnixAttester
from paddock.errors import AttesterUnavailable
from tests.fixtures.stand_in.socket_attester import AttesterSocket
from tests.fixtures.vendors.intel import IntelMaker

REPORT = bytes(range(64))
SGX = IntelMaker("sgx")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="paddock-") as name:  # a socket's path is short
        yield Path(name)


class Saying(socketserver.StreamRequestHandler):
    said = b""

    def handle(self) -> None:
        self.rfile.readline(4096)
        self.wfile.write(self.said)


def test_it_answers_with_what_stands_behind_it(folder: Path) -> None:
    with AttesterSocket(folder / "attest", SGX.evidence) as address:
        attester = UnixAttester.from_address(address.removeprefix("unix:"))
        assert attester.available()
        assert attester.attest(REPORT) == SGX.evidence(REPORT)
    assert not attester.available()
    with pytest.raises(AttesterUnavailable, match="No such file"):
        attester.attest(REPORT)


def test_an_attester_behind_it_that_refuses_is_no_evidence(folder: Path) -> None:
    def refuses(_data: bytes) -> None:
        raise AttesterUnavailable("busy")

    with AttesterSocket(folder / "attest", refuses) as address:  # type: ignore[arg-type]
        attester = UnixAttester.from_address(address.removeprefix("unix:"))
        with pytest.raises(AttesterUnavailable, match="did not answer with evidence"):
            attester.attest(REPORT)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n",
        b"not JSON\n",
        b"[]\n",
        b"{}\n",
        b'{"evidence": null}\n',
        b'{"evidence": ["type", "!", 2]}\n',
        b'{"evidence": ["type", "QQ", 3]}\n',
        json.dumps({"evidence": ["type", "A" * (3 << 20), 2]}).encode() + b"\n",
        b"[" * 5000 + b"\n",
    ],
)
def test_another_answer_is_refused(folder: Path, answer: bytes) -> None:
    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """The attester hung up on a long answer."""

    handler = type("Handler", (Saying,), {"said": answer})
    with Server(str(folder / "attest"), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            with pytest.raises(AttesterUnavailable, match="did not answer with evidence"):
                UnixAttester(folder / "attest").attest(REPORT)
        finally:
            server.shutdown()


def test_an_address_names_a_socket(folder: Path) -> None:
    with pytest.raises(AttesterUnavailable, match="unix:PATH"):
        UnixAttester.from_address("")
    with pytest.raises(AttesterUnavailable, match="must be absolute"):
        UnixAttester.from_address("attest")
    (folder / "file").touch()
    assert not UnixAttester(folder / "file").available()


def test_report_data_of_another_size_is_a_fault_of_the_caller(folder: Path) -> None:
    with pytest.raises(RuntimeError, match="64 bytes"):
        UnixAttester(folder / "attest").attest(bytes(63))
