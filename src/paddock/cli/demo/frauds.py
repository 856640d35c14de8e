"""Three frauds, each really committed, each refused: a signature left out, a runtime changed, an input swapped."""

from __future__ import annotations

import contextlib
import inspect
import queue
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock.cli.simulator import SimulatorProcess, simulator_key_file
from paddock.crypto.dsse import Envelope
from paddock.errors import PaddockError, Unavailable, from_dict
from paddock.executors.executor import FINAL_EVENTS, Executor, Launch
from paddock.executors.process import ProcessExecutor
from paddock.party.party import Party
from paddock.receipt import VerifiedReceipt
from paddock.seal import read_manifest
from paddock.seal.blobs import payload_name
from paddock.service.client import ServiceClient

_WAIT_SECONDS = 120
_CHANGE = "\n# A line that copies what it sees to the operator would stand here.\n"


@dataclass(frozen=True)
class Refusal:
    """A fraud, and what refused it."""

    fraud: str
    refused_by: str
    error: PaddockError


@dataclass(frozen=True)
class Scene:
    """What a fraudulent operator has to work with: a good contract, a store, an executor."""

    parties: Mapping[str, Party]
    verified: VerifiedReceipt
    store: Path
    executor: Executor
    simulator_folder: Path

    def run(self, envelope: Envelope, executor: Executor | None = None) -> PaddockError:
        """Start an enclave on this contract, past the hub, and return the error that ended it.

        Raises:
            RuntimeError: it was not refused.
        """
        launch = Launch(
            run=secrets.token_hex(16),
            contract=envelope.to_dict(),
            store=f"folder:{self.store.resolve()}",
            keepers={party.home.fingerprint: party.home.keeper for party in self.parties.values()},
        )
        events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        (executor or self.executor).start(launch, events.put)
        while True:
            event = events.get(timeout=_WAIT_SECONDS)
            if event["event"] == "failed":
                return from_dict(event["error"], Unavailable)
            if event["event"] in FINAL_EVENTS:
                raise RuntimeError("a fraud was not refused")


def without_a_signature(scene: Scene) -> Refusal:
    """Run the contract without the clinic's signature."""
    full = scene.verified.contract.envelope
    clinic = scene.parties["clinic"].home.fingerprint
    cut = Envelope(full.payload_type, full.payload, tuple(s for s in full.signatures if s.keyid != clinic))
    by_enclave = scene.run(cut)
    by_keepers = [_ask_keeper(party, cut, scene.verified) for party in scene.parties.values()]
    if {error.code for error in by_keepers} != {by_enclave.code}:
        raise RuntimeError("a keeper refused for another reason")
    who = f"the enclave, and each of the {len(by_keepers)} keepers when asked past it"
    return Refusal("a contract that the clinic did not sign", who, by_enclave)


def with_a_changed_runtime(scene: Scene) -> Refusal:
    """Start a copy of the runtime in which one file was changed; the simulator measures what really runs."""
    with tempfile.TemporaryDirectory(prefix="paddock-changed-") as folder:
        copy = Path(folder) / "paddock"
        shutil.copytree(Path(inspect.getfile(PaddockError)).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
        changed = copy / "enclave" / "run.py"
        changed.write_text(changed.read_text(encoding="utf-8") + _CHANGE, encoding="utf-8")
        key_file = simulator_key_file(scene.simulator_folder)
        with SimulatorProcess(key_file, command=_from(folder, "paddock.testing.simulator")) as simulator:
            executor = ProcessExecutor(attester=simulator.attester, program=_from(folder, "paddock.enclave"))
            error = scene.run(scene.verified.contract.envelope, executor)
    return Refusal("a runtime in which one line was changed", "keepers", error)


def with_a_swapped_input(scene: Scene) -> Refusal:
    """Give the enclave south's ciphertext where north's belongs."""
    with _swapped(scene):
        error = scene.run(scene.verified.contract.envelope)
    return Refusal("a hub that swapped one input's ciphertext for another's", "enclave", error)


def _ask_keeper(party: Party, contract: Envelope, verified: VerifiedReceipt) -> PaddockError:
    body = {"contract": contract.to_dict(), "binding": verified.receipt.binding, "evidence": verified.receipt.evidence}
    try:
        with ServiceClient("keeper", party.home.keeper) as client:
            client.post("/v1/releases", body)
    except PaddockError as error:
        return error
    raise RuntimeError("a fraud was not refused")


@contextmanager
def _swapped(scene: Scene) -> Iterator[None]:
    north = scene.parties["north"]
    inputs = scene.verified.receipt.inputs
    files = [
        scene.store / payload_name(read_manifest(inputs[name], north.store()).volume) for name in ("north", "south")
    ]
    with contextlib.ExitStack() as undo:
        _exchange(*files)
        undo.callback(_exchange, *files)
        yield


def _exchange(one: Path, other: Path) -> None:
    aside = one.with_name(one.name + "-aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def _from(folder: str, module: str) -> tuple[str, ...]:
    code = f"import sys, runpy; sys.path.insert(0, {folder!r}); runpy.run_module({module!r}, run_name='__main__')"
    return (sys.executable, "-I", "-c", code)
