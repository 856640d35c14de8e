"""One test or more per rule of docs/spec/receipt.md; each tries to break its rule."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paddock.contract.levels import Level
from paddock.crypto.canonical import canonical
from paddock.crypto.digest import b64, unb64
from paddock.crypto.dsse import Envelope
from paddock.crypto.identity import PrivateKeys
from paddock.crypto.moment import write_moment
from paddock.enclave.events import EventWriter
from paddock.enclave.outputs import seal_outputs
from paddock.enclave.progress import ProgressSealer
from paddock.enclave.words import LastWords
from paddock.errors import (
    ContractSignatureRefused,
    EvidenceMalformed,
    EvidenceNotTrusted,
    EvidenceStale,
    InternalFault,
    LevelRefused,
    MeasurementRefused,
    OutputRefused,
    PaddockError,
    ProgressRefused,
    ReceiptMalformed,
    ReceiptMismatch,
    Refused,
    ScriptFailed,
    SimulatedRefused,
)
from paddock.evidence import TrustPolicy
from paddock.party.results import fetch_receipt
from paddock.receipt import VerifiedReceipt, read_receipt, verify_receipt, wrap_purpose
from paddock.receipt.failure import FAILURE_BYTES, failure_info, failure_message, open_failure
from paddock.receipt.progress import MESSAGE_BYTES, open_progress, progress_info
from paddock.receipt.statement import RECEIPT_TYPE
from paddock.seal import DataKey
from paddock.testing.stores import MemoryStore
from tests.fixtures.cast import (
    NAMES,
    NOW,
    RUN,
    STRANGER,
    Change,
    contract,
    member,
    merge,
    private_keys,
    sign_all,
    signed,
)
from tests.fixtures.keepers import TRUST
from tests.fixtures.proof import POLICY, RUN_KEYS, binding, evidence
from tests.fixtures.receipts import ENDED, lease_statement, receipt, receipt_dict, release_statement, verdict

Value = dict[str, Any]
OTHER = "sha256:" + "0" * 64


def _verify(envelope: Envelope, policy: TrustPolicy = POLICY, expected: str | None = None) -> VerifiedReceipt:
    return verify_receipt(envelope, policy=policy, expected_contract=expected)


def _refused(
    error: type[Exception], change: Callable[[Value], object], terms: Change | None = None, saying: str | None = None
) -> None:
    """The receipt, changed and signed by the run key itself: a lie of whoever has that key."""
    value = receipt_dict(terms)
    change(value)
    with pytest.raises(error, match=saying):
        _verify(receipt(value))


def test_an_honest_receipt_holds_for_everybody_who_trusts_the_simulator() -> None:
    verified = _verify(receipt(), expected=contract().id)
    assert verified.receipt.simulated
    assert verified.verdict is not None
    assert verified.binding.run == RUN


# --- 1. form and verification ---


def test_v1_a_receipt_has_one_form() -> None:
    good = receipt()
    payload = json.loads(good.payload)

    def written(change: Callable[[Value], object]) -> bytes:
        value = json.loads(good.payload)
        change(value)
        return canonical(value)

    payloads = [
        b"",
        json.dumps(payload).encode(),
        good.payload + b"\n",
        written(lambda v: v.update(_type="https://in-toto.io/Statement/v0.1")),
        written(lambda v: v.update(predicateType="https://slsa.dev/provenance/v1")),
        written(lambda v: v.update(more=1)),
        written(lambda v: v["predicate"].update(more=1)),
        written(lambda v: v["predicate"].pop("evidence")),
        written(lambda v: v["predicate"].update(started="yesterday")),
        written(lambda v: v["predicate"].update(run="../x")),
        written(lambda v: v["predicate"]["outputs"]["weights"].update(stored_bytes=-1)),
        written(lambda v: v.update(subject=[])),
        written(lambda v: v["subject"].reverse()),
        written(lambda v: v["subject"][0]["digest"].update(sha256="0" * 64)),
        written(lambda v: v["subject"][0].update(name="other")),
        written(lambda v: v.update(predicate=None)),
    ]
    for other in payloads:
        with pytest.raises(ReceiptMalformed):
            _verify(Envelope.sign(RECEIPT_TYPE, other, RUN_KEYS.sign, ""))
    with pytest.raises(ReceiptMalformed, match="another type"):
        _verify(Envelope.sign("application/json", good.payload, RUN_KEYS.sign, ""))
    _refused(ReceiptMalformed, merge(contract={}))


def test_v2_the_contract_is_signed_by_all_and_is_the_one_that_was_meant() -> None:
    lacking = signed(signers=NAMES[:-1]).to_dict()
    _refused(ContractSignatureRefused, lambda v: v.update(contract=lacking))
    _refused(ContractSignatureRefused, lambda v: v.update(contract=sign_all(signed(), (STRANGER,)).to_dict()))
    _refused(ReceiptMismatch, lambda v: v.update(contract_id=OTHER), saying="another contract")
    with pytest.raises(ReceiptMismatch, match="another contract"):
        _verify(receipt(), expected=OTHER)
    for changes in ({"run": "f" * 32}, {"contract": OTHER}):
        _refused(ReceiptMismatch, merge("binding", **changes), saying="another run")
    _refused(ReceiptMismatch, lambda v: v.update(run="f" * 32), saying="another run")
    for changes in ({"run": "f" * 32}, {"contract": OTHER}):  # where no evidence stands behind the binding
        bare = receipt_dict(merge(level="L1"), with_evidence=False)
        bare["binding"].update(changes)
        with pytest.raises(ReceiptMismatch, match="Its binding is for another run"):
            _verify(receipt(bare))
    _refused(EvidenceMalformed, lambda v: v["binding"].update(more=1))


def _statement(kind: str, name: str, signer: str | None = None, **changes: Any) -> Callable[[Value], object]:
    """Put another statement of that party's keeper into the receipt."""
    agreed = contract()
    bound = binding(agreed)
    if kind == "release":
        made: Any = release_statement(agreed, bound, evidence(bound.report_data()), name, **changes)
    else:
        made = lease_statement(agreed, bound, name, **changes)
    envelope = made.sign(member(signer or name).keeper).to_dict()
    return lambda value: value["keepers"][name].update({kind: envelope})


