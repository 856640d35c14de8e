"""Results that are not what was signed: receipts made up, mixed, cut short, or passed off as another run's.

A hub can pass on what it likes and holds no run's key. A host has the run's key at L1 to L3, where it reads memory: what it
then signs is still held against the contract and the keepers' words by everybody who receives a result.
"""

from __future__ import annotations

import io
import json
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from paddock.contract import contract_id
from paddock.crypto.digest import sha256_id, unb64
from paddock.crypto.dsse import Envelope
from paddock.crypto.moment import write_moment
from paddock.enclave import outputs as sealing
from paddock.enclave.events import EventWriter
from paddock.enclave.progress import ProgressSealer
from paddock.errors import ManifestMismatch, ProgressRefused, ReceiptMismatch, UnwrapRefused
from paddock.party import results
from paddock.party.results import fetch_receipt, fetch_results
from paddock.receipt import VerifiedReceipt, read_receipt, verify, verify_receipt
from paddock.receipt.progress import ProgressMessage, open_progress, progress_info
from paddock.receipt.statement import RECEIPT_TYPE
from paddock.seal import DataKey
from paddock.seal.reader import read_manifest
from paddock.testing.stores import LyingStore, MemoryStore
from tests.attacks.catalogue import Actor, Residual, at_all_levels, attack, remains
from tests.attacks.ground import Ground
from tests.attacks.switches import both, instead, without
from tests.fixtures.cast import RUN, member, private_keys
from tests.fixtures.keepers import TRUST
from tests.fixtures.proof import POLICY, RUN_KEYS, binding
from tests.fixtures.receipts import ENDED, lease_statement, receipt

OTHER_RUN = "f" * 32
Value = dict[str, Any]


def _believed(value: Value) -> VerifiedReceipt:
    """What a recipient makes of a receipt that the run key itself signed."""
    return verify_receipt(receipt(value), policy=POLICY, expected_contract=None)


class _Home:
    """As much of a recipient as fetching a receipt asks for, in front of a hub that answers as it likes."""

    def __init__(
        self,
        folder: Path,
        answer: Envelope,
        *signed: Envelope,
        asked: str | None = None,
        store: Any = None,
    ) -> None:
        (folder / "keeper").mkdir(parents=True)
        (folder / "keeper" / "trust.toml").write_text(TRUST, encoding="utf-8")
        self.hub = SimpleNamespace(receipt=lambda _run: answer)
        own = member("modelco")
        self.home = SimpleNamespace(
            keeper_folder=folder / "keeper",
            receipt_file=lambda run: folder / f"{run}.json",
            fingerprint=own.fingerprint,
            keys=own.keys,
        )
        self.store = lambda: store
        self._signed = {contract_id(each.payload): each for each in signed}
        self._asked = asked

    def asked_for(self, _run: str) -> str | None:
        return self._asked

    def signed_contract(self, contract: str) -> Envelope | None:
        return self._signed.get(contract)


@attack(
    "hub-receipt-of-another-run",
    Actor.HUB,
    "the receipt of an earlier run",
    what="The hub answers with the genuine receipt of an earlier run of the same contract.",
    stops="A recipient compares the run with the one that it asked about.",
    enforced=("party.results",),
    rules=("V-13",),
    threats=(19,),
    codes=(ReceiptMismatch,),
    claims=at_all_levels(),
    off=lambda: without(fetch_receipt, "if claimed.run != run:"),
)
def receipt_of_another_run(ground: Ground) -> str:
    home = _Home(ground.folder, receipt(ground.receipt()), ground.signed())
    _, verified = fetch_receipt(home, OTHER_RUN)  # type: ignore[arg-type]
    return f"the results of run {verified.receipt.run[:8]} taken for those of run {OTHER_RUN[:8]}"


@attack(
    "hub-receipt-of-another-contract",
    Actor.HUB,
    "a result of another contract of the same parties",
    what="The hub runs another contract that the party once signed and passes its receipt off as that of the run asked for.",
    stops="A home notes of which contract it asked for a run.",
    enforced=("party.results",),
    rules=("V-13",),
    threats=(19,),
    codes=(ReceiptMismatch,),
    claims=at_all_levels(),
    off=lambda: without(fetch_receipt, "if party.asked_for(run)"),
)
def receipt_of_another_contract(ground: Ground) -> str:
    meant = ground.contract(lambda value: value.update(title="What was meant"))
    home = _Home(ground.folder, receipt(ground.receipt()), ground.signed(), meant.envelope, asked=meant.id)
    _, verified = fetch_receipt(home, RUN)  # type: ignore[arg-type]
    return f"a result of '{verified.contract.terms.title}' taken for one of '{meant.terms.title}'"


