"""A hub with an engine that does what the test says, over loopback."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from paddock.crypto.dsse import Envelope
from paddock.crypto.signing import SigningKey
from paddock.engines import OnRunEvent, Placement
from paddock.errors import EngineBusy, RunCancelled
from paddock.executors import Launch
from paddock.hub.app import create_hub
from paddock.hub.hub import HubConfig
from paddock.service.serve import BackgroundServer, Served
from paddock.testing.contracts import Participant, proposal


class StandInEngine:
    """Places nothing; the test gives the events."""

    def __init__(self) -> None:
        self.launches: dict[str, Launch] = {}
        self.cancelled: list[str] = []
        self.busy = False
        self.tell: OnRunEvent = lambda run, event: None

    def submit(self, launch: Launch) -> None:
        if self.busy:
            raise EngineBusy
        self.launches[launch.run] = launch

    def cancel(self, run: str) -> None:
        self.cancelled.append(run)
        self.tell(run, {"event": "failed", "error": RunCancelled().as_dict()})

    def status(self, run: str) -> Placement:
        return Placement.UNKNOWN

    def shutdown(self) -> None:
        pass


class World:
    """A hub, two parties whose records it has, and one that it does not know."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = StandInEngine()
        self.shift = timedelta()
        self.key = SigningKey.generate()
        self.config = HubConfig(
            database=f"sqlite:///{folder / 'hub.db'}",
            store=f"folder:{folder / 'blobs'}",
            ledger_key=self.key,
            origin="hub.test/ledger",
            engine=self._make_engine,
            simulated=True,
            max_blob_bytes=1 << 20,
            clock=lambda: datetime.now(UTC) + self.shift,
        )
        self.north = Participant.generate("north")
        self.south = Participant.generate("south")
        self.stranger = Participant.generate("stranger")
        self.http = httpx.Client()

    def _make_engine(self, on_event: OnRunEvent) -> StandInEngine:
        self.engine.tell = on_event
        return self.engine

    def server(self) -> BackgroundServer:
        return BackgroundServer([Served("hub", create_hub(self.config), "127.0.0.1", 0)])

    def connect(self, server: BackgroundServer) -> None:
        self.http.close()
        self.http = httpx.Client(base_url=server.urls["hub"], trust_env=False, timeout=40)

    def post(self, path: str, envelope: Envelope) -> httpx.Response:
        return self.http.post(path, content=envelope.to_json())

    def get(self, path: str, **params: str | float) -> Any:
        answer = self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def publish(self) -> None:
        for each in (self.north, self.south):
            assert self.post("/v1/parties", each.record()).status_code == 201

    def proposed(self, **changes: object) -> tuple[str, Envelope]:
        """A contract that north proposed and signed."""
        envelope = self.north.sign(proposal([self.north, self.south], changes))
        answer = self.post("/v1/contracts", envelope)
        assert answer.status_code == 201, answer.text
        assert answer.json()["state"] == "proposed"
        return answer.json()["contract"], envelope

    def active(self, **changes: object) -> str:
        """A contract that both signed."""
        contract, envelope = self.proposed(**changes)
        answer = self.post(f"/v1/contracts/{contract}/signatures", self.south.sign(envelope))
        assert (answer.status_code, answer.json()["state"]) == (201, "active"), answer.text
        return contract

    def run(self, contract: str) -> str:
        """A run that south asked for."""
        answer = self.post("/v1/runs", self.south.request("run.request", {"contract": contract}))
        assert answer.status_code == 201, answer.text
        return str(answer.json()["run"])

    def receipt(self, contract: str, run: str) -> dict[str, Any]:
        """A receipt event as the hub takes it."""
        payload = b'{"predicate":{"contract_id":"%s","run":"%s"}}' % (contract.encode(), run.encode())
        key = SigningKey.generate()
        return {
            "event": "receipt",
            "envelope": Envelope.sign("application/vnd.in-toto+json", payload, key, "x").to_dict(),
        }


def refused(answer: httpx.Response, code: str, status: int) -> None:
    """The answer is this error, and says what to do."""
    assert (answer.json().get("code"), answer.status_code) == (code, status), answer.text
    assert answer.json()["action"]