def test_v3_every_keepers_word_is_there_and_its_own() -> None:
    _refused(ReceiptMismatch, lambda v: v["keepers"].pop("clinic"), saying="every party's keeper")
    _refused(ReceiptMismatch, lambda v: v["keepers"].update(mallory=v["keepers"]["clinic"]), saying="every party")
    _refused(ReceiptMismatch, lambda v: v["keepers"].update(north=v["keepers"]["south"]), saying="does not hold")
    for kind in ("release", "lease"):
        _refused(ReceiptMismatch, _statement(kind, "north", signer=STRANGER), saying="does not hold")
        _refused(ReceiptMismatch, merge("keepers", "north", **{kind: {}}))
        _refused(ReceiptMismatch, lambda v: v["keepers"]["north"].update(lease=v["keepers"]["north"]["release"]))


@pytest.mark.parametrize(
    ("changes", "saying"),
    [
        ({"contract": OTHER}, "released keys to another run"),
        ({"run": "f" * 32}, "released keys to another run"),
        ({"run_key": member(STRANGER).fingerprint}, "released keys to another run"),
        ({"keeper": member("south").keeper.public().fingerprint()}, "released keys to another run"),
        ({"evidence": OTHER}, "released keys to another run"),
        ({"evidence": None}, "released keys to another run"),
        ({"assets": []}, "other assets"),
        ({"assets": [OTHER]}, "other assets"),
    ],
)
def test_v3_a_release_to_another_run_does_not_count(changes: Value, saying: str) -> None:
    _refused(ReceiptMismatch, _statement("release", "north", **changes), saying=saying)


@pytest.mark.parametrize(
    ("changes", "saying"),
    [
        ({"contract": OTHER}, "for another run"),
        ({"run": "f" * 32}, "for another run"),
        ({"run_key": member(STRANGER).fingerprint}, "for another run"),
        ({"keeper": member("south").keeper.public().fingerprint()}, "for another run"),
        ({"until": write_moment(ENDED - timedelta(seconds=1))}, "had ended"),
    ],
)
def test_v3_a_lease_that_is_anothers_or_over_does_not_count(changes: Value, saying: str) -> None:
    _refused(ReceiptMismatch, _statement("lease", "north", **changes), saying=saying)


