"""What hosts, stores, hubs, parties and developers try against two parties, their keepers and a signed contract."""

from __future__ import annotations

import inspect
import json
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from paddock.attest import collect
from paddock.cli.demo.cast import Cast
from paddock.cli.simulator import SimulatorProcess, simulator_key_file
from paddock.contract.asset import AssetKind
from paddock.crypto.dsse import Envelope
from paddock.crypto.identity import PrivateKeys
from paddock.crypto.moment import write_moment
from paddock.errors import PaddockError
from paddock.evidence.binding import Binding, Challenge
from paddock.evidence.claims import EvidenceSet
from paddock.evidence.measurement import measure_runtime
from paddock.party.party import Party
from paddock.program import STANDARD_LIMITS, read_program
from paddock.seal.blobs import manifest_name, payload_name
from paddock.service.client import ServiceClient

NAMES = ("north", "modelco")
NOTHING = "NOTHING"
"""In the place of an error's code: what the attacker looked for is not there."""
_MARKER = "31.415926535897"
_CHANGE = "\n# A line that copies what it sees to the operator would stand here.\n"
_DRAFT = """\
title = "A hospital's records and a developer's network"
level = "L5"
expires = {expires}
runs = 2
parties = ["north", "modelco"]
environment.simulated = true
inputs.records.asset = "north/records"
inputs.network.asset = "modelco/network"
outputs.weights = {{ from = "training.weights", to = ["modelco"] }}

[[steps]]
name = "training"
kind = "train"
inputs = {{ program = ["network"], data = ["records"] }}

[steps.parameters]
seed = 1
epochs = 1
batch_size = 8
loss = {{ kind = "cross_entropy" }}
optimizer = {{ kind = "adam", learning_rate = 0.01 }}
mapping.x = {{ columns = ["height", "weight"], dtype = "float32", normalise = "standard" }}
mapping.label = {{ column = "sick", dtype = "int64" }}
"""
_PROGRAM = {
    "base_code": {"magic": "pir", "trainable": True, "version": 4},
    "program": {
        "regions": [
            {
                "#": "region_0",
                "blocks": [
                    {"#": "block_0", "args": [], "ops": [{"#": "1.py_func", "A": [], "I": [], "O": [], "OA": []}]}
                ],
            }
        ]
    },
}
"""A program of one operation, which calls a function of Python in PaddlePaddle's own loader."""


@dataclass(frozen=True)
class Refused:
    """How an attack ended: what the same try gets where the defence is missing, if that can be shown, and the refusal."""

    without: str
    code: str
    said: str