@attack(
    "hub-forged-receipt",
    Actor.HUB,
    "a receipt signed by the hub",
    what="The hub changes the times in a genuine receipt and signs it with a key of its own, under the run key's id.",
    stops="Only the run key that the evidence or the keepers' statements name signs a receipt.",
    enforced=("receipt.verify",),
    rules=("V-7",),
    threats=(19,),
    codes=(ReceiptMismatch,),
    claims=at_all_levels(),
    off=lambda: without(verify_receipt, "try:"),
)
def forged_receipt(ground: Ground) -> str:
    value = {**ground.receipt(), "started": "2020-01-01T00:00:00Z"}
    own = private_keys("hub").sign
    forged = Envelope.sign(RECEIPT_TYPE, receipt(value).payload, own, RUN_KEYS.public().fingerprint())
    verified = verify_receipt(forged, policy=POLICY, expected_contract=None)
    return f"a receipt that says the run began {verified.receipt.started}"


@attack(
    "hub-altered-receipt",
    Actor.HUB,
    "an output exchanged in a genuine receipt",
    what="The hub puts the id of another volume in the place of an output's.",
    stops="The run key's signature covers the whole statement.",
    enforced=("receipt.verify",),
    rules=("V-7", "V-9"),
    threats=(19,),
    codes=(ReceiptMismatch,),
    claims=at_all_levels(),
    off=lambda: without(verify_receipt, "try:"),
)
def altered_receipt(ground: Ground) -> str:
    genuine, value = receipt(ground.receipt()), ground.receipt()
    value["outputs"]["weights"]["asset"] = sha256_id(b"weights of the hub's choice")
    altered = Envelope(RECEIPT_TYPE, receipt(value).payload, genuine.signatures)
    verified = verify_receipt(altered, policy=POLICY, expected_contract=None)
    return f"weights of the hub's choice: {verified.receipt.outputs['weights'].asset[:20]}"


@attack(
    "host-mixed-outputs",
    Actor.HOST,
    "outputs of two runs in one result",
    what="The host has the receipt of one run carry an output of another run, to join the better halves.",
    stops="An output's key is wrapped for one contract, run and output, and opens for no other.",
    enforced=("party.results", "enclave.outputs"),
    rules=("V-9",),
    threats=(19,),
    codes=(UnwrapRefused,),
    claims=at_all_levels(),
    off=lambda: both(
        lambda: instead(sealing, "wrap_purpose", lambda *_: "output"),
        lambda: instead(results, "wrap_purpose", lambda *_: "output"),
    ),
)
def mixed_outputs(ground: Ground) -> str:
    store = MemoryStore()
    made = {"training.weights": {"weights": b"of the other run"}, "evaluation.metrics": {"metrics.json": b"{}"}}
    value = ground.receipt()
    for output, run in (("weights", OTHER_RUN), ("metrics", RUN)):
        sealed = sealing.seal_outputs(ground.contract(), run, made, store)
        value["outputs"][output] = sealed[output].model_dump(mode="json")
    home = _Home(ground.folder / "home", receipt(value), ground.signed(), store=store)
    fetched = fetch_results(home, RUN, ground.folder / "results", overwrite=False)  # type: ignore[arg-type]
    return f"weights {(fetched.folders['weights'] / 'weights').read_text('utf-8')!r}"


@attack(
    "host-output-swapped",
    Actor.HOST,
    "an output exchanged after the run",
    what="The host puts another run's weights where the output of a genuine receipt stands in the store.",
    stops="The receipt names each output by the digest of its manifest; beside that each has a key of its own.",
    enforced=("seal.reader", "party.results"),
    rules=("S-3", "V-9"),
    threats=(19, 20),
    codes=(ManifestMismatch,),
    claims=at_all_levels(),
    off=lambda: both(
        lambda: without(read_manifest, "if sha256_id(data) != asset:"),
        lambda: instead(DataKey, "generate", lambda: DataKey(bytes(32))),
    ),
)
def output_swapped(ground: Ground) -> str:
    store, value = MemoryStore(), ground.receipt()
    for run, weights in ((OTHER_RUN, b"of another run"), (RUN, b"of this run")):
        made = {"training.weights": {"weights": weights}, "evaluation.metrics": {"metrics.json": b"{}"}}
        sealed = sealing.seal_outputs(ground.contract(), run, made, store)
        old = value["outputs"].get("weights", {}).get("asset")
        value["outputs"] = {name: row.model_dump(mode="json") for name, row in sealed.items()}
    names = [f"manifests/{each.removeprefix('sha256:')}" for each in (value["outputs"]["weights"]["asset"], old)]
    liar = LyingStore(store, names[0], "swapped", instead=names[1])
    home = _Home(ground.folder / "home", receipt(value), ground.signed(), store=liar)
    fetched = fetch_results(home, RUN, ground.folder / "results", overwrite=False)  # type: ignore[arg-type]
    return f"weights {(fetched.folders['weights'] / 'weights').read_text('utf-8')!r}"