def test_v16_only_the_last_lease_makes_a_receipt() -> None:
    value = receipt_dict()
    agreed = contract()
    lease = lease_statement(agreed, binding(agreed), "north", final=False)
    value["keepers"]["north"]["lease"] = lease.sign(member("north").keeper).to_dict()
    with pytest.raises(ReceiptMismatch, match="another receipt"):
        verify_receipt(receipt(value), policy=POLICY, expected_contract=None)


def test_v4_the_evidence_is_judged_by_ones_own_policy_at_the_keepers_time() -> None:
    with pytest.raises(EvidenceNotTrusted):
        _verify(receipt(), policy=TrustPolicy())
    old = write_moment(NOW + timedelta(minutes=6))
    _refused(EvidenceStale, _statement("release", "north", at=old))


def test_v4_no_evidence_only_where_the_level_demands_none() -> None:
    bare = receipt_dict(lambda v: v.update(level="L1"), with_evidence=False)
    assert _verify(receipt(bare)).verdict is None
    for level in set(Level) - {Level.L1}:
        lacking = receipt_dict(merge(level=level), with_evidence=False)
        with pytest.raises(ReceiptMismatch, match="no evidence"):
            _verify(receipt(lacking))
    # to leave it out afterwards does not agree with what the keepers signed
    _refused(ReceiptMismatch, lambda v: v.update(evidence=None), terms=lambda v: v.update(level="L1"))


def _with_evidence(value: Value, proof: Any, agreed: Any) -> None:
    """Replace the evidence, and have every keeper state that it judged that one: all keepers lie."""
    value["evidence"] = proof.to_wrapper()
    for name in value["keepers"]:
        stated = release_statement(agreed, binding(agreed), proof, name)
        value["keepers"][name]["release"] = stated.sign(member(name).keeper).to_dict()
        value["keepers"][name]["verdict"] = verdict(agreed, binding(agreed), proof, name)


def test_v5_evidence_of_another_run_does_not_count_whatever_keepers_say() -> None:
    agreed = contract()
    stolen = evidence(binding(agreed, private_keys("another run")).report_data())
    _refused(ReceiptMismatch, lambda v: _with_evidence(v, stolen, agreed), saying="made for another run")


def test_v6_the_environment_is_judged_anew_whatever_keepers_say() -> None:
    agreed = contract()
    data = binding(agreed).report_data()
    other, weaker = evidence(data, measurement=OTHER), evidence(data, tee="tpm")
    _refused(MeasurementRefused, lambda v: _with_evidence(v, other, agreed))
    _refused(LevelRefused, lambda v: _with_evidence(v, weaker, agreed))
    _refused(SimulatedRefused, lambda _: None, terms=lambda v: v["environment"].update(simulated=False))


def test_v7_only_the_attested_run_key_signs() -> None:
    payload = receipt().payload
    for envelope in (
        Envelope(RECEIPT_TYPE, payload, ()),
        Envelope.sign(RECEIPT_TYPE, payload, private_keys("thief").sign, RUN_KEYS.public().fingerprint()),
        Envelope.sign(RECEIPT_TYPE, payload, member("north").keeper.sign, ""),
    ):
        with pytest.raises(ReceiptMismatch, match="run key"):
            _verify(envelope)


def test_v8_its_inputs_are_the_contracts() -> None:
    for change in (
        lambda v: v["inputs"].update(north=OTHER),
        lambda v: v["inputs"].pop("north"),
        lambda v: v["inputs"].update(more=OTHER),
        lambda v: v["inputs"].update(north=v["inputs"]["south"], south=v["inputs"]["north"]),
    ):
        _refused(ReceiptMismatch, change, saying="inputs")


def test_v9_its_outputs_and_recipients_are_the_contracts() -> None:
    for change in (
        lambda v: v["outputs"].pop("metrics"),
        lambda v: v["outputs"].update(copy=v["outputs"]["weights"]),
        lambda v: v["outputs"]["weights"]["to"].update({member("clinic").fingerprint: "AA=="}),
        lambda v: v["outputs"]["weights"]["to"].update({member(STRANGER).fingerprint: "AA=="}),
        lambda v: v["outputs"]["weights"]["to"].clear(),
        lambda v: v["outputs"]["metrics"]["to"].pop(member("north").fingerprint),
        lambda v: v["outputs"].update(weights=v["outputs"]["metrics"], metrics=v["outputs"]["weights"]),
    ):
        _refused(ReceiptMismatch, change, saying="outputs")