@dataclass(frozen=True)
class Victims:
    """Two parties with keepers, a contract that both signed, and an operator's store and simulator."""

    folder: Path
    parties: Mapping[str, Party]
    contract: Envelope
    contract_id: str
    store: Path
    attester: str
    simulator_folder: Path

    def binding(self, keys: PrivateKeys) -> Binding:
        """Fresh challenges of both keepers, for a new run."""
        run = secrets.token_hex(16)
        challenges = []
        for name in sorted(NAMES):
            said = self._ask(name, "/v1/challenges", {"contract": self.contract_id, "run": run})
            challenges.append(Challenge(said["keeper"], said["nonce"]))
        return Binding(self.contract_id, run, keys.public(), tuple(challenges))

    def ask(self, contract: Envelope, binding: Binding, evidence: EvidenceSet | None) -> dict[str, Any]:
        """Ask north's keeper for its keys."""
        body = {
            "contract": contract.to_dict(),
            "binding": binding.to_dict(),
            "evidence": None if evidence is None else evidence.to_wrapper(),
        }
        return self._ask("north", "/v1/releases", body)

    def attested(self, binding: Binding) -> EvidenceSet | None:
        """Genuine evidence over a binding."""
        return collect(self.attester, binding.report_data())

    def _ask(self, name: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with ServiceClient("keeper", self.parties[name].home.keeper) as client:
            return client.post(path, body)


@contextmanager
def victims(folder: Path) -> Iterator[Victims]:
    """Make them, and see that an honest request is granted: what follows is refused for the attack alone."""
    with Cast(folder, NAMES) as cast:
        cast.introduce()
        cast.accept_simulator()
        north, modelco = (cast.parties[name] for name in NAMES)
        _seal(north, folder / "north-data", "patients.csv", f"height,weight,sick\n1.7,{_MARKER},0\n", AssetKind.DATASET)
        _seal(modelco, folder / "modelco-data", "program.json", json.dumps(_PROGRAM), AssetKind.PROGRAM)
        expires = write_moment(datetime.now(UTC) + timedelta(days=1))
        terms = modelco.draft(_DRAFT.format(expires=expires), measurement=measure_runtime().digest)
        proposal = north.sign(modelco.propose(terms).id)
        simulator = cast.operator.engine.simulator
        if simulator is None:
            raise RuntimeError("the demo's engine has a simulator")
        made = Victims(
            folder,
            cast.parties,
            proposal.envelope,
            proposal.id,
            cast.operator.folder / "store",
            simulator.attester,
            cast.operator.folder,
        )
        honest = made.binding(PrivateKeys.generate())
        if "grant" not in made.ask(made.contract, honest, made.attested(honest)):
            raise RuntimeError("an honest request was not granted")
        yield made


def _seal(party: Party, folder: Path, name: str, content: str, kind: AssetKind) -> None:
    folder.mkdir()
    (folder / name).write_text(content, encoding="utf-8")
    party.seal(folder, "records" if kind is AssetKind.DATASET else "network", kind)


def _refused(attempt: Callable[[], object], without: str = "") -> Refused:
    try:
        got = attempt()
    except PaddockError as error:
        return Refused(without, error.code, error.detail or error.summary())
    raise RuntimeError(f"an attack was not refused, the attacker has {got}")


# --- the host ---


def _unsigned(scene: Victims) -> Refused:
    north = scene.parties["north"].home.fingerprint
    own = tuple(each for each in scene.contract.signatures if each.keyid != north)
    binding = scene.binding(PrivateKeys.generate())
    cut = replace(scene.contract, signatures=own)
    return _refused(lambda: scene.ask(cut, binding, scene.attested(binding)))


def _no_evidence(scene: Victims) -> Refused:
    return _refused(lambda: scene.ask(scene.contract, scene.binding(PrivateKeys.generate()), None))


def _replayed(scene: Victims) -> Refused:
    honest = scene.binding(PrivateKeys.generate())
    evidence = scene.attested(honest)
    stolen = replace(honest, keys=PrivateKeys.generate().public())
    return _refused(lambda: scene.ask(scene.contract, stolen, evidence))


def _changed_runtime(scene: Victims) -> Refused:
    with tempfile.TemporaryDirectory(prefix="paddock-changed-") as folder:
        copy = Path(folder) / "paddock"
        shutil.copytree(Path(inspect.getfile(PaddockError)).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
        changed = copy / "enclave" / "run.py"
        changed.write_text(changed.read_text(encoding="utf-8") + _CHANGE, encoding="utf-8")
        code = (
            f"import sys, runpy; sys.path.insert(0, {folder!r}); "
            "runpy.run_module('paddock.testing.simulator', run_name='__main__')"
        )
        key_file = simulator_key_file(scene.simulator_folder)
        with SimulatorProcess(key_file, command=(sys.executable, "-I", "-c", code)) as simulator:
            binding = scene.binding(PrivateKeys.generate())
            evidence = collect(simulator.attester, binding.report_data())
            return _refused(lambda: scene.ask(scene.contract, binding, evidence))


# --- hub and party ---


def _level_lowered(scene: Victims) -> Refused:
    binding = scene.binding(PrivateKeys.generate())
    lowered = replace(scene.contract, payload=scene.contract.payload.replace(b'"level":"L5"', b'"level":"L1"'))
    return _refused(lambda: scene.ask(lowered, binding, None))


def _other_keys(scene: Victims) -> Refused:
    north, modelco = (scene.parties[name] for name in NAMES)
    own = PrivateKeys.generate()
    forged = modelco.record().model_copy(update={"keys": type(modelco.record().keys)(**own.public().to_dict())})
    return _refused(lambda: north.peers.accept("modelco", modelco.home.fingerprint, forged.sign(own)))


# --- the store ---


def _reads(scene: Victims) -> Refused:
    plain = _holding(scene.folder / "north-data")
    stored = _holding(scene.store)
    if stored or not plain:
        raise RuntimeError("the records stand in the store")
    return Refused(
        f"the same search in north's own folder finds it in {plain[0].name}",
        NOTHING,
        f"{sum(1 for path in scene.store.rglob('*') if path.is_file())} stored objects, and the value in none",
    )


def _holding(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and _MARKER.encode() in path.read_bytes()]


def _bit_flipped(scene: Victims) -> Refused:
    north = scene.parties["north"]
    part = north.open_volume("records").parts[0].number
    stored = scene.store / payload_name(part)
    with _changed(stored, lambda data: data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]):
        return _refused(lambda: north.open_volume("records").verify())


def _rolled_back(scene: Victims) -> Refused:
    north = scene.parties["north"]
    before = north.assets.find("records").asset
    (scene.folder / "north-data" / "patients.csv").write_text("height,weight,sick\n1.8,80,1\n", encoding="utf-8")
    north.seal(scene.folder / "north-data", "records", AssetKind.DATASET)
    newest, older = (scene.store / manifest_name(each) for each in (north.assets.find("records").asset, before))
    with _changed(newest, lambda _data: older.read_bytes()):
        return _refused(lambda: north.open_volume("records").paths())


@contextmanager
def _changed(path: Path, change: Callable[[bytes], bytes]) -> Iterator[None]:
    honest, mode = path.read_bytes(), path.stat().st_mode
    path.chmod(0o600)
    path.write_bytes(change(honest))
    try:
        yield
    finally:
        path.write_bytes(honest)
        path.chmod(mode)


# --- a model's developer ---


def _python_operator(_scene: Victims) -> Refused:
    return _refused(lambda: read_program(json.dumps(_PROGRAM).encode(), STANDARD_LIMITS))


@dataclass(frozen=True)
class Attack:
    """One of them.

    Args:
        id: as in docs/attacks.md.
        by: who attacks.
        tried: what is done.
        rules: of the specification.
        carry_out: does it.
    """

    id: str
    by: str
    tried: str
    rules: str
    carry_out: Callable[[Victims], Refused]


ATTACKS = (
    Attack(
        "host-unsigned-contract",
        "the host",
        "Asks north's keeper for its keys under a contract from which north's signature was taken.",
        "C-4, R-1",
        _unsigned,
    ),
    Attack("host-no-evidence", "the host", "Asks for the keys with no proof of what runs.", "R-7, L-1", _no_evidence),
    Attack(
        "host-replayed-evidence",
        "the host",
        "Shows the genuine evidence of an honest run beside a run key of its own.",
        "A-3",
        _replayed,
    ),
    Attack(
        "host-changed-runtime",
        "the host",
        "Starts a copy of the runtime in which one line was added; the simulator measures what really runs.",
        "R-9, A-9",
        _changed_runtime,
    ),
    Attack(
        "party-level-lowered",
        "a party",
        "Writes L1 in the place of L5 after both have signed, and asks without evidence.",
        "C-4, L-6",
        _level_lowered,
    ),
    Attack(
        "hub-keys-of-another-party",
        "the hub",
        "Answers with keys of its own, well signed, when north looks up modelco.",
        "C-19",
        _other_keys,
    ),
    Attack(
        "store-reads-contents", "the store", "Searches all it stores for a value in north's records.", "S-6", _reads
    ),
    Attack("store-bit-flipped", "the store", "Turns one bit of north's sealed records.", "S-9, S-10", _bit_flipped),
    Attack(
        "store-rolled-back",
        "the store",
        "Answers with the version before, when north has sealed a newer one.",
        "S-3",
        _rolled_back,
    ),
    Attack(
        "developer-python-operator",
        "a model's developer",
        "Seals a program whose operator calls a Python function.",
        "P-4",
        _python_operator,
    ),
)
