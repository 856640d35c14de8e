"""One test or more per rule of docs/spec/contract.md; each tries to break its rule."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paddock.contract import (
    CONTRACT_TYPE,
    LEVELS,
    ContractEvent,
    ContractState,
    Level,
    PartyRecord,
    Request,
    contract_id,
    next_state,
    open_proposal,
    resolve_draft,
    sign_contract,
    verify_contract,
    verify_request,
)
from paddock.contract.asset import AssetKind, read_asset
from paddock.contract.levels import Tee, check_evidence_allowed, check_job_allowed, check_output_type, check_padding
from paddock.contract.output_types import OutputType
from paddock.contract.party import read_party
from paddock.contract.request import REQUEST_TYPE
from paddock.contract.states import FINAL, TRANSITIONS
from paddock.contract.terms import Terms, read_terms
from paddock.crypto.canonical import canonical
from paddock.crypto.digest import unb64
from paddock.crypto.dsse import Envelope, Signature
from paddock.crypto.identity import PublicKeys
from paddock.enclave.__main__ import _fail
from paddock.enclave.checkpoints import RunCheckpoints
from paddock.enclave.events import EventWriter
from paddock.enclave.launch import Launch
from paddock.enclave.numbers import NumberControl
from paddock.enclave.outputs import seal_outputs
from paddock.enclave.run import _open_inputs
from paddock.enclave.steps import run_steps
from paddock.enclave.words import LastWords
from paddock.errors import (
    ContractSignatureRefused,
    EncodingRefused,
    FingerprintMismatch,
    GatewayBreached,
    JobRefused,
    KeeperMismatch,
    LevelRefused,
    NumbersRefused,
    OutputTooLarge,
    PathRefused,
    RecordRefused,
    RequestRefused,
    RunTooLong,
    StagingRefused,
    StateRefused,
    TermsRefused,
    Unavailable,
    UnknownParty,
)
from paddock.party.peers import AddressBook
from paddock.receipt.failure import open_failure
from paddock.receipt.statement import wrap_purpose
from paddock.seal import DataKey, SealOptions, VolumeReader, write_volume
from paddock.testing.stores import MemoryStore
from tests.fixtures.cast import (
    DRAFT,
    MEASUREMENT,
    NAMES,
    NONCE,
    NOW,
    RUN,
    STRANGER,
    CastDirectory,
    Member,
    contract,
    member,
    merge,
    private_keys,
    raw_envelope,
    sign_all,
    signed,
    terms,
    terms_dict,
)
from tests.fixtures.surroundings import surroundings

Value = dict[str, Any]


def _payload(change: Callable[[Value], object] | None = None) -> bytes:
    value = terms_dict()
    if change is not None:
        change(value)
    return canonical(value)


def _refused(change: Callable[[Value], object], saying: str) -> None:
    with pytest.raises(TermsRefused, match=saying):
        read_terms(_payload(change))


# --- 1. bytes and signatures ---


@pytest.mark.parametrize(
    "write",
    [
        lambda value: json.dumps(value, sort_keys=True).encode(),
        lambda value: canonical(value) + b"\n",
        lambda value: b"\xef\xbb\xbf" + canonical(value),
        lambda value: canonical(value).replace(b'"runs":2', b'"runs":2.0'),
        lambda value: canonical(value).replace(b'"runs":2', b'"runs":2,"runs":2'),
        lambda value: canonical(value).replace(b'"runs":2', b'"runs":NaN'),
        lambda value: canonical(value).replace(b'"seed":7', b'"seed":1e999'),
        lambda value: canonical(value).replace(b'"seed":7', b'"seed":"\\ud800"'),
        lambda value: canonical(value).replace(b'"seed":7', b'"seed":' + b"[" * 70 + b"]" * 70),
        lambda value: canonical(value).replace(b'"seed":7', b'"seed":' + b"[" * 100_000 + b"]" * 100_000),
        lambda value: canonical({**value, "title": "x" * (1 << 20)}),
        lambda value: b"[" + canonical(value) + b"]",
        lambda value: canonical(value).decode().encode("utf-16"),
        lambda value: b"",
    ],
)
def test_c1_bytes_that_are_not_the_canonical_form_are_refused(write: Callable[[Value], bytes]) -> None:
    assert read_terms(_payload()).to_bytes() == _payload()
    with pytest.raises(TermsRefused):
        read_terms(write(terms_dict()))


def test_c1_whoever_signed_the_uncanonical_bytes_signed_no_contract() -> None:
    envelope = sign_all(Envelope(CONTRACT_TYPE, json.dumps(terms_dict()).encode(), ()))
    with pytest.raises(TermsRefused):
        verify_contract(envelope)


def test_c4_every_single_missing_signature_is_named() -> None:
    for absent in NAMES:
        with pytest.raises(ContractSignatureRefused, match=absent):
            verify_contract(signed(signers=tuple(name for name in NAMES if name != absent)))
    with pytest.raises(ContractSignatureRefused):
        verify_contract(signed(signers=()))


def test_c4_a_foreign_signature_is_refused_even_in_a_proposal() -> None:
    envelope = sign_all(signed(), (STRANGER,))
    for judge in (open_proposal, verify_contract):
        with pytest.raises(ContractSignatureRefused):
            judge(envelope)


def test_c4_a_keeper_does_not_sign_for_its_party() -> None:
    envelope = signed(signers=NAMES[:-1]).with_signature(member("clinic").keeper.sign, member("clinic").fingerprint)
    with pytest.raises(ContractSignatureRefused):
        verify_contract(envelope)


def test_c4_one_partys_signature_under_anothers_key_id_does_not_count_for_the_other() -> None:
    envelope = signed(signers=NAMES[:-1])
    north = envelope.signatures[0]
    with pytest.raises(ContractSignatureRefused):
        verify_contract(envelope.merge([Signature(member("clinic").fingerprint, north.sig)]))


def test_c4_a_party_signs_once() -> None:
    envelope = signed()
    again = envelope.merge([Signature("once more", envelope.signatures[0].sig)])
    with pytest.raises(ContractSignatureRefused):
        verify_contract(again)


def test_c4_a_signature_counts_whatever_its_key_id_says() -> None:
    envelope = signed()
    renamed = Envelope(
        envelope.payload_type, envelope.payload, tuple(Signature("?", s.sig) for s in envelope.signatures)
    )
    assert verify_contract(renamed).id == contract().id


def test_c4_signatures_do_not_move_to_other_bytes_or_another_type() -> None:
    envelope = signed()
    other = _payload(lambda value: value.update(runs=3))
    with pytest.raises(ContractSignatureRefused):
        verify_contract(Envelope(CONTRACT_TYPE, other, envelope.signatures))
    with pytest.raises(ContractSignatureRefused):
        verify_contract(Envelope(REQUEST_TYPE, envelope.payload, envelope.signatures))
    as_request = sign_all(Envelope(REQUEST_TYPE, envelope.payload, ()))
    with pytest.raises(ContractSignatureRefused, match="does not hold a contract"):
        verify_contract(as_request)
    with pytest.raises(ContractSignatureRefused):
        verify_contract(Envelope(CONTRACT_TYPE, as_request.payload, as_request.signatures))


def test_c13_the_id_is_the_digest_of_the_bytes_whoever_signed() -> None:
    nobody, everybody = signed(signers=()), signed()
    assert open_proposal(nobody).id == verify_contract(everybody).id == contract_id(everybody.payload)
    for change in (
        lambda v: v.update(runs=3),
        lambda v: v.update(nonce="f" * 32),
        lambda v: v["parties"].pop("clinic"),
    ):
        assert contract_id(_payload(change)) != contract_id(_payload())


# --- 2. terms ---


@pytest.mark.parametrize("name", sorted(terms_dict()))
def test_c3_a_member_that_is_missing_is_refused(name: str) -> None:
    _refused(lambda value: value.pop(name), name)


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        (lambda v: v.update(budget=1), "budget"),
        (lambda v: v["inputs"]["north"].update(path="x"), "path"),
        (lambda v: v["environment"].update(debug=True), "debug"),
        (lambda v: v.update(runs="2"), "runs"),
        (lambda v: v.update(runs=True), "runs"),
        (lambda v: v.update(runs=0), "runs"),
        (lambda v: v.update(runs=1_000_001), "runs"),
        (lambda v: v.update(version="paddock/contract/v2"), "version"),
        (lambda v: v.update(road="mpc"), "road"),
        (lambda v: v.update(level="L6"), "level"),
        (lambda v: v.update(level="l1"), "level"),
        (lambda v: v.update(nonce="A" * 32), "nonce"),
        (lambda v: v.update(nonce="a" * 32 + "\n"), "nonce"),
        (lambda v: v.update(expires="2027-01-31T00:00:00+00:00"), "expires"),
        (lambda v: v.update(expires="２０２７-01-31T00:00:00Z"), "expires"),
        (lambda v: v.update(expires="2027-02-30T00:00:00Z"), "expires"),
        (lambda v: v.update(title=""), "title"),
        (lambda v: v.update(title="x" * 201), "title"),
        (lambda v: v["environment"].update(simulated=1), "simulated"),
        (lambda v: v["environment"].update(measurements=["sha256:" + "A" * 64]), "measurements"),
        (lambda v: v["inputs"]["north"].update(kind="archive"), "kind"),
        (lambda v: v["inputs"]["north"].update(asset="sha256:" + "0" * 63), "asset"),
        (lambda v: v["inputs"].update({"North": v["inputs"]["north"]}), "North"),
        (lambda v: v["inputs"].update({"a.b": v["inputs"]["north"]}), "a.b"),
        (lambda v: v["limits"].update(lease_seconds=1), "lease_seconds"),
        (lambda v: v["limits"].update(memory_bytes=1.5), "memory_bytes"),
        (lambda v: v["limits"].update(attempts=0), "attempts"),
        (lambda v: v["limits"].update(attempts=101), "attempts"),
        (lambda v: v["limits"].update(checkpoint_seconds=0), "checkpoint_seconds"),
        (lambda v: v["limits"].pop("attempts"), "attempts"),
        (lambda v: v["limits"].update(run_seconds=0), "run_seconds"),
        (lambda v: v["limits"].update(run_seconds=366 * 86_400 + 1), "run_seconds"),
        (lambda v: v["limits"].update(run_seconds=1.5), "run_seconds"),
        (lambda v: v["limits"].pop("run_seconds"), "run_seconds"),
        (lambda v: v["limits"].update(processes=0), "processes"),
        (lambda v: v["limits"].update(processes=65_537), "processes"),
        (lambda v: v["limits"].pop("processes"), "processes"),
        (lambda v: v["limits"].update(scratch_bytes=-1), "scratch_bytes"),
        (lambda v: v["limits"].update(scratch_bytes=(1 << 44) + 1), "scratch_bytes"),
        (lambda v: v["limits"].pop("scratch_bytes"), "scratch_bytes"),
        (lambda v: v["limits"].update(output_bytes=0), "output_bytes"),
        (lambda v: v["limits"].update(output_bytes=(1 << 44) + 1), "output_bytes"),
        (lambda v: v["limits"].pop("output_bytes"), "output_bytes"),
        (lambda v: v["limits"].update(cpu_seconds=1), "cpu_seconds"),
        (lambda v: v["outputs"]["weights"].pop("type"), "type"),
        (lambda v: v["outputs"]["weights"].update(type="Weights"), "type"),
        (lambda v: v["outputs"]["weights"].update(type="pickle"), "type"),
        (lambda v: v["outputs"]["weights"].update(type=None), "type"),
        (lambda v: v["outputs"]["weights"].pop("max_bytes"), "max_bytes"),
        (lambda v: v["outputs"]["weights"].update(max_bytes=0), "max_bytes"),
        (lambda v: v["outputs"]["weights"].update(max_bytes="1"), "max_bytes"),
        (lambda v: v["inputs"]["north"].update(view="a disk"), "view"),
        (lambda v: v["outputs"]["weights"].update(to=[]), "to"),
        (lambda v: v.update(steps=[]), "steps"),
        (lambda v: v.update(outputs={}), "outputs"),
        (lambda v: v.update(parties=[]), "parties"),
        (lambda v: v["parties"]["north"]["keys"].update(sign="AAAA"), "north"),
        (lambda v: v["parties"]["north"]["keys"].update(seal="AAAA"), "north"),
        (lambda v: v["parties"]["north"]["keys"].update(sign="?"), "north"),
        (lambda v: v["inputs"].update({f"i{n}": v["inputs"]["north"] for n in range(512)}), "inputs"),
    ],
)
def test_c3_nothing_unknown_and_nothing_coerced(change: Callable[[Value], object], saying: str) -> None:
    _refused(change, saying)


def test_c2_the_fingerprint_covers_both_keys() -> None:
    own, other = member("north").public, member("south").public
    prints = {
        keys.fingerprint() for keys in (own, other, PublicKeys(own.sign, other.seal), PublicKeys(other.sign, own.seal))
    }
    assert len(prints) == 4
    assert all(len(text.split("-")) == 13 and len(text) == 64 for text in prints)


def test_c5_an_input_of_nobody_is_refused() -> None:
    _refused(lambda value: value["inputs"]["north"].update(owner=STRANGER), "owner of input 'north'")


def test_c5_an_asset_is_no_input_of_two_owners() -> None:
    def claimed(value: Value) -> None:
        value["inputs"]["south"]["asset"] = value["inputs"]["north"]["asset"]

    _refused(claimed, "listed as another party's too")


def test_c6_a_step_works_on_nothing_else_than_inputs_and_earlier_steps() -> None:
    def data(*references: str) -> Callable[[Value], object]:
        return lambda value: value["steps"][0]["inputs"].update(data=list(references))

    _refused(data("north", "south", "secret"), "'secret'")
    _refused(data("north", "south", "evaluation.metrics"), "nothing before it yields")
    _refused(data("north", "south", "training.weights"), "nothing before it yields")
    _refused(data("north", "south", "north.x"), "nothing before it yields")
    _refused(lambda value: value["steps"].reverse(), "nothing before it yields")
    _refused(data(), "data")


def test_c6_a_name_is_used_once() -> None:
    _refused(lambda value: value["steps"][1].update(name="training"), "used twice")
    _refused(lambda value: value["steps"][1].update(name="north"), "used twice")


def test_c6_an_input_that_no_step_needs_is_refused() -> None:
    _refused(lambda value: value["steps"][0]["inputs"].update(data=["north"]), "no step uses input 'south'")


def test_c7_an_output_has_a_source_and_known_recipients_each_once() -> None:
    _refused(lambda value: value["outputs"]["weights"].update(source="north.weights"), "no step")
    _refused(lambda value: value["outputs"]["weights"].update(source="training"), "source")
    _refused(lambda value: value["outputs"]["weights"].update(to=["modelco", STRANGER]), "not a party")
    _refused(lambda value: value["outputs"]["weights"].update(to=["modelco", "modelco"]), "twice")


def test_c21_no_output_is_larger_than_all_together_nor_of_an_unknown_type() -> None:
    def limit(total: int, weights: int) -> Callable[[Value], object]:
        return lambda v: (
            v["limits"].update(output_bytes=total),
            v["outputs"]["weights"].update(max_bytes=weights),
            v["outputs"]["metrics"].update(max_bytes=1),
        )

    assert terms(limit(4096, 4096)).outputs["weights"].max_bytes == 4096
    _refused(limit(4096, 4097), "larger than all outputs together")
    for kind in OutputType:
        if not kind.is_free:
            assert terms(merge("outputs", "weights", type=kind.value)).outputs["weights"].type is kind
    _refused(merge("outputs", "weights", type="archive"), "type")


def test_c8_one_key_never_speaks_for_two() -> None:
    def copy(source: tuple[str, str], target: tuple[str, str]) -> Callable[[Value], object]:
        def change(value: Value) -> None:
            value["parties"][target[0]][target[1]]["sign"] = value["parties"][source[0]][source[1]]["sign"]

        return change

    for source, target in (
        (("north", "keys"), ("south", "keys")),
        (("north", "keeper"), ("south", "keeper")),
        (("north", "keys"), ("north", "keeper")),
        (("north", "keeper"), ("clinic", "keys")),
    ):
        _refused(copy(source, target), "used twice")


def test_c9_a_script_at_level_5_is_refused_in_the_terms() -> None:
    _refused(lambda value: value["steps"][0].update(kind="script"), "may not run at L5")
    assert read_terms(_payload(lambda v: (v.update(level="L4"), v["steps"][0].update(kind="script"))))


def test_c10_a_contract_that_ends_as_it_begins_is_refused() -> None:
    _refused(lambda value: value.update(expires=value["created"]), "expires before it begins")


def test_c15_a_level_that_needs_a_measurement_gets_one() -> None:
    for level in Level:
        change = lambda value, level=level: (value.update(level=level), value["environment"].update(measurements=[]))  # noqa: E731
        if LEVELS[level].needs_measurement:
            _refused(change, "measurement")
        else:
            assert level is Level.L1
            read_terms(_payload(change))


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[2J\x1b[H",
        "runs: 1\rruns: 9",
        "a\nb",
        "weights go to \u202enimda",
        "\u2066x",
        "\x00",
        "\u2028",
        "pay\u200bload",
    ],
)
def test_c20_a_text_that_does_not_read_as_it_looks_is_refused(text: str) -> None:
    for change in (
        lambda value: value.update(title=text),
        lambda value: value["steps"][0]["parameters"].update(note=text),
        lambda value: value["steps"][0]["parameters"].update({text: 1}),
        lambda value: value["steps"][1]["parameters"].update(deep=[{"mapping": [text]}]),
    ):
        _refused(change, "title|control or formatting")


def test_c20_every_script_is_welcome() -> None:
    read_terms(_payload(lambda value: value.update(title="Größe und Gewicht, 身高, рост; l'âge – «x»")))


# --- 3. states and signing ---


def test_c14_only_what_the_table_lists_can_happen() -> None:
    for state in ContractState:
        for event in ContractEvent:
            if (state, event) in TRANSITIONS:
                assert next_state(state, event) is TRANSITIONS[state, event]
                assert state not in FINAL
            else:
                with pytest.raises(StateRefused):
                    next_state(state, event)
    for early in (ContractEvent.RUN_START, ContractEvent.RUN_SUCCEED, ContractEvent.USED_UP):
        with pytest.raises(StateRefused):
            next_state(ContractState.PROPOSED, early)


def _sign(name: str, envelope: Envelope, known: tuple[str, ...] = NAMES, keeper: Member | None = None) -> Envelope:
    own = member(name)
    fingerprints = {member(each).fingerprint for each in known if each != name}
    return sign_contract(
        envelope,
        own.keys,
        own_keeper=(keeper or own).keeper.public(),
        is_known=fingerprints.__contains__,
        known_as={each: member(each).fingerprint for each in (*known, name)}.get,
    )


def test_c11_a_contract_with_a_stranger_is_not_signed() -> None:
    envelope = signed(signers=())
    for name in NAMES:
        envelope = _sign(name, envelope)
    assert verify_contract(envelope).id == contract().id
    for unknown in NAMES[1:]:
        with pytest.raises(UnknownParty, match=unknown):
            _sign("north", signed(signers=()), known=tuple(name for name in NAMES if name != unknown))


def test_c11_names_of_two_known_parties_cannot_be_exchanged() -> None:
    """The weights go to 'modelco', says the contract; but it calls the clinic so."""

    def exchange(value: Value) -> None:
        parties = value["parties"]
        parties["modelco"], parties["clinic"] = parties["clinic"], parties["modelco"]

    with pytest.raises(UnknownParty, match="not the party that you know"):
        _sign("north", signed(exchange, signers=()))

    def take(value: Value) -> None:  # nobody bears the signer's own name but the signer
        parties = value["parties"]
        parties["north"], parties["clinic"] = parties["clinic"], parties["north"]

    with pytest.raises(UnknownParty, match="not the party that you know"):
        _sign("north", signed(take, signers=()))


def test_c11_other_names_for_known_parties_are_fine() -> None:
    def rename(value: Value) -> None:
        value["parties"]["klinik"] = value["parties"].pop("clinic")
        value["outputs"]["metrics"]["to"].remove("clinic")

    assert _sign("north", signed(rename, signers=())).signatures


def test_c11_who_is_no_party_does_not_sign() -> None:
    with pytest.raises(UnknownParty, match="not among"):
        _sign(STRANGER, signed(signers=()))


def test_c11_keys_put_in_place_of_a_known_partys_are_strange() -> None:
    def exchange(value: Value) -> None:
        value["parties"]["clinic"]["keys"] = member(STRANGER).public.to_dict()

    with pytest.raises(UnknownParty, match="clinic"):
        _sign("north", signed(exchange, signers=()))


def test_c11_one_exchanged_key_of_two_is_strange() -> None:
    def exchange(value: Value) -> None:
        value["parties"]["clinic"]["keys"]["seal"] = member(STRANGER).public.to_dict()["seal"]

    with pytest.raises(UnknownParty, match="clinic"):
        _sign("north", signed(exchange, signers=()))


def test_c12_another_keeper_in_ones_own_name_is_not_signed() -> None:
    with pytest.raises(KeeperMismatch):
        _sign("north", signed(signers=()), keeper=member("south"))

    def half(value: Value) -> None:
        value["parties"]["north"]["keeper"]["seal"] = private_keys("mallory/keeper").public().to_dict()["seal"]

    with pytest.raises(KeeperMismatch):
        _sign("north", signed(half, signers=()))


# --- 4. records ---


def _resigned(record: PartyRecord, signer: str, **changes: Any) -> Envelope:
    value = {**record.model_dump(mode="json"), **changes}
    envelope = record.sign(member(record.name).keys)
    return Envelope.sign(envelope.payload_type, canonical(value), member(signer).keys.sign, "x")


def test_c17_a_record_is_signed_by_the_keys_it_names() -> None:
    record = member("north").record()
    assert read_party(record.sign(member("north").keys)) == record
    own = record.sign(member("north").keys)
    bad = [
        _resigned(record, STRANGER),
        _resigned(record, "north", name="North"),
        _resigned(record, "north", name="north\n"),
        _resigned(record, "north", extra=1),
        _resigned(record, "north", keys={"sign": "", "seal": ""}),
        _resigned(record, "north", keeper={"keys": {"sign": "", "seal": ""}, "url": "http://x"}),
        _resigned(record, "north", keeper={"keys": record.keys.model_dump(), "url": "file:///etc/passwd"}),
        _resigned(record, "north", keeper={"keys": record.keys.model_dump(), "url": "http://user@host"}),
        Envelope(own.payload_type, own.payload + b" ", own.signatures),
        Envelope(own.payload_type, own.payload, ()),
        Envelope.sign("application/json", own.payload, member("north").keys.sign, "x"),
        Envelope.sign(own.payload_type, b" " + own.payload, member("north").keys.sign, "x"),
        Envelope.sign(own.payload_type, b"{", member("north").keys.sign, "x"),
    ]
    for envelope in bad:
        with pytest.raises(RecordRefused):
            read_party(envelope)
    with pytest.raises(RuntimeError):
        record.sign(member("south").keys)


def test_c18_an_asset_is_only_its_owners_to_name() -> None:
    north, south = member("north"), member("south")
    record = north.asset("records", AssetKind.DATASET)
    envelope = record.sign(north.keys)
    assert read_asset(envelope, north.public) == record
    with pytest.raises(RecordRefused):
        read_asset(envelope, south.public)
    claimed = Envelope.sign(envelope.payload_type, envelope.payload, south.keys.sign, south.fingerprint)
    with pytest.raises(RecordRefused, match="another owner"):
        read_asset(claimed, south.public)
    for changes in ({"kind": "archive"}, {"asset": "x"}, {"stored_bytes": -1}, {"note": ""}, {"sealed": "now"}):
        payload = canonical({**record.model_dump(mode="json"), **changes})
        with pytest.raises(RecordRefused):
            read_asset(Envelope.sign(envelope.payload_type, payload, north.keys.sign, "x"), north.public)
    with pytest.raises(RecordRefused):
        read_asset(Envelope.sign(envelope.payload_type, envelope.payload + b" ", north.keys.sign, "x"), north.public)
    with pytest.raises(RuntimeError):
        record.sign(south.keys)


def test_c19_a_record_enters_the_address_book_by_its_fingerprint_alone(tmp_path: Path) -> None:
    book = AddressBook(tmp_path)
    north, mallory = member("north"), member(STRANGER)
    record = north.record().sign(north.keys)
    false = mallory.record().model_copy(update={"name": "north"}).sign(mallory.keys)
    with pytest.raises(FingerprintMismatch):
        book.accept("north", north.fingerprint, false)
    assert book.all() == []
    assert book.accept("north", north.fingerprint.lower().replace("-", " "), record).fingerprint == north.fingerprint
    with pytest.raises(FingerprintMismatch):  # the same name does not become another party
        book.accept("north", mallory.fingerprint, false)
    assert book.find("north").fingerprint == north.fingerprint


# --- 5. requests ---

HUB = "hub"


def _request(**changes: Any) -> Request:
    values: dict[str, Any] = {
        "action": "run.request",
        "body": {"contract": "x"},
        "audience": HUB,
        "by": member("north").fingerprint,
        "at": NOW,
        "nonce": NONCE,
        **changes,
    }
    return Request(**values)


def _verify(envelope: Envelope, now: Any = NOW) -> Request:
    north = member("north")
    return verify_request(
        envelope, north.public.sign, action="run.request", audience=HUB, sender=north.fingerprint, now=now
    )


def test_c16_a_request_counts_for_one_action_audience_sender_and_time() -> None:
    key = member("north").keys.sign
    assert _verify(_request().sign(key)) == _request()
    for changes in ({"action": "contract.cancel"}, {"audience": "other"}, {"by": member("south").fingerprint}):
        with pytest.raises(RequestRefused, match="another"):
            _verify(_request(**changes).sign(key))
    for late in (timedelta(seconds=301), timedelta(seconds=-301), timedelta(days=4000)):
        with pytest.raises(RequestRefused, match="five minutes"):
            _verify(_request().sign(key), now=NOW + late)
    with pytest.raises(RequestRefused, match="not signed"):
        _verify(_request().sign(member("south").keys.sign))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        json.dumps({"action": "run.request"}).encode(),
        _request().sign(member("north").keys.sign).payload.replace(b'"nonce"', b'"none"'),
        _request().sign(member("north").keys.sign).payload.replace(b'{"contract":"x"}', b'"x"'),
        _request().sign(member("north").keys.sign).payload.replace(b'"run.request"', b"7"),
        _request().sign(member("north").keys.sign).payload.replace(b'"2026-11-01T12:00:00Z"', b"null"),
        _request().sign(member("north").keys.sign).payload.replace(b"T12:00:00Z", b"T12:00Z"),
        _request(nonce="n" * 129).sign(member("north").keys.sign).payload,
        _request(nonce="").sign(member("north").keys.sign).payload,
        _request().sign(member("north").keys.sign).payload + b" ",
    ],
)
def test_c16_a_request_in_another_form_is_refused(payload: bytes) -> None:
    with pytest.raises(RequestRefused):
        _verify(Envelope.sign(REQUEST_TYPE, payload, member("north").keys.sign, ""))


def test_c16_a_contract_or_record_is_no_request() -> None:
    with pytest.raises(RequestRefused):
        _verify(member("north").record().sign(member("north").keys))


# --- 6. levels ---


def test_l1_evidence_of_a_weaker_environment_is_not_enough() -> None:
    order = [Tee.NONE, Tee.SOFTWARE, Tee.MEASURED_HOST, Tee.CONFIDENTIAL_VM, Tee.ENCLAVE]
    for level, needed in zip(Level, order, strict=True):
        check_evidence_allowed(level, needed)
        for weaker in order[: order.index(needed)]:
            with pytest.raises(LevelRefused):
                check_evidence_allowed(level, weaker)
    with pytest.raises(LevelRefused):
        check_evidence_allowed(Level.L3, Tee.ENCLAVE)
    for level in (Level.L2, Level.L3):
        with pytest.raises(LevelRefused, match="says nothing of the runtime"):
            check_evidence_allowed(level, Tee.TPM)
    for level in Level:
        with pytest.raises(LevelRefused, match="no level knows"):
            check_evidence_allowed(level, "quantum")


def test_l2_no_partys_code_at_level_5_and_no_unknown_job_anywhere() -> None:
    for kind in ("train", "evaluate", "predict"):
        for level in Level:
            check_job_allowed(level, kind)
    with pytest.raises(LevelRefused):
        check_job_allowed(Level.L5, "script")
    for level in Level:
        with pytest.raises(LevelRefused):
            check_job_allowed(level, "shell")


def test_l2_the_enclave_asks_again_before_the_first_step() -> None:
    lowered = terms(lambda value: (value.update(level="L4"), value["steps"][0].update(kind="script")))
    raised = lowered.model_copy(update={"level": Level.L5})  # as no reader would let it pass
    entered: list[str] = []
    with pytest.raises(LevelRefused):
        _enter(raised, entered)
    assert entered == []


def _enter(raised: Terms, entered: list[str]) -> None:
    """Begin a run's steps as the enclave does."""
    checkpoints = RunCheckpoints(contract(), RUN, None, MemoryStore(), EventWriter(io.BytesIO()))
    run_steps(raised, {}, surroundings(raised, checkpoints, entered), None)


