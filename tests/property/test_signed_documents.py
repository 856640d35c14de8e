"""Laws of everything that is read from others: whatever bytes come, the answer is the thing or an error of the tree."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from paddock.contract import (
    ContractEvent,
    ContractState,
    Request,
    next_state,
    open_proposal,
    resolve_draft,
    verify_contract,
    verify_request,
)
from paddock.contract.asset import AssetKind, read_asset
from paddock.contract.party import read_party
from paddock.contract.request import claimed_sender
from paddock.contract.states import FINAL
from paddock.contract.terms import read_terms
from paddock.crypto.canonical import canonical, parse, parse_canonical
from paddock.crypto.dsse import Envelope
from paddock.crypto.identity import PrivateKeys, PublicKeys
from paddock.crypto.signing import SigningKey
from paddock.enclave.launch import read_launch
from paddock.errors import PaddockError, StateRefused
from paddock.evidence import Binding, Collateral, UnverifiedEvidence, read_trust_policy, verify_evidence
from paddock.keeper.keeper import read_release_request
from paddock.receipt import verify_receipt
from paddock.receipt.failure import failure_info, open_failure
from paddock.receipt.progress import open_progress, progress_info
from paddock.release import decide, read_lease, read_release
from tests.fixtures.cast import MEASUREMENT, NONCE, NOW, RUN, CastDirectory, contract, member, signed, terms_dict
from tests.fixtures.keepers import release_body
from tests.fixtures.proof import POLICY, RUN_KEYS, binding, evidence, facts, request
from tests.fixtures.receipts import lease_statement, receipt, receipt_dict, release_statement

quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
Json = dict[str, Any]

texts = st.text(max_size=20) | st.sampled_from(["", "\ud800", "\x1b[2J", "２０", "sha256:", "a.b", "-", "0"])
leaves = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        found.extend(places(child, (*path, key)))
    return found


@st.composite
def mutated(draw: st.DrawFn, original: Any) -> Any:
    """A copy of some JSON with one to three places replaced, removed or added to."""
    value = json.loads(json.dumps(original))
    for _ in range(draw(st.integers(1, 3))):
        options = places(value)
        if not options:
            break
        *way, last = draw(st.sampled_from(options))
        parent = value
        for key in way:
            parent = parent[key]
        act = draw(st.sampled_from(["replace", "remove", "add"]))
        if act == "replace":
            parent[last] = draw(values)
        elif act == "remove":
            del parent[last]
        elif isinstance(parent, dict):
            parent[draw(texts)] = draw(values)
        else:
            parent.append(draw(values))
    return value


def only_refuses(act: Callable[[], object]) -> None:
    """Run it; an error outside the tree fails the test."""
    with contextlib.suppress(PaddockError):
        act()


def _payload(value: Any) -> bytes:
    """As canonical as the value lets itself be written."""
    try:
        return canonical(value)
    except PaddockError:
        return json.dumps(value).encode("utf-8", "surrogatepass")


NORTH = member("north")
AGREED = contract()
BOUND = binding(AGREED)
PROOF = evidence(BOUND.report_data())
RECORD = NORTH.record().sign(NORTH.keys)
ASSET = NORTH.asset("records", AssetKind.DATASET).sign(NORTH.keys)
ASKED = Request("a", {"x": 1}, "hub", NORTH.fingerprint, NOW, NONCE).sign(NORTH.keys.sign)
LEASE = lease_statement(AGREED, BOUND, "north").sign(NORTH.keeper)
RELEASE = release_statement(AGREED, BOUND, PROOF, "north").sign(NORTH.keeper)
RECEIPT = receipt()
LAUNCH = {
    "run": RUN,
    "contract": AGREED.envelope.to_dict(),
    "store": "",
    "keepers": {"a": "b"},
    "attester": "none",
    "checkpoints": [],
}
BODY = release_body(AGREED, BOUND)


def _read_request(envelope: Envelope) -> object:
    return verify_request(envelope, NORTH.public.sign, action="a", audience="hub", sender=NORTH.fingerprint, now=NOW)


def _read_receipt(envelope: Envelope) -> object:
    return verify_receipt(envelope, policy=POLICY, expected_contract=None)


READERS: dict[str, tuple[Envelope, SigningKey, Callable[[Envelope], object]]] = {
    "contract": (AGREED.envelope, NORTH.keys.sign, verify_contract),
    "proposal": (AGREED.envelope, NORTH.keys.sign, open_proposal),
    "party": (RECORD, NORTH.keys.sign, read_party),
    "asset": (ASSET, NORTH.keys.sign, lambda envelope: read_asset(envelope, NORTH.public)),
    "request": (ASKED, NORTH.keys.sign, _read_request),
    "sender": (ASKED, NORTH.keys.sign, claimed_sender),
    "lease": (LEASE, NORTH.keeper.sign, lambda envelope: read_lease(envelope, NORTH.keeper.public().sign)),
    "release": (RELEASE, NORTH.keeper.sign, lambda envelope: read_release(envelope, NORTH.keeper.public().sign)),
    "receipt": (RECEIPT, RUN_KEYS.sign, _read_receipt),
}


@pytest.mark.parametrize("name", sorted(READERS))
@quick
@given(data=st.data())
def test_signed_lies_are_refused_in_the_tree(name: str, data: st.DataObject) -> None:
    """Whoever may sign can sign anything."""
    envelope, key, read = READERS[name]
    read(envelope)
    lie = data.draw(mutated(json.loads(envelope.payload)))
    only_refuses(lambda: read(Envelope.sign(envelope.payload_type, _payload(lie), key, "")))


@pytest.mark.parametrize("name", sorted(READERS))
@quick
@given(data=st.data())
def test_any_bytes_and_any_envelope_are_refused_in_the_tree(name: str, data: st.DataObject) -> None:
    envelope, key, read = READERS[name]
    noise = data.draw(st.binary(max_size=200))
    only_refuses(lambda: read(Envelope.sign(envelope.payload_type, noise, key, "")))
    shape = data.draw(mutated(envelope.to_dict()))
    only_refuses(lambda: read(Envelope.from_dict(shape)))


@quick
@given(data=st.data())
def test_a_changed_contract_is_never_one_that_all_signed(data: st.DataObject) -> None:
    lie = data.draw(mutated(terms_dict()))
    payload = _payload(lie)
    if payload == AGREED.envelope.payload:
        return
    with pytest.raises(PaddockError):
        verify_contract(Envelope(AGREED.envelope.payload_type, payload, AGREED.envelope.signatures))


@quick
@given(data=st.data())
def test_a_changed_receipt_never_holds(data: st.DataObject) -> None:
    lie = data.draw(mutated(receipt_dict()))
    if lie == receipt_dict():
        return
    statement = json.loads(RECEIPT.payload)
    payload = _payload({**statement, "predicate": lie})
    with pytest.raises(PaddockError):
        _read_receipt(Envelope(RECEIPT.payload_type, payload, RECEIPT.signatures))


@quick
@given(data=st.data())
def test_evidence_in_any_form_is_refused_in_the_tree(data: st.DataObject) -> None:
    only_refuses(lambda: UnverifiedEvidence.from_wrapper(data.draw(values)))
    only_refuses(lambda: UnverifiedEvidence.from_wrapper(data.draw(mutated(PROOF.to_wrapper()))))
    body = json.loads(PROOF.body)
    changed = _payload(data.draw(mutated(body)))
    for other in (changed, data.draw(st.binary(max_size=200))):
        if other != PROOF.body:
            with pytest.raises(PaddockError):
                verify_evidence(replace(PROOF, body=other), policy=POLICY, collateral=Collateral(), now=NOW)


@quick
@given(data=st.data())
def test_a_release_body_in_any_form_is_refused_in_the_tree(data: st.DataObject) -> None:
    body = data.draw(mutated(BODY))
    known = facts(request())

    def act() -> None:
        decide(read_release_request(body), known, policy=POLICY, collateral=Collateral(), now=NOW)

    only_refuses(act)
    only_refuses(lambda: Binding.from_dict(data.draw(mutated(BOUND.to_dict()))))
    only_refuses(lambda: read_release_request({"contract": data.draw(values), "binding": {}, "evidence": None}))


@quick
@given(data=st.data())
def test_other_readers_refuse_in_the_tree(data: st.DataObject) -> None:
    noise = data.draw(st.binary(max_size=200))
    for read in (parse, parse_canonical, read_terms, Envelope.from_json, read_launch):
        only_refuses(lambda read=read: read(noise))  # type: ignore[misc]
    only_refuses(lambda: read_launch(_payload(data.draw(mutated(LAUNCH)))))
    only_refuses(lambda: PublicKeys.from_dict(data.draw(mutated(NORTH.public.to_dict()))))
    only_refuses(lambda: PrivateKeys.from_secret_dict(data.draw(mutated(NORTH.keys.to_secret_dict()))))
    text = data.draw(st.text(max_size=60))
    only_refuses(lambda: read_trust_policy(text))
    only_refuses(lambda: resolve_draft(text, CastDirectory(), measurement=MEASUREMENT, now=NOW, nonce=NONCE))


@quick
@given(data=st.data())
def test_sealed_messages_from_anybody_are_refused_in_the_tree(data: st.DataObject) -> None:
    key, agreed = NORTH.keys.seal, AGREED.id
    value = data.draw(
        mutated({"body": {"step": "a", "done": 1, "total": 2, "values": {"loss": 1.0}, "sequence": 0}, "sig": "AA=="})
        | mutated({"code": "E-RUN-05", "detail": "x", "branch": "refused"})
    )
    plain = json.dumps(value).encode("utf-8", "surrogatepass")
    progress = key.recipient.seal(plain, progress_info(agreed, RUN, 0))
    failure = key.recipient.seal(plain, failure_info(agreed, RUN))
    only_refuses(lambda: open_progress(progress, key, contract=agreed, run=RUN, sequence=0))
    only_refuses(lambda: open_failure(failure, key, contract=agreed, run=RUN))


@quick
@given(st.dictionaries(st.text(max_size=10), values, max_size=4))
def test_canonical_json_comes_back_the_same(value: Json) -> None:
    try:
        written = canonical(value)
        # An integral float from 2**53 to 1e21 is written as digits, and such an integer is refused.
        again = parse_canonical(written)
    except PaddockError:
        return
    assert canonical(again) == written


class Life(RuleBasedStateMachine):
    """Walks of a contract: whatever is tried in whatever order, what is final stays, and nothing runs unsigned."""

    def __init__(self) -> None:
        super().__init__()
        self.state = ContractState.PROPOSED
        self.was_signed = False

    @rule(event=st.sampled_from(ContractEvent))
    def happen(self, event: ContractEvent) -> None:
        before = self.state
        try:
            self.state = next_state(before, event)
        except StateRefused:
            return
        assert before not in FINAL
        if event is ContractEvent.ALL_SIGNED:
            self.was_signed = True

    @precondition(lambda self: self.state in FINAL)
    @rule(event=st.sampled_from(ContractEvent))
    def stays(self, event: ContractEvent) -> None:
        with pytest.raises(StateRefused):
            next_state(self.state, event)

    @invariant()
    def runs_only_what_all_signed(self) -> None:
        if self.state in (ContractState.ACTIVE, ContractState.RUNNING, ContractState.FAILED, ContractState.FULFILLED):
            assert self.was_signed


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=40, deadline=None)


def test_every_reader_reads_what_is_honest() -> None:
    assert signed() == AGREED.envelope
    assert (
        decide(read_release_request(BODY), facts(request()), policy=POLICY, collateral=Collateral(), now=NOW).run == RUN
    )
    assert read_launch(json.dumps(LAUNCH).encode()).run == RUN