@attack(
    "host-partial-outputs",
    Actor.HOST,
    "a receipt that lacks one party's output",
    what="The host has a receipt made that gives the weights and leaves the other parties' metrics out.",
    stops="A receipt lists exactly the outputs and recipients of the contract, or it is none.",
    enforced=("receipt.verify",),
    rules=("V-9",),
    threats=(19, 20),
    codes=(ReceiptMismatch,),
    claims=at_all_levels(),
    off=lambda: without(verify_receipt, "_check_outputs("),
)
def partial_outputs(ground: Ground) -> str:
    value = ground.receipt()
    del value["outputs"]["metrics"]
    return f"a receipt over {', '.join(_believed(value).receipt.outputs)} alone"


@attack(
    "host-extra-recipient",
    Actor.HOST,
    "an output wrapped to somebody more",
    what="The host has the weights' key wrapped to one party more than the contract names.",
    stops="Recipients in a receipt are the contract's; any other set is refused by whoever reads it.",
    enforced=("receipt.verify",),
    rules=("V-9",),
    threats=(19,),
    codes=(ReceiptMismatch,),
    claims=at_all_levels(),
    off=lambda: without(verify_receipt, "_check_outputs("),
    residual="At L1 to L3 a host that reads the enclave's memory needs no receipt to have the weights.",
)
def extra_recipient(ground: Ground) -> str:
    value = ground.receipt()
    value["outputs"]["weights"]["to"][member("clinic").fingerprint] = "AA=="
    return f"{len(_believed(value).receipt.outputs['weights'].to)} recipients in the place of one"


@attack(
    "host-other-inputs",
    Actor.HOST,
    "a receipt over other inputs",
    what="The host has a receipt made that names one hospital's records twice and leaves another's out.",
    stops="Inputs in a receipt are the contract's, by id.",
    enforced=("receipt.verify",),
    rules=("V-8",),
    threats=(19,),
    codes=(ReceiptMismatch,),
    claims=at_all_levels(),
    off=lambda: without(verify_receipt, "if receipt.inputs !="),
)
def other_inputs(ground: Ground) -> str:
    value = ground.receipt()
    value["inputs"]["south"] = value["inputs"]["north"]
    return f"a receipt over {len(set(_believed(value).receipt.inputs.values()))} inputs of 4"


@attack(
    "host-environment-embellished",
    Actor.HOST,
    "a receipt that claims a better environment",
    what="The host has a receipt say another measurement, or none of a simulation, than the evidence inside says.",
    stops="What a receipt says of its environment is compared with the evidence that it carries.",
    enforced=("receipt.verify",),
    rules=("V-10",),
    threats=(11,),
    codes=(ReceiptMismatch,),
    claims=at_all_levels(),
    off=lambda: without(verify_receipt, "if receipt.simulated != simulated"),
)
def environment_embellished(ground: Ground) -> str:
    value = ground.receipt()
    value["measurement"] = sha256_id(b"a runtime that everybody likes")
    return f"a receipt of {_believed(value).receipt.measurement}"


@attack(
    "host-two-receipts",
    Actor.HOST,
    "two receipts of one run",
    what="The host lets a run sign its receipt while its keepers still allow it to be resumed, and chooses between two.",
    stops="Only the last lease of every keeper, after which it gives the run nothing more, makes a receipt.",
    enforced=("receipt.verify",),
    rules=("V-16", "R-23"),
    threats=(36,),
    codes=(ReceiptMismatch,),
    claims=at_all_levels(),
    off=lambda: without(verify._check_keeper, "if not lease.final:"),
)
def two_receipts(ground: Ground) -> str:
    return _believed(_leased(ground, final=False)).receipt.run


@attack(
    "host-lease-ignored",
    Actor.HOST,
    "a run that goes on after its leases ended",
    what="The host keeps a run at work whose keepers stopped renewing its lease, and has its receipt signed all the same.",
    stops="A receipt ends within the last lease of every keeper.",
    enforced=("receipt.verify",),
    rules=("V-3",),
    threats=(14, 19),
    codes=(ReceiptMismatch,),
    claims=at_all_levels(),
    off=lambda: without(verify._check_keeper, "if read_moment(receipt.ended)"),
)
def lease_ignored(ground: Ground) -> str:
    late = _leased(ground, until=write_moment(ENDED - timedelta(seconds=1)))
    return f"a receipt of a run that ended {_believed(late).receipt.ended}"