def test_l8_no_free_text_leaves_where_the_level_takes_none() -> None:
    for kind in OutputType:
        for level in Level:
            if kind in ("text", "files") and level is Level.L5:
                with pytest.raises(LevelRefused, match="free text"):
                    check_output_type(level, "weights", kind)
            else:
                check_output_type(level, "weights", kind)
    free = merge("outputs", "weights", type="text")
    _refused(free, "free text")
    agreed = terms(lambda value: (value.update(level="L4"), free(value)))
    raised = agreed.model_copy(update={"level": Level.L5})  # as no reader would let it pass
    with pytest.raises(LevelRefused, match="free text"):
        _enter(raised, [])


def test_l9_no_more_runs_than_the_level_allows() -> None:
    most = LEVELS[Level.L5].most_runs
    assert terms(merge(runs=most)).runs == most
    _refused(merge(runs=most + 1), f"at most {most} runs")
    agreed = terms(merge(level="L4", runs=most + 1))
    raised = agreed.model_copy(update={"level": Level.L5})
    with pytest.raises(LevelRefused, match="runs"):
        _enter(raised, [])


def test_l10_numbers_leave_rounded_and_counted() -> None:
    bounds = LEVELS[Level.L5].numbers
    assert bounds is not None
    control = NumberControl(Level.L5)
    fine = {"auc": 0.123456789, "many": [1e-9, 12345678901234.5678, 0.5], "n": 12345678901234, "few": 7}
    left = control.output("metrics", OutputType.METRICS, {"metrics.json": json.dumps(fine).encode()})
    assert json.loads(left["metrics.json"]) == {
        "auc": 0.1235,
        "many": [0.0, 12345678900000.0, 0.5],
        "n": 12345678900000,
        "few": 7,
    }
    rest = {"all": [0] * (bounds.most - 6)}
    control.output("curve", OutputType.CURVE, {"curve.json": json.dumps(rest).encode()})
    with pytest.raises(NumbersRefused, match="more numbers"):
        control.output("again", OutputType.METRICS, {"metrics.json": b'{"one": 1}'})


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("metrics.json", b"{"),
        ("metrics.json", b"[1]"),
        ("metrics.json", b'{"a": "patient 7 is sick"}'),
        ("metrics.json", b'{"a": true}'),
        ("metrics.json", b'{"a": null}'),
        ("metrics.json", b'{"a": NaN}'),
        ("metrics.json", b'{"' + b"patient 7 is sick, " * 4 + b'": 1}'),
        ("metrics.txt", b'{"a": 1}'),
    ],
)
def test_l10_nothing_but_numbers_leaves_as_numbers(path: str, content: bytes) -> None:
    with pytest.raises(NumbersRefused):
        NumberControl(Level.L5).output("metrics", OutputType.METRICS, {path: content})
    for level, kind in ((Level.L4, OutputType.METRICS), (Level.L5, OutputType.WEIGHTS)):
        assert NumberControl(level).output("metrics", kind, {path: content}) == {path: content}