def test_v9_an_outputs_key_opens_for_this_run_and_output_alone() -> None:
    agreed, store = contract(), MemoryStore()
    made = {"training.weights": {"weights": b"w"}, "evaluation.metrics": {"metrics.json": b"{}"}}
    sealed = seal_outputs(agreed, RUN, made, store)
    row, own = sealed["weights"], member("modelco")
    assert set(row.to) == {own.fingerprint}
    wrapped = unb64(row.to[own.fingerprint])
    DataKey.unwrap(wrapped, own.keys.seal, row.asset, wrap_purpose(agreed.id, RUN, "weights"))
    for asset, purpose, keys in (
        (row.asset, wrap_purpose(agreed.id, "f" * 32, "weights"), own.keys),
        (row.asset, wrap_purpose(agreed.id, RUN, "metrics"), own.keys),
        (row.asset, wrap_purpose(OTHER, RUN, "weights"), own.keys),
        (OTHER, wrap_purpose(agreed.id, RUN, "weights"), own.keys),
        (row.asset, wrap_purpose(agreed.id, RUN, "weights"), member("clinic").keys),
    ):
        with pytest.raises(Refused):
            DataKey.unwrap(wrapped, keys.seal, asset, purpose)


def test_v10_it_says_of_its_environment_what_the_evidence_says() -> None:
    _refused(ReceiptMismatch, lambda v: v.update(simulated=False), saying="environment")
    _refused(ReceiptMismatch, lambda v: v.update(measurement=OTHER), saying="environment")
    _refused(ReceiptMismatch, lambda v: v.update(measurement=None), saying="environment")
    bare = receipt_dict(lambda v: v.update(level="L1"), with_evidence=False)
    with pytest.raises(ReceiptMismatch, match="environment"):
        _verify(receipt({**bare, "simulated": True}))


def test_every_bit_of_a_receipt_counts() -> None:
    good = receipt()
    for index in range(0, len(good.payload), 611):
        changed = bytearray(good.payload)
        changed[index] ^= 1
        with pytest.raises(Refused):
            _verify(Envelope(good.payload_type, bytes(changed), good.signatures))


# --- 2. outputs ---


class _Party:
    """As much of a party as fetching a receipt asks for, in front of a hub that lies."""

    def __init__(self, folder: Path, answer: Envelope, own: Envelope | None) -> None:
        keeper_folder = folder / "keeper"
        keeper_folder.mkdir(parents=True)
        (keeper_folder / "trust.toml").write_text(TRUST, encoding="utf-8")
        self.hub = SimpleNamespace(receipt=lambda _run: answer)
        self.home = SimpleNamespace(keeper_folder=keeper_folder, receipt_file=lambda run: folder / f"{run}.json")
        self.own = own
        self.asked: str | None = None

    def asked_for(self, _run: str) -> str | None:
        return self.asked

    def signed_contract(self, contract_id: str) -> Envelope | None:
        assert contract_id.startswith("sha256:")
        return self.own


def test_v13_the_hub_does_not_choose_whose_result_it_is(tmp_path: Path) -> None:
    def fetch(name: str, run: str, own: Envelope | None) -> VerifiedReceipt:
        return fetch_receipt(_Party(tmp_path / name, receipt(), own), run)[1]  # type: ignore[arg-type]

    assert fetch("good", RUN, signed()).receipt.run == RUN
    with pytest.raises(ReceiptMismatch, match="another run"):
        fetch("run", "f" * 32, signed())
    with pytest.raises(ReceiptMismatch, match="never signed in this home"):
        fetch("unsigned", RUN, None)
    with pytest.raises(ReceiptMismatch, match="another contract"):
        fetch("other", RUN, signed(lambda value: value.update(nonce="f" * 32)))
    for name in ("run", "unsigned", "other"):
        assert list((tmp_path / name).glob("*.json")) == []


# --- 3. live progress ---