def _leased(ground: Ground, **changes: Any) -> Value:
    value, contract = ground.receipt(), ground.contract()
    lease = lease_statement(contract, binding(contract), "north", **changes)
    value["keepers"]["north"]["lease"] = lease.sign(member("north").keeper).to_dict()
    return value


@attack(
    "host-keeper-bypassed",
    Actor.HOST,
    "a receipt without one keeper's word",
    what="The host puts another keeper's statements in the place of the one that refused.",
    stops="A receipt carries the signed statements of every party's keeper, each verified by the key in the contract.",
    enforced=("receipt.verify",),
    rules=("V-3",),
    threats=(19,),
    codes=(ReceiptMismatch,),
    claims=at_all_levels(),
    off=lambda: instead(verify, "_check_keeper", lambda *_: receipt_time()),
)
def keeper_bypassed(ground: Ground) -> str:
    value = ground.receipt()
    value["keepers"]["north"] = value["keepers"]["south"]
    return f"a receipt in which {len(_believed(value).receipt.keepers) - 1} of 5 keepers agreed"


def receipt_time() -> str:
    """When the evidence of a receipt was judged."""
    return read_receipt(receipt()).started


def _sealed_progress(ground: Ground, keys: Any) -> tuple[str, list[Value]]:
    def curve(value: Value) -> None:
        value["outputs"]["curve"] = {"source": "training.curve", "to": ["modelco"], "type": "curve", "max_bytes": 4096}

    contract, sink = ground.contract(curve), io.BytesIO()
    sealer = ProgressSealer(contract, RUN, keys, EventWriter(sink))
    sealer.report("training", 1, 4, {"loss": 0.9})
    sealer.report("training", 2, 4, {"loss": 0.5})
    sealer.close()
    return contract.id, [json.loads(line) for line in sink.getvalue().splitlines()]


@attack(
    "host-invented-progress",
    Actor.HOST,
    "live numbers that the host made up",
    what="The host seals numbers of its own to a recipient's public key, to look as if the training went well.",
    stops="In the end every number that was shown is held against the receipt's run key.",
    enforced=("receipt.progress",),
    rules=("V-11",),
    threats=(21,),
    codes=(ProgressRefused,),
    claims=at_all_levels(),
    off=lambda: instead(ProgressMessage, "verify", lambda *_: None),
    residual="While a run lasts, live numbers prove nothing; screens say so.",
)
def invented_progress(ground: Ground) -> str:
    contract, events = _sealed_progress(ground, private_keys("host"))
    message = _opened(contract, unb64(events[0]["sealed"][0]["data"]), 0)
    message.verify(RUN_KEYS.public().sign)
    return f"a loss of {message.values['loss']} believed"


@attack(
    "hub-reordered-progress",
    Actor.HUB,
    "genuine live numbers at another place",
    what="The hub and one recipient seal a genuine early message anew for another recipient, at a later place.",
    stops="The signed body says its place in the sequence; what it is sealed under says it again.",
    enforced=("receipt.progress",),
    rules=("V-11",),
    threats=(21,),
    codes=(ProgressRefused,),
    claims=at_all_levels(),
    off=lambda: without(open_progress, "if ("),
)
def reordered_progress(ground: Ground) -> str:
    contract, events = _sealed_progress(ground, RUN_KEYS)
    own = member("modelco").keys.seal
    early = own.open(unb64(events[0]["sealed"][0]["data"]), progress_info(contract, RUN, 0))
    message = _opened(contract, own.recipient.seal(early, progress_info(contract, RUN, 7)), 7)
    message.verify(RUN_KEYS.public().sign)
    return f"the first loss, {message.values['loss']}, shown as the eighth"


def _opened(contract: str, sealed: bytes, sequence: int) -> ProgressMessage:
    return open_progress(sealed, member("modelco").keys.seal, contract=contract, run=RUN, sequence=sequence)


remains(
    Residual(
        Actor.HOST,
        "a receipt withheld from one party",
        "All outputs open with one receipt, which the host passes on: it can give it to one party and not to another. It is "
        "the same receipt whoever shows it, and any party may pass it on.",
    ),
    Residual(
        Actor.HUB,
        "phases and failures made up",
        "Phases of a run and the code of a failure are the host's word and are shown as such; neither opens a result.",
    ),
)