def test_l10_live_progress_ends_after_as_many_numbers() -> None:
    bounds = LEVELS[Level.L5].numbers
    assert bounds is not None
    control = NumberControl(Level.L5)
    assert control.progress({"loss": 0.987654321}) == {"loss": 0.9877}
    assert control.progress(dict.fromkeys(map(str, range(bounds.most - 1)), 0.5)) is not None
    assert control.progress({"loss": 0.5}) is None
    assert NumberControl(Level.L4).progress({"loss": 0.987654321}) == {"loss": 0.987654321}


def _left(level: str, metrics: dict[str, Any], store: Any) -> Any:
    """What the clinic reads of the metrics of a run."""
    agreed = contract(lambda value: value.update(level=level))
    content = json.dumps(metrics).encode()
    made = {"training.weights": {"w": b"x"}, "evaluation.metrics": {"metrics.json": content}}
    row = seal_outputs(agreed, RUN, made, store)["metrics"]
    clinic = member("clinic")
    purpose = wrap_purpose(agreed.id, RUN, "metrics")
    key = DataKey.unwrap(unb64(row.to[clinic.fingerprint]), clinic.keys.seal, row.asset, purpose)
    with VolumeReader.open(row.asset, store, key).open_file("metrics.json") as file:
        return json.loads(file.read())


