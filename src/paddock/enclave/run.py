"""One run, from launch to receipt.

Source: docs/spec/attestation.md, docs/spec/release.md, docs/spec/receipt.md.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from paddock.attest import NO_ATTESTER, collect
from paddock.channel import pinned
from paddock.contract.levels import LEVELS, Tee, check_evidence_allowed, check_padding, is_built_in
from paddock.contract.signing import SignedContract, verify_contract
from paddock.contract.terms import InputTerms, StepTerms, Terms, check_level
from paddock.crypto.digest import b64, sha256_id
from paddock.crypto.dsse import Envelope
from paddock.crypto.identity import PrivateKeys
from paddock.crypto.moment import write_moment
from paddock.enclave.checkpoints import Resumed, RunCheckpoints
from paddock.enclave.control import controlled
from paddock.enclave.deadline import Deadline
from paddock.enclave.events import EventWriter
from paddock.enclave.keepers import Granted, Keepers
from paddock.enclave.launch import Launch
from paddock.enclave.leases import Leases
from paddock.enclave.outputs import seal_outputs
from paddock.enclave.progress import ProgressSealer
from paddock.enclave.steps import Surroundings, run_steps
from paddock.enclave.views import open_views
from paddock.enclave.words import LastWords
from paddock.enclave.workers import Ready, Workers, in_process
from paddock.errors import EvidenceMissing, MeasurementRefused, SimulatedRefused
from paddock.evidence.binding import Binding
from paddock.evidence.claims import EvidenceSet
from paddock.receipt.statement import KeeperReceipt, OutputReceipt, Receipt, sign_receipt
from paddock.release.verdict import environment_found
from paddock.seal import DataKey, VolumeReader
from paddock.store import Store, open_store


def perform(
    launch: Launch, contract: SignedContract, events: EventWriter, words: LastWords, ready: Ready | None = None
) -> Envelope:
    """Carry out a run and return its signed receipt.

    1. Fresh run keys. 2. A challenge from every keeper, bound with contract, run and keys into one piece of evidence.
    3. Every keeper releases its party's data keys, sealed to the run key, and a lease. 4. Inputs are opened: ciphertext
    outside, files inside. 5. The steps run, from the newest checkpoint of an
    earlier attempt if there is one, while leases are renewed. 6. Outputs are held against the contract, sealed and
    stored; nobody can open them yet. 7. A last lease from every keeper; then the receipt, which alone holds the outputs' wrapped keys.

    Args:
        launch: from the host; not trusted.
        contract: what all signed.
        events: what the host is told.
        words: takes what a script printed that failed.
        ready: a worker that waited for this run.

    Raises:
        PaddockError: the step that failed; nothing readable was left behind.
    """
    started = datetime.now(UTC)
    terms = contract.terms
    check_level(terms)  # L-2, L-8, L-9: before anything is asked for
    deadline = Deadline(terms.limits.run_seconds)
    # 1.
    keys = PrivateKeys.generate()
    with ExitStack() as stack:
        workers = Workers(terms.level, terms.limits, ready)
        stack.callback(workers.close)
        # 2. to 4. Meanwhile the engine loads, where the first job will run: that takes seconds and needs no secret.
        with ThreadPoolExecutor(1) as pool:
            proving = pool.submit(_prove, launch, contract, keys, events)
            _get_ready(terms, workers)
            proved = proving.result()

        def check() -> None:
            proved.leases.check()
            deadline.check()

        def entered(step: StepTerms) -> None:
            words.begin()
            events.phase("running", step=step.name, kind=step.kind)

        # 5.
        progress = ProgressSealer(contract, launch.run, keys, events)
        stack.callback(progress.close)
        resumed = proved.checkpoints.newest(launch.checkpoints)
        inputs, room = open_views(terms, proved.inputs, stack)
        around = Surroundings(
            memory_limit_bytes=room,
            check=check,
            progress=lambda step, value: progress.report(step, value.step, value.total, value.values),
            entered=entered,
            words=words.keep,
            checkpoints=proved.checkpoints,
            workers=workers,
        )
        made = run_steps(terms, inputs, around, resumed)
        check()
        # 6.
        events.phase("sealing")
        leaving = controlled(terms, made, inputs)
    outputs = seal_outputs(contract, launch.run, leaving, proved.store)
    events.phase("uploaded", outputs=", ".join(sorted(outputs)))
    # 7.
    deadline.check()  # L-13: sealing and storing count as well; before the last leases, which end the run
    ended = datetime.now(UTC)
    last = proved.leases.finish(ended)
    receipt = _receipt(
        contract=contract, proved=proved, resumed=resumed, leases=last, outputs=outputs, times=(started, ended)
    )
    return sign_receipt(receipt, keys)


def _get_ready(terms: Terms, workers: Workers) -> None:
    first = terms.steps[0]
    if not in_process(terms.level, built_in=is_built_in(first.kind)):
        workers.start_ahead(first)
    else:
        # On this thread: loaded by another one, PaddlePaddle would leave this one without its dynamic mode.
        importlib.import_module("paddock.jobs.engine")


def open_contract(launch: Launch) -> SignedContract:
    """The launch's contract, if every party signed it: asked here as every keeper will ask it again.

    Raises:
        ContractRefused: it is not.
    """
    return verify_contract(launch.envelope())


@dataclass(frozen=True)
class _Proved:
    """What a run holds once every keeper believed it."""

    binding: Binding
    evidence: EvidenceSet | None
    granted: Mapping[str, Granted]
    leases: Leases
    store: Store
    inputs: dict[str, VolumeReader]
    checkpoints: RunCheckpoints


def _prove(launch: Launch, contract: SignedContract, keys: PrivateKeys, events: EventWriter) -> _Proved:
    """Steps 2 to 4."""
    # 2.
    attest = None if launch.attester == NO_ATTESTER else partial(collect, launch.attester)
    keepers = Keepers(contract, launch.run, keys, launch.keepers, attest)
    binding = keepers.challenge()
    evidence = collect(launch.attester, binding.report_data())
    if evidence is None and Tee.NONE not in LEVELS[contract.terms.level].evidence:
        raise EvidenceMissing(f"{contract.terms.level} demands evidence, and there is nothing to attest with.")
    events.phase("attested", media_types=_media_types(evidence))
    # 3.
    asked = time.monotonic()
    granted = keepers.release(binding, evidence)
    events.phase("released", keepers=", ".join(keepers.names))
    check_found(contract, granted)
    leases = Leases(keepers, granted, contract.terms.limits.lease_seconds, asked=asked)
    # 4.
    store = open_store(launch.store, tls=pinned(launch.store, "hub"))
    inputs = _open_inputs(contract, granted, store)
    events.phase("opened", inputs=", ".join(sorted(inputs)))
    # every keeper gave its part, or the contract allows one attempt and none did.
    parts = {name: row.checkpoint for name, row in granted.items() if row.checkpoint is not None}
    checkpoints = RunCheckpoints(contract, launch.run, parts or None, store, events)
    return _Proved(binding, evidence, granted, leases, store, inputs, checkpoints)


def check_found(contract: SignedContract, granted: Mapping[str, Granted]) -> None:
    """Return if what every keeper found this environment to be is enough for the contract: the keepers' own question,
    asked again here, so that one that is lax or lies opens nothing by itself.

    Raises:
        LevelRefused: the kind of environment is not enough for the level (L-1).
        SimulatedRefused: it is simulated, and the parties did not sign that (R-8).
        MeasurementRefused: it was measured as something that they did not sign (R-9).
    """
    terms = contract.terms
    for name, row in granted.items():
        keeper = terms.parties[name].keeper.public()
        found = Tee.NONE if row.verdict is None else environment_found(row.verdict, keeper.sign)
        check_evidence_allowed(terms.level, found)  # L-1
        if row.statement.simulated and not terms.environment.simulated:
            raise SimulatedRefused
        measured = row.statement.measurement
        if LEVELS[terms.level].needs_measurement and measured not in terms.environment.measurements:
            raise MeasurementRefused(f"The keeper of '{name}' found {measured}.")


def _media_types(evidence: EvidenceSet | None) -> str | None:
    return None if evidence is None else ", ".join(sorted(piece.media_type for piece in evidence.pieces.values()))


def _open_inputs(contract: SignedContract, granted: Mapping[str, Granted], store: Store) -> dict[str, VolumeReader]:
    inputs = {}
    for name, item in sorted(contract.terms.inputs.items()):
        reader = VolumeReader.open(item.asset, store, _owners_key(granted, item))
        # L-7
        check_padding(contract.terms.level, name, padded=reader.manifest.padding != "none")
        inputs[name] = reader
    return inputs


def _owners_key(granted: Mapping[str, Granted], item: InputTerms) -> DataKey:
    # C-5: the key that the owner's own keeper gave and no other. Another party could have listed the same asset as its
    # own, in a role that the owner never agreed to.
    return granted[item.owner].data_keys[item.asset]


def _receipt(
    *,
    contract: SignedContract,
    proved: _Proved,
    resumed: Resumed | None,
    leases: Mapping[str, Envelope],
    outputs: dict[str, OutputReceipt],
    times: tuple[datetime, datetime],
) -> Receipt:
    statements = [row.statement for row in proved.granted.values()]
    return Receipt(
        version="paddock/receipt/v1",
        run=proved.binding.run,
        contract_id=contract.id,
        contract=contract.envelope.to_dict(),
        binding=proved.binding.to_dict(),
        evidence=None if proved.evidence is None else proved.evidence.to_wrapper(),
        # What the keepers found; whoever verifies the receipt reads it from the evidence and compares (V-10).
        simulated=any(statement.simulated for statement in statements),
        measurement=statements[0].measurement,
        keepers={
            name: KeeperReceipt(
                release=row.release.to_dict(),
                lease=leases[name].to_dict(),
                verdict=row.verdict,
                collateral=None if row.collateral is None else sha256_id(row.collateral),
            )
            for name, row in proved.granted.items()
        },
        collateral={
            sha256_id(row.collateral): b64(row.collateral)
            for row in proved.granted.values()
            if row.collateral is not None
        },
        inputs={name: item.asset for name, item in contract.terms.inputs.items()},
        outputs=outputs,
        resumed=None if resumed is None else resumed.asset,
        started=write_moment(times[0]),
        ended=write_moment(times[1]),
    )
