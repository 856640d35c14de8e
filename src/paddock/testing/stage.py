"""A stage for tests of whole runs: two parties with real homes, keepers, hub, engine, simulator, on loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from paddock.attest import NO_ATTESTER
from paddock.cli.identity_commands import create_home
from paddock.cli.policy_commands import allow_simulator, keeper_home
from paddock.cli.services import hub_service, local_engine
from paddock.cli.serving import hub_keys, serve_hub, serve_keeper
from paddock.contract.asset import AssetKind
from paddock.contract.draft import DEFAULT_MEMORY_BYTES, DEFAULT_SCRATCH_BYTES
from paddock.contract.signing import Proposal
from paddock.crypto.moment import write_moment
from paddock.evidence.measurement import measure_runtime, runtime_stamp
from paddock.party.follow import Followed, follow
from paddock.party.party import Party
from paddock.service.serve import BackgroundServer

NAMES = ("north", "modelco")
MARKER = "31.415926535897"
_DRAFT = """\
title = "Two parties"
level = "{level}"
expires = {expires}
runs = {runs}
parties = ["north", "modelco"]
limits.lease_seconds = {lease_seconds}
limits.attempts = {attempts}
limits.checkpoint_seconds = {checkpoint_seconds}
limits.memory_bytes = {memory_bytes}
limits.scratch_bytes = {scratch_bytes}
environment.simulated = {simulated}
environment.measurements = {measurements}
inputs.records.asset = "north/records"
inputs.records.view = "{view}"
inputs.net.asset = "modelco/{program}"
outputs.weights = {{ from = "training.weights", to = ["modelco"] }}
outputs.curve = {{ from = "training.curve", to = ["modelco", "north"] }}

[[steps]]
name = "training"
kind = "train"
inputs = {{ program = ["net"], data = ["records"] }}