def test_l10_what_is_sealed_was_rounded() -> None:
    assert _left("L5", {"auc": 0.123456}, MemoryStore()) == {"auc": 0.1235}
    assert _left("L4", {"auc": 0.123456}, MemoryStore()) == {"auc": 0.123456}
    store: Any = MemoryStore()
    with pytest.raises(NumbersRefused):
        _left("L5", {"n": [1] * 10_001}, store)
    assert not store.objects, "nothing is stored where one output is refused"


def test_l3_a_draft_without_a_level_has_the_strictest() -> None:
    assert "level" not in DRAFT
    resolved = resolve_draft(DRAFT, CastDirectory(), measurement=MEASUREMENT, now=NOW, nonce=NONCE)
    assert resolved.level is Level.L5
    lowered = resolve_draft('level = "L2"\n' + DRAFT, CastDirectory(), measurement=MEASUREMENT, now=NOW, nonce=NONCE)
    assert lowered.level is Level.L2


def _stored_sizes(level: str, length: int) -> dict[str, int]:
    agreed = contract(lambda value: value.update(level=level))
    made = {"training.weights": {"weights": bytes(length)}, "evaluation.metrics": {"metrics.json": b"{}"}}
    store = MemoryStore()
    return {name: row.stored_bytes for name, row in seal_outputs(agreed, RUN, made, store).items()}