def _curve(value: Value) -> None:
    value["outputs"]["curve"] = {"source": "training.curve", "to": ["modelco"], "type": "curve", "max_bytes": 4096}


def _progress(values: Value, keys: PrivateKeys = RUN_KEYS) -> list[dict[str, Any]]:
    sink = io.BytesIO()
    sealer = ProgressSealer(contract(_curve), RUN, keys, EventWriter(sink))
    sealer.report("training", 1, 4, values)
    sealer.report("training", 2, 4, values)
    sealer.close()
    return [json.loads(line) for line in sink.getvalue().splitlines()]


def test_v11_progress_opens_for_its_recipient_run_contract_and_place() -> None:
    events = _progress({"loss": 0.5})
    assert [row["to"] for event in events for row in event["sealed"]] == [member("modelco").fingerprint] * 2
    assert {len(row["data"]) for event in events for row in event["sealed"]} == {len(events[0]["sealed"][0]["data"])}
    sealed = unb64(events[0]["sealed"][0]["data"])
    place: dict[str, Any] = {"contract": contract(_curve).id, "run": RUN, "sequence": 0}
    own = member("modelco").keys.seal
    message = open_progress(sealed, own, **place)
    assert (message.step, message.done, message.total, message.values) == ("training", 1, 4, {"loss": 0.5})
    message.verify(RUN_KEYS.public().sign)
    for key, changes in (
        (member("clinic").keys.seal, {}),
        (own, {"contract": OTHER}),
        (own, {"run": "f" * 32}),
        (own, {"sequence": 1}),
    ):
        with pytest.raises(ProgressRefused):
            open_progress(sealed, key, **{**place, **changes})


def test_v11_progress_that_the_host_invented_is_found_out() -> None:
    events = _progress({"loss": 0.01}, keys=private_keys("host"))
    message = open_progress(
        unb64(events[0]["sealed"][0]["data"]),
        member("modelco").keys.seal,
        contract=contract(_curve).id,
        run=RUN,
        sequence=0,
    )
    with pytest.raises(ProgressRefused):
        message.verify(RUN_KEYS.public().sign)


def _forged(body: object, sig: object = b64(bytes(64))) -> None:
    info = progress_info(OTHER, RUN, 0)
    padded = json.dumps({"body": body, "sig": sig}).encode().ljust(MESSAGE_BYTES)
    sealed = member("modelco").keys.seal.recipient.seal(padded, info)
    open_progress(sealed, member("modelco").keys.seal, contract=OTHER, run=RUN, sequence=0)


def test_v11_words_that_could_move_a_terminals_cursor_are_not_shown() -> None:
    good = {"step": "training", "done": 1, "total": 2, "values": {"loss": 1.0}, "sequence": 0}
    _forged(good)
    bad: list[object] = [
        {**good, "step": "\x1b[2J"},
        {**good, "step": "[bold]x[/]"},
        {**good, "step": None},
        {**good, "values": {"\x1b]0;x": 1.0}},
        {**good, "values": {"": 1.0}},
        {**good, "values": {"loss": "high"}},
        {**good, "values": {"loss": None}},
        {**good, "values": []},
        {**good, "values": 1},
        {**good, "done": "x"},
        {**good, "done": 1e999},
        {**good, "total": 10**400},
        {},
        None,
        [],
        "text",
    ]
    for body in bad:
        with pytest.raises(ProgressRefused):
            _forged(body)
    for sig in (None, "AA==", 1):
        with pytest.raises(ProgressRefused):
            _forged(good, sig)


def test_v11_too_many_values_are_left_out_rather_than_told_by_size() -> None:
    assert _progress({f"metric_{n}": float(n) for n in range(100)}) == []


# --- 4. failures ---


def test_v12_a_failures_reason_opens_for_its_party_contract_and_run_alone() -> None:
    agreed = contract()
    error: PaddockError = InternalFault("KeyError.")
    message = failure_message(error)
    north = member("north").keys.seal
    sealed = north.recipient.seal(message, failure_info(agreed.id, RUN))
    opened = open_failure(sealed, north, contract=agreed.id, run=RUN)
    assert (type(opened.error), opened.error.detail, opened.log) == (InternalFault, "KeyError.", "")
    for key, contract_id, run in (
        (member("south").keys.seal, agreed.id, RUN),
        (north, OTHER, RUN),
        (north, agreed.id, "f" * 32),
    ):
        with pytest.raises(ProgressRefused):
            open_failure(sealed, key, contract=contract_id, run=run)


