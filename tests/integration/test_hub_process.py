"""A hub in a process of its own, with the local engine and real processes as enclaves; killed and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from paddock.contract.signing import verify_contract
from paddock.crypto.digest import b64, unb64
from paddock.crypto.dsse import Envelope
from paddock.errors import NotFound, ServiceUnreachable
from paddock.ledger import accept_newer, read_checkpoint, read_note_key
from paddock.service.client import ServiceClient
from paddock.testing.contracts import Participant, proposal

ENCLAVE = r"""
import base64, hashlib, json, os, sys, time
launch = json.loads(sys.stdin.readline())
def say(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)
say("phase", phase="booted", at="2027-01-01T00:00:00Z", detail={"pid": os.getpid()})
while os.path.exists(sys.argv[1]):
    time.sleep(0.02)
contract = "sha256:" + hashlib.sha256(base64.b64decode(launch["contract"]["payload"])).hexdigest()
statement = json.dumps({"predicate": {"contract_id": contract, "run": launch["run"]}}).encode()
row = {"keyid": "x", "sig": base64.b64encode(bytes(64)).decode()}
say("receipt", envelope={"payload": base64.b64encode(statement).decode(),
    "payloadType": "application/vnd.in-toto+json", "signatures": [row]})
"""
HUB = r"""
import sys
from pathlib import Path
from paddock.engines.local import LocalEngine
from paddock.executors.process import ProcessExecutor
from paddock.hub.app import create_hub
from paddock.hub.hub import HubConfig, load_ledger_key
from paddock.service.serve import Served, serve
folder, port = Path(sys.argv[1]), int(sys.argv[2])
command = (sys.executable, "-I", str(folder / "enclave.py"), str(folder / "hold"))
executor = ProcessExecutor(attester="none", program=command)
config = HubConfig(
    database=f"sqlite:///{folder / 'hub.db'}", store=f"folder:{folder / 'blobs'}",
    ledger_key=load_ledger_key(folder / "ledger.key"), origin="hub.test/ledger",
    engine=lambda on_event: LocalEngine(executor, on_event=on_event), simulated=True)