def test_l4_sizes_of_outputs_tell_nothing_where_the_level_pads() -> None:
    assert _stored_sizes("L5", 40_001)["weights"] == _stored_sizes("L5", 40_100)["weights"]
    assert _stored_sizes("L4", 40_001)["weights"] != _stored_sizes("L4", 40_100)["weights"]


def test_l7_a_level_that_pads_takes_padded_inputs_only() -> None:
    check_padding(Level.L5, "records", padded=True)
    with pytest.raises(LevelRefused, match="records"):
        check_padding(Level.L5, "records", padded=False)
    for level in (Level.L1, Level.L2, Level.L3, Level.L4):
        check_padding(level, "records", padded=False)


@pytest.mark.parametrize("padding", ["padme", "none"])
def test_l7_the_enclave_asks_the_manifest(padding: Any) -> None:
    store: Any = MemoryStore()
    keys: dict[str, DataKey] = {}

    def change(value: dict[str, Any]) -> None:
        value["level"] = "L5"
        for item in value["inputs"].values():
            key = DataKey.generate()
            item["asset"] = write_volume([("a", [b"x"])], key, store, options=SealOptions(padding=padding)).asset
            keys[item["asset"]] = key

    agreed = contract(change)
    granted: Any = {item.owner: SimpleNamespace(data_keys=keys) for item in agreed.terms.inputs.values()}
    if padding == "padme":
        assert set(_open_inputs(agreed, granted, store)) == set(agreed.terms.inputs)
    else:
        with pytest.raises(LevelRefused, match="without padding"):
            _open_inputs(agreed, granted, store)