@pytest.mark.parametrize("detail", ["", "x" * 10_000, "身" * 700, "\U0001f600" * 5000, "\n\x00" * 3000, "\ud800"])
def test_v12_every_failure_has_one_size_and_can_be_read(detail: str) -> None:
    message = failure_message(InternalFault(detail))
    assert len(message) == FAILURE_BYTES
    north = member("north").keys.seal
    sealed = north.recipient.seal(message, failure_info(OTHER, RUN))
    assert type(open_failure(sealed, north, contract=OTHER, run=RUN).error) is InternalFault


@pytest.mark.parametrize("log", [b"x" * 10_000, "身\n".encode() * 3000, b"\xff\x00\x1b[2J" * 3000])
def test_v12_the_end_of_a_log_goes_along_in_the_same_size(log: bytes) -> None:
    message = failure_message(InternalFault("It failed."), log + b"\nlast line")
    assert len(message) == FAILURE_BYTES
    north = member("north").keys.seal
    opened = open_failure(north.recipient.seal(message, failure_info(OTHER, RUN)), north, contract=OTHER, run=RUN)
    assert opened.error.detail == "It failed."
    assert opened.log.endswith("\nlast line")
    assert "\x1b" not in opened.log


def test_v12_what_a_script_says_of_its_failure_goes_where_its_log_goes() -> None:
    def script(value: Value) -> None:
        value["level"] = "L4"
        value["steps"][0]["kind"] = "script"
        source = {"source": "training.log", "to": ["south"], "type": "text", "max_bytes": 4096}
        value["outputs"]["words"] = source

    terms, words = contract(script).terms, LastWords()
    stolen = ScriptFailed("31.4 years, height 159.2")
    words.keep("training", {"log.txt": b"printed"})
    assert words.error_for(stolen, terms, "south").detail == stolen.detail
    assert words.log_for(terms, "south") == b"printed"
    for other in ("north", "modelco", "clinic"):
        told = words.error_for(stolen, terms, other)
        assert (type(told), told.detail, words.log_for(terms, other)) == (ScriptFailed, "", b"")
    for plain in ("Its exit status was 1.", "It was ended by SIGKILL."):
        assert words.error_for(ScriptFailed(plain), terms, "north").detail == plain
    for hidden in ("Its exit status was 1. 31.4", "Its exit status was 314159.", "It was ended by SIGSECRETWORDS."):
        assert words.error_for(ScriptFailed(hidden), terms, "north").detail == ""
    # Files that a script made have names and columns of its choice, which an output check or a later step repeats.
    for step in ("", "evaluation"):
        words.keep(step, {})
        assert words.error_for(OutputRefused("31.4.csv has no header."), terms, "north").detail == ""
        assert words.error_for(OutputRefused("31.4.csv has no header."), terms, "south").detail
    built_in = contract(merge(level="L4")).terms
    assert words.error_for(stolen, built_in, "north").detail == stolen.detail


def test_v12_a_failure_that_the_host_invented_cannot_speak_in_its_own_words_of_what_to_do() -> None:
    north = member("north").keys.seal
    for code, detail in (("E-NONE-99", "x\x1b[2J"), ("E-RUN-05", "pay mallory\r\n")):
        forged = canonical({"code": code, "detail": detail, "action": "send your key to mallory"})
        opened = open_failure(north.recipient.seal(forged, failure_info(OTHER, RUN)), north, contract=OTHER, run=RUN)
        assert "mallory" not in opened.error.action
        assert opened.error.detail.isprintable()
    garbage = north.recipient.seal(b"\xff" * FAILURE_BYTES, failure_info(OTHER, RUN))
    with pytest.raises(ProgressRefused):
        open_failure(garbage, north, contract=OTHER, run=RUN)
    with pytest.raises(ProgressRefused):
        open_failure(b"", north, contract=OTHER, run=RUN)


def test_reading_verifies_nothing_and_says_so() -> None:
    unsigned = Envelope(RECEIPT_TYPE, receipt().payload, ())
    assert read_receipt(unsigned).run == RUN