serve([Served("hub", create_hub(config), "127.0.0.1", port)], ready=lambda urls: print(urls["hub"], flush=True))
print("stopped", flush=True)
"""


class HubProcess:
    def __init__(self, folder: Path, port: int = 0) -> None:
        command = [sys.executable, "-c", HUB, str(folder), str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url, "the hub did not start"
        self.client = ServiceClient("hub", self.url)

    def stop(self, number: signal.Signals) -> str:
        self.client.close()
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=30)
        return output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "enclave.py").write_text(ENCLAVE, encoding="utf-8")
    return tmp_path


@pytest.fixture
def hub(folder: Path) -> Iterator[HubProcess]:
    started = HubProcess(folder)
    yield started
    if started.process.poll() is None:
        started.stop(signal.SIGTERM)


def _wait(client: ServiceClient, run: str, *states: str) -> str:
    for _ in range(60):
        shown = client.get(f"/v1/runs/{run}")
        if shown["state"] in states:
            return str(shown["state"])
        client.get(f"/v1/runs/{run}/events", {"after": 0, "wait": 1}, wait_seconds=1)
        time.sleep(0.05)
    pytest.fail(f"the run stayed {shown['state']}")


def _contract(client: ServiceClient, north: Participant, south: Participant) -> str:
    for each in (north, south):
        client.post("/v1/parties", each.record().to_dict())
    envelope = north.sign(proposal([north, south], {"runs": 1}))
    contract = str(client.post("/v1/contracts", envelope.to_dict())["contract"])
    client.post(f"/v1/contracts/{contract}/signatures", south.sign(envelope).to_dict())
    return contract


def _alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_killed_hub_loses_nothing_and_the_run_can_be_asked_for_again(hub: HubProcess, folder: Path) -> None:
    north, south = Participant.generate("north"), Participant.generate("south")
    contract = _contract(hub.client, north, south)
    (folder / "hold").touch()
    run = str(hub.client.post("/v1/runs", south.request("run.request", {"contract": contract}).to_dict())["run"])
    events = hub.client.get(f"/v1/runs/{run}/events", {"after": 0, "wait": 20}, wait_seconds=20)["events"]
    enclave = events[0]["detail"]["pid"]
    assert _wait(hub.client, run, "running") == "running"
    _, key = read_note_key(str(hub.client.get("/v1/info")["ledger_key"]))
    note = str(hub.client.get("/v1/ledger/checkpoint")["checkpoint"])
    seen = read_checkpoint(note, key, origin="hub.test/ledger")
    hub.stop(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while _alive(enclave) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _alive(enclave)

    (folder / "hold").unlink()
    again = HubProcess(folder)
    try:
        shown = again.client.get(f"/v1/runs/{run}")
        assert (shown["state"], shown["error"]["code"]) == ("failed", "E-RUN-24")
        assert again.client.get(f"/v1/contracts/{contract}")["state"] == "failed"
        held = Envelope.from_dict(again.client.get(f"/v1/contracts/{contract}")["envelope"])
        assert verify_contract(held).id == contract
        request = south.request("run.request", {"contract": contract})
        second = str(again.client.post("/v1/runs", request.to_dict())["run"])
        assert _wait(again.client, second, "succeeded") == "succeeded"
        assert again.client.get(f"/v1/contracts/{contract}")["state"] == "fulfilled"
        assert "envelope" in again.client.get(f"/v1/runs/{second}/receipt")
        note = str(again.client.get("/v1/ledger/checkpoint")["checkpoint"])
        newer = read_checkpoint(note, key, origin="hub.test/ledger")
        sizes = {"first": seen.size, "second": newer.size}
        proof = again.client.get("/v1/ledger/consistency", sizes)
        accept_newer(seen, newer, [unb64(each) for each in proof["path"]])
        assert newer.size > seen.size
    finally:
        again.stop(signal.SIGTERM)


def test_a_killed_enclave_is_a_failed_run_with_its_reason(hub: HubProcess, folder: Path) -> None:
    north, south = Participant.generate("north"), Participant.generate("south")
    contract = _contract(hub.client, north, south)
    (folder / "hold").touch()
    run = str(hub.client.post("/v1/runs", north.request("run.request", {"contract": contract}).to_dict())["run"])
    events = hub.client.get(f"/v1/runs/{run}/events", {"after": 0, "wait": 20}, wait_seconds=20)["events"]
    os.kill(events[0]["detail"]["pid"], signal.SIGKILL)
    assert _wait(hub.client, run, "failed") == "failed"
    error = hub.client.get(f"/v1/runs/{run}")["error"]
    assert (error["code"], "SIGKILL" in error["detail"]) == ("E-RUN-21", True)
    with pytest.raises(NotFound):
        hub.client.get(f"/v1/runs/{run}/receipt")


def test_a_hub_that_is_asked_to_stop_ends_runs_and_answers_who_waits(hub: HubProcess, folder: Path) -> None:
    north, south = Participant.generate("north"), Participant.generate("south")
    contract = _contract(hub.client, north, south)
    (folder / "hold").touch()
    run = str(hub.client.post("/v1/runs", north.request("run.request", {"contract": contract}).to_dict())["run"])
    events = hub.client.get(f"/v1/runs/{run}/events", {"after": 0, "wait": 20}, wait_seconds=20)["events"]
    enclave = events[0]["detail"]["pid"]
    _wait(hub.client, run, "running")
    answers: list[object] = []
    with ServiceClient("hub", hub.url) as waiting:
        path, ask = f"/v1/runs/{run}/events", {"after": 1, "wait": 25}
        waiter = threading.Thread(target=lambda: answers.append(waiting.get(path, ask, wait_seconds=25)))
        waiter.start()
        time.sleep(0.3)  # by now it waits; an answer that came at once would have had to hold an event
        assert hub.stop(signal.SIGTERM).strip() == "stopped"
        waiter.join()
    assert answers == [{"events": [], "state": "running"}]
    assert hub.process.returncode == 0
    assert not _alive(enclave)
    with ServiceClient("hub", hub.url) as client, pytest.raises(ServiceUnreachable):
        client.get("/v1/health")
    (folder / "hold").unlink()
    again = HubProcess(folder)
    try:
        assert again.client.get(f"/v1/runs/{run}")["error"]["code"] == "E-RUN-25"
    finally:
        again.stop(signal.SIGTERM)


def _drafts(folder: Path) -> list[str]:
    """Files that some process writes below a folder and that have no name (yet), or a draft's."""
    found = [str(path) for path in folder.rglob(".draft-*")]
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            target = str(link.readlink())
            if target.startswith(f"{folder}/") and target.endswith("(deleted)"):
                found.append(target)
    return found


def test_an_upload_that_is_cut_off_leaves_nothing(hub: HubProcess, folder: Path) -> None:
    north = Participant.generate("north")
    hub.client.post("/v1/parties", north.record().to_dict())
    header = b64(north.request("store.put", {"name": "volume"}).to_json())
    host, port = hub.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = (
            f"PUT /v1/store/volume HTTP/1.1\r\nHost: x\r\nPaddock-Request: {header}\r\nContent-Length: 1000000\r\n\r\n"
        )
        connection.sendall(head.encode() + b"x" * 300_000)
        deadline = time.monotonic() + 10
        while not _drafts(folder / "blobs") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert _drafts(folder / "blobs")
    while _drafts(folder / "blobs") and time.monotonic() < deadline + 10:
        time.sleep(0.02)
    assert not _drafts(folder / "blobs")
    assert not [p for p in (folder / "blobs").rglob("*") if p.is_file()]
    with contextlib.suppress(ServiceUnreachable):
        assert hub.client.get("/v1/health")["status"] == "ok"