def _failure(level: str, error: Any, *, begun: bool = False) -> dict[str, Any]:
    agreed = contract(lambda value: value.update(level=level))
    launch = Launch(run=RUN, contract=agreed.envelope.to_dict(), store="", keepers={}, attester="none", checkpoints=[])
    sink = io.BytesIO()
    words = LastWords()
    if begun:
        words.begin()
    _fail(EventWriter(sink), launch, agreed, error, words)
    told: dict[str, Any] = json.loads(sink.getvalue())
    return told


def test_l5_the_host_reads_no_words_of_a_job_where_it_sees_no_logs() -> None:
    words = "column 'hiv status' holds 7 other values"
    for level in ("L2", "L3", "L4", "L5"):
        told = _failure(level, JobRefused(words))
        assert "hiv status" not in json.dumps(told)
        north = next(row for row in told["sealed"] if row["to"] == member("north").fingerprint)
        opened = open_failure(
            unb64(north["data"]),
            member("north").keys.seal,
            contract=contract(merge(level=level)).id,
            run=RUN,
        )
        assert opened.error.detail == words
    assert _failure("L1", JobRefused(words))["error"]["detail"] == words
    assert _failure("L5", Unavailable("The disk is full."))["error"]["detail"] == "The disk is full."


def test_l5_once_a_job_began_what_may_repeat_its_words_does_not_reach_the_host() -> None:
    for error in (PathRefused, EncodingRefused, GatewayBreached, OutputTooLarge, StagingRefused):
        told = _failure("L2", error("'hiv status' is no path"), begun=True)
        assert told["error"] == error().as_dict()
        assert len(told["sealed"]) == len(NAMES)
        assert "hiv" in json.dumps(_failure("L1", error("'hiv status' is no path"), begun=True)["error"])
    assert _failure("L2", PathRefused("an input's"))["error"]["detail"] == "an input's"  # no job spoke yet
    for own in (RunTooLong("It may take 5 seconds."), Unavailable("The disk is full.")):
        assert _failure("L5", own, begun=True)["error"]["detail"] == own.detail


def test_l6_the_level_cannot_be_lowered_under_signatures() -> None:
    envelope = signed()
    lowered = Envelope(CONTRACT_TYPE, _payload(lambda value: value.update(level="L1")), envelope.signatures)
    with pytest.raises(ContractSignatureRefused):
        verify_contract(lowered)
    some = raw_envelope({**terms_dict(), "level": "L1"}, signers=NAMES[1:])
    with pytest.raises(ContractSignatureRefused, match="north"):
        verify_contract(some)