[steps.parameters]
seed = 1
epochs = {epochs}
batch_size = 8
loss = {{ kind = "cross_entropy" }}
optimizer = {{ kind = "adam", learning_rate = 0.05 }}
metrics = ["accuracy"]
mapping.x = {{ columns = {columns}, dtype = "float32", normalise = "standard" }}
mapping.label = {{ column = "sick", dtype = "int64" }}
"""


class Stage:
    """Two parties, served while the block lasts.

    Args:
        folder: an empty folder.
        program: folder with `program.json` and `weights.safetensors` of a network `x: float32[-1, 2]` to two classes.
        secure: whether hub and keepers are reached over attested TLS; the keepers show evidence of the simulator.
        attester: address of what attests runs, in place of a simulator.
        trust: the keepers' trust policy then.
        store: address of another store than the hub's folder.
        executor: what starts runs; one that attests by itself has neither `attester` nor simulator.
        executor_settings: the operator's settings of it.
    """

    def __init__(
        self,
        folder: Path,
        program: Path,
        *,
        secure: bool = False,
        attester: str = NO_ATTESTER,
        trust: str = "",
        store: str | None = None,
        executor: str = "process",
        executor_settings: Mapping[str, str] | None = None,
    ) -> None:
        self._store = store
        self._executor = executor
        self._executor_settings = executor_settings or {}
        self.folder = folder
        self._scheme = "https" if secure else "http"
        self._program = program
        self._attester = attester
        self._trust = trust
        self._stack = ExitStack()
        self._keepers: dict[str, ExitStack] = {}
        self.parties: dict[str, Party] = {}
        self._stamp = self._measured = ""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def north(self) -> Party:
        """Owns records."""
        return self.parties["north"]

    @property
    def modelco(self) -> Party:
        """Owns a network."""
        return self.parties["modelco"]

    def stop_keeper(self, name: str) -> None:
        """Take a party's keeper off the network."""
        self._keepers[name].close()

    def start_keeper(self, name: str) -> None:
        """Bring a party's keeper (back) to its address."""
        stack = ExitStack()
        home = self.parties[name].home
        shown = self._scheme == "https" and self.engine.simulator is not None
        proof = self.engine.simulator.attester if shown and self.engine.simulator else NO_ATTESTER
        served = serve_keeper(keeper_home(home), home.keeper, proof)
        url = stack.enter_context(BackgroundServer([served])).urls["keeper"]
        self._keepers[name] = stack
        self.parties[name].close()
        self.parties[name] = Party(home.with_addresses(keeper=url))

    def agree(self, **changes: Any) -> Proposal:
        """A contract that both signed; `changes` go into the draft."""
        proposal = self.propose(**changes)
        return self.north.sign(proposal.id)

    def propose(self, **changes: Any) -> Proposal:
        """A contract that modelco proposed and signed."""
        seconds = changes.pop("seconds", 3600)
        measurement = changes.pop("measurement", None) or self._measurement()  # takes a while: before the time counts
        values: dict[str, Any] = {
            "level": "L5",
            "expires": write_moment(datetime.now(UTC) + timedelta(seconds=seconds)),
            "runs": 10,
            "lease_seconds": 30,
            "attempts": 3,
            "checkpoint_seconds": 1,
            "memory_bytes": DEFAULT_MEMORY_BYTES,
            "scratch_bytes": DEFAULT_SCRATCH_BYTES,
            "view": "auto",
            "simulated": "true",
            "measurements": '["this"]',
            "program": "net",
            "epochs": 2,
            "columns": '["height", "weight"]',
            **changes,
        }
        return self.modelco.propose(self.modelco.draft(_DRAFT.format(**values), measurement=measurement))

    def _measurement(self) -> str:
        # Whoever edits the runtime while tests run measures another one.
        stamp = runtime_stamp()
        if stamp != self._stamp:
            self._stamp, self._measured = stamp, measure_runtime().digest
        return self._measured

    def run(self, proposal: Proposal, by: str = "modelco") -> Followed:
        """Ask for a run and follow it to its end."""
        party = self.parties[by]
        return self.follow(party.request_run(proposal.id), by)

    def follow(self, run: str, by: str = "modelco") -> Followed:
        """Follow a run to its end."""
        seen: Followed | None = None
        for followed, _ in follow(self.parties[by], run):
            seen = followed
        if seen is None:
            raise RuntimeError("a run that never ended")
        return seen

    def wait_for_phase(self, run: str, phase: str, seconds: float = 60.0) -> None:
        """Return once the run has reached a phase."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            reached = {event.get("phase") for event in self.modelco.hub.events(run, 0, 0)["events"]}
            if phase in reached:
                return
            time.sleep(0.05)
        raise RuntimeError(f"the run did not reach '{phase}'")

    def seal_program(self, folder: Path, name: str) -> None:
        """Seal another program for modelco."""
        self.modelco.seal(folder, name, AssetKind.PROGRAM)

    def _close_party(self, name: str) -> None:
        self.parties[name].close()

    def _start(self) -> None:
        operator = self.folder / "operator"
        self.engine = self._stack.enter_context(
            local_engine(
                operator,
                simulate=self._attester == NO_ATTESTER and not self._trust,
                parallel=1,
                executor=self._executor,
                executor_settings=self._executor_settings,
                attester=self._attester,
            )
        )
        anywhere = f"{self._scheme}://127.0.0.1:0"
        here, gateway = anywhere, None
        if self._store is not None or self.engine.isolated:  # enclaves are told the hub's address before it listens
            here = f"{self._scheme}://127.0.0.1:{_free_port()}"
            gateway = here if self._scheme == "http" else f"{here}#{hub_keys(operator).public().fingerprint()}"
        self.hub_app = hub_service(operator, self.engine, store=self._store, gateway=gateway)
        hub = serve_hub(operator, self.hub_app, here)
        url = self._stack.enter_context(BackgroundServer([hub])).urls["hub"]
        if hub.tls is not None:
            url = f"{url}#{hub_keys(operator).public().fingerprint()}"
        for name in NAMES:
            home = create_home(name, self.folder / name, hub=url, keeper=anywhere)
            self.parties[name] = Party(home)
            self.start_keeper(name)
            self._stack.callback(self.stop_keeper, name)
            self._stack.callback(self._close_party, name)
            if self.engine.simulator is not None:
                allow_simulator(keeper_home(home), self.engine.simulator.key)
            else:
                keeper_home(home).trust_file().write_text(self._trust, encoding="utf-8")
        _introduce(self.parties)
        records = self.folder / "records"
        records.mkdir()
        (records / "patients.csv").write_text(table(40), encoding="utf-8")
        self.north.seal(records, "records", AssetKind.DATASET)
        self.seal_program(self._program, "net")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def table(rows: int) -> str:
    """Records with a marker that must never be found outside their owner's home."""
    lines = ["height,weight,sick", f"1.70,{MARKER},0"]
    lines += [f"1.{60 + n % 30},{60 + (n * 37) % 60},{int((n * 37) % 60 > 30)}" for n in range(rows - 1)]
    return "\n".join(lines) + "\n"


def _introduce(parties: Mapping[str, Party]) -> None:
    for party in parties.values():
        party.publish()
    for name, party in parties.items():
        for other, peer in parties.items():
            if other != name:
                party.add_peer(other, peer.home.fingerprint)
