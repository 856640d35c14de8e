"""One test or more per rule of docs/spec/release.md; each tries to break its rule."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from paddock import ledger
from paddock.contract import CONTRACT_TYPE, Level, Request, SignedContract
from paddock.crypto.canonical import canonical, parse
from paddock.crypto.digest import b64, sha256_id, unb64
from paddock.crypto.dsse import Envelope
from paddock.crypto.hpke import RecipientKey
from paddock.crypto.identity import PrivateKeys
from paddock.crypto.moment import read_moment, write_moment
from paddock.enclave.leases import Leases
from paddock.errors import (
    AssetNotDeposited,
    AttemptSuperseded,
    BindingMismatch,
    ChallengeRefused,
    CollateralInvalid,
    ContractNotInForce,
    ContractSignatureRefused,
    DebugRefused,
    EvidenceMissing,
    EvidenceNotTrusted,
    EvidenceStale,
    GrantRefused,
    LeaseLost,
    LeaseRefused,
    LevelRefused,
    MeasurementRefused,
    NotOurContract,
    Refused,
    RequestRefused,
    RequestReplayed,
    Revoked,
    RunFinished,
    RunKeyChanged,
    RunsUsedUp,
    SimulatedRefused,
    StatementRefused,
    TermsRefused,
    TrustPolicyInvalid,
    Unavailable,
)
from paddock.evidence import Challenge, Collateral, EvidenceSet, TrustPolicy
from paddock.evidence.collateral import CollateralItem
from paddock.keeper.collateral import CollateralStore
from paddock.keeper.home import DATABASE
from paddock.keeper.keeper import read_release_request
from paddock.release import ReleaseRequest, decide, grant_info, read_answer, read_lease, read_release, sign_answer
from paddock.release.statements import LEASE_TYPE, RELEASE_TYPE
from tests.fixtures.cast import (
    MEASUREMENT,
    NAMES,
    NOW,
    OTHER_SIMULATOR,
    RUN,
    STRANGER,
    Change,
    member,
    merge,
    minutes,
    private_keys,
    sign_all,
    signed,
    terms_dict,
)
from tests.fixtures.cast import contract as make_contract
from tests.fixtures.keepers import (
    KeptBy,
    bound_to,
    data_key,
    deposit_all,
    enclave_side,
    make_keeper,
    release,
    release_body,
)
from tests.fixtures.proof import RUN_KEYS, binding, evidence, facts, judge, request
from tests.fixtures.receipts import lease_statement, release_statement

OTHER_RUN = "f" * 32


def _rebound(asked: ReleaseRequest, **changes: Any) -> ReleaseRequest:
    """Another binding, with genuine evidence over it: what a simulator signs for anybody who asks."""
    bound = replace(asked.binding, **changes)
    return replace(asked, binding=bound, evidence=EvidenceSet.single(evidence(bound.report_data())))


def test_an_honest_request_is_granted_to_every_party() -> None:
    asked = request()
    owned = {name: judge(asked, facts(asked, name)).assets for name in NAMES}
    assert [len(owned[name]) for name in NAMES] == [1, 1, 1, 1, 0]
    assert not judge(asked).is_retry


# --- 2. the decision ---


def test_r1_a_contract_that_one_party_did_not_sign_releases_nothing() -> None:
    asked = request()
    for absent in NAMES:
        unsigned = signed(signers=tuple(name for name in NAMES if name != absent))
        with pytest.raises(ContractSignatureRefused):
            judge(replace(asked, contract=unsigned), facts(asked))
    with pytest.raises(ContractSignatureRefused):
        judge(replace(asked, contract=sign_all(signed(), (STRANGER,))), facts(asked))


def test_r1_terms_that_break_a_rule_release_nothing_though_all_signed() -> None:
    value = terms_dict()
    value["outputs"]["weights"]["to"] = [STRANGER]
    envelope = sign_all(Envelope(CONTRACT_TYPE, canonical(value), ()))
    with pytest.raises(TermsRefused):
        judge(replace(request(), contract=envelope), facts(request()))


def test_r2_a_keeper_that_the_contract_does_not_name_refuses() -> None:
    asked = request()
    lies: list[dict[str, Any]] = [
        {"party": member(STRANGER).public},
        {"keeper": member(STRANGER).keeper.public()},
        {"keeper": member("south").keeper.public()},
        {"party": member("south").public},
        {"keeper": replace(member("north").keeper.public(), seal=member("south").keeper.public().seal)},
    ]
    for changes in lies:
        with pytest.raises(NotOurContract):
            judge(asked, facts(asked, **changes))


def test_r3_what_was_revoked_is_not_released_even_to_a_retry() -> None:
    asked = request()
    with pytest.raises(Revoked, match="changed our mind"):
        judge(asked, facts(asked, revoked="changed our mind"))
    with pytest.raises(Revoked):
        judge(asked, facts(asked, revoked="", attempts=(RUN_KEYS.public().fingerprint(),), runs_used=1))


def test_r4_a_contract_counts_from_creation_to_expiry_by_the_keepers_clock() -> None:
    asked = request()
    expiry = read_moment("2027-01-31T00:00:00Z")
    for now in (expiry, expiry + timedelta(days=1), NOW - timedelta(seconds=61)):
        with pytest.raises(ContractNotInForce):
            judge(asked, now=now)
    judge(asked, now=NOW - timedelta(seconds=60))


def test_r5_a_binding_for_another_contract_or_no_run_is_refused() -> None:
    asked = request()
    for changes in (
        {"contract": make_contract(lambda value: value.update(nonce="f" * 32)).id},
        {"run": RUN.upper()},
        {"run": RUN + "0"},
        {"run": RUN[:-1] + "\n"},
        {"run": "../" + RUN[3:]},
    ):
        with pytest.raises(ChallengeRefused, match="binding"):
            judge(_rebound(asked, **changes), facts(asked))


def test_r6_one_challenge_of_every_keeper_in_order() -> None:
    asked = request()
    first, second, *rest = asked.binding.challenges
    stranger = Challenge(member(STRANGER).keeper.public().fingerprint(), "0" * 64)
    for challenges in (
        (),
        (first,),
        (second, first, *rest),
        (first, second, *rest[:-1]),
        (first, second, *rest, first),
        (first, first, second, *rest),
        (first, second, *rest[:-1], stranger),
    ):
        with pytest.raises(ChallengeRefused, match="one challenge of every"):
            judge(_rebound(asked, challenges=challenges), facts(asked))


def test_r6_only_a_live_nonce_of_its_own_for_this_contract_and_run() -> None:
    asked = request()
    good = facts(asked).challenge
    assert good is not None
    for challenge, saying in (
        (None, "not issued"),
        (replace(good, nonce="0" * 64), "not issued"),
        (replace(good, contract="sha256:" + "0" * 64), "another contract"),
        (replace(good, run=OTHER_RUN), "another contract or run"),
        (replace(good, expires=NOW), "expired"),
        (replace(good, used=True), "used already"),
    ):
        with pytest.raises(ChallengeRefused, match=saying):
            judge(asked, facts(asked, challenge=challenge))
    other = facts(asked, challenge=replace(good, used=True), attempts=(private_keys("x").public().fingerprint(),))
    with pytest.raises(ChallengeRefused, match="used already"):
        judge(asked, other)


def test_r7_no_evidence_only_where_the_level_demands_none() -> None:
    for level in Level:
        asked = replace(request(merge(level=level)), evidence=None)
        if level is Level.L1:
            assert judge(asked).verdict is None
        else:
            with pytest.raises(EvidenceMissing):
                judge(asked)


def test_r7_evidence_that_is_replayed_borrowed_old_or_forged_is_refused() -> None:
    asked = request()
    thief = private_keys("thief")
    stolen = replace(asked.binding, keys=thief.public())
    with pytest.raises(BindingMismatch):  # genuine evidence of another run's key
        judge(replace(asked, binding=stolen), facts(asked))
    with pytest.raises(BindingMismatch):
        judge(replace(asked, evidence=EvidenceSet.single(evidence(bytes(64)))), facts(asked))
    with pytest.raises(EvidenceStale):
        judge(request(issued="2026-11-01T11:54:59Z"))
    other = evidence(asked.binding.report_data(), OTHER_SIMULATOR)
    with pytest.raises(EvidenceNotTrusted):
        judge(replace(asked, evidence=EvidenceSet.single(other)))
    with pytest.raises(DebugRefused):
        judge(request(debug=True))
    with pytest.raises(EvidenceNotTrusted):
        decide(asked, facts(asked), policy=TrustPolicy(), collateral=Collateral(), now=NOW)


def test_r8_an_environment_below_the_level_is_refused() -> None:
    for tee in ("none", "software", "tpm", "confidential-vm", "sealed-vm", "quantum", "-"):
        with pytest.raises(LevelRefused):
            judge(request(tee=tee))  # a machine is sealed if the policy says so of its measurement
    judge(request(tee="enclave"))


def test_r8_simulation_needs_every_partys_signature() -> None:
    with pytest.raises(SimulatedRefused):
        judge(request(lambda value: value["environment"].update(simulated=False)))
    with pytest.raises(SimulatedRefused):  # at no level
        judge(request(lambda value: (value.update(level="L1"), value["environment"].update(simulated=False))))


def test_r9_a_runtime_that_was_not_signed_is_refused() -> None:
    other = sha256_id(b"a runtime with a back door")
    with pytest.raises(MeasurementRefused, match=other):
        judge(request(measurement=other))
    judge(request(lambda value: value["environment"].update(measurements=[other, MEASUREMENT])))
    assert judge(request(lambda value: value.update(level="L1"), measurement=other)).verdict is not None


def test_r10_no_run_more_than_signed() -> None:
    asked = request()
    judge(asked, facts(asked, runs_used=1))
    for used in (2, 3, 10**6):
        with pytest.raises(RunsUsedUp):
            judge(asked, facts(asked, runs_used=used))


def test_r11_an_attempt_keeps_its_key() -> None:
    asked = request()
    own, other = RUN_KEYS.public().fingerprint(), private_keys("x").public().fingerprint()
    for before in ((own,), (other, own)):
        again = judge(asked, facts(asked, attempts=before, runs_used=2))
        assert (again.is_retry, again.attempt) == (True, len(before))
    first = judge(asked)
    assert (first.is_retry, first.attempt) == (False, 1)


def test_r21_no_attempt_more_than_signed() -> None:
    asked = request()
    keys = [private_keys(str(number)).public().fingerprint() for number in range(4)]
    second = judge(asked, facts(asked, attempts=tuple(keys[:1]), runs_used=2))
    assert (second.is_retry, second.attempt) == (False, 2)
    for used in (2, 3, 4):
        with pytest.raises(RunKeyChanged, match="2 attempts"):
            judge(asked, facts(asked, attempts=tuple(keys[:used])))
    once = request(merge("limits", attempts=1))
    judge(once)
    with pytest.raises(RunKeyChanged):
        judge(once, facts(once, attempts=tuple(keys[:1])))


def test_r22_an_attempt_that_was_given_up_gets_nothing(kept: KeptBy, agreed: SignedContract) -> None:
    asked = request(merge("limits", attempts=100))
    own, other = RUN_KEYS.public().fingerprint(), private_keys("x").public().fingerprint()
    with pytest.raises(AttemptSuperseded):
        judge(asked, facts(asked, attempts=(own, other)))
    later = private_keys("later")
    release(kept, agreed)
    kept.keeper.renew(_renewal(kept, agreed))
    release(kept, agreed, keys=later)
    kept.restart()
    for final in (False, True):
        body = {"contract": agreed.id, "run": RUN, "final": final}
        nonce = f"1{final:031}"
        with pytest.raises(AttemptSuperseded):
            kept.keeper.renew(_renewal(kept, agreed, body=body, nonce=nonce))
        assert kept.keeper.renew(_renewal(kept, agreed, later, body=body, nonce=nonce))
    with pytest.raises(RunFinished):
        release(kept, agreed, keys=later)


def test_r23_after_its_last_lease_a_run_gets_nothing(kept: KeptBy, agreed: SignedContract) -> None:
    with pytest.raises(RunFinished):
        judge(request(), facts(request(), attempts=(RUN_KEYS.public().fingerprint(),), finished=True))
    release(kept, agreed)
    last = {"contract": agreed.id, "run": RUN, "final": True}
    lease = kept.keeper.renew(_renewal(kept, agreed, body=last))["lease"]
    assert read_lease(Envelope.from_dict(lease), kept.owner.keeper.public().sign).final
    assert kept.keeper.renew(_renewal(kept, agreed, body=last, nonce="1" * 32))  # its answer may have been lost
    kept.restart()
    with pytest.raises(RunFinished):
        kept.keeper.renew(_renewal(kept, agreed, nonce="2" * 32))
    for keys in (RUN_KEYS, private_keys("another attempt")):
        with pytest.raises(RunFinished):
            release(kept, agreed, keys=keys)
    release(kept, agreed, run=OTHER_RUN, keys=private_keys("another run"))
    acts = [json.loads(leaf)["act"] for leaf in _leaves(kept)]
    assert acts.count("finish") == 1


def test_r24_all_attempts_share_a_secret_that_ends_with_the_run(kept: KeptBy, agreed: SignedContract) -> None:
    def secret_of(answer: dict[str, Any], keys: PrivateKeys, run: str = RUN) -> object:
        info = grant_info(agreed.id, run, kept.owner.keeper.public().fingerprint())
        return parse(keys.seal.open(unb64(answer["grant"]), info))["checkpoint"]

    later, other = private_keys("later"), private_keys("another run")
    first = secret_of(release(kept, agreed), RUN_KEYS)
    assert len(unb64(first, 32)) == 32
    assert secret_of(release(kept, agreed), RUN_KEYS) == first  # a retry
    kept.restart()
    assert secret_of(release(kept, agreed, keys=later), later) == first
    assert secret_of(release(kept, agreed, run=OTHER_RUN, keys=other), other, OTHER_RUN) != first
    assert _secrets_kept(kept) == 2
    last = {"contract": agreed.id, "run": RUN, "final": True}
    kept.keeper.renew(_renewal(kept, agreed, later, body=last))
    assert _secrets_kept(kept) == 1
    kept.revoke(agreed.terms.inputs["north"].asset)
    assert _secrets_kept(kept) == 0


def test_r24_a_run_of_one_attempt_has_no_secret(kept: KeptBy) -> None:
    once = make_contract(merge("limits", attempts=1))
    info = grant_info(once.id, RUN, kept.owner.keeper.public().fingerprint())
    deposit_all(kept, once)
    assert parse(RUN_KEYS.seal.open(unb64(release(kept, once)["grant"]), info))["checkpoint"] is None
    assert _secrets_kept(kept) == 0


def test_r24_secrets_of_contracts_that_are_over_are_forgotten(kept: KeptBy, agreed: SignedContract) -> None:
    release(kept, agreed)
    longer = make_contract(lambda value: value.update(expires="2028-01-31T00:00:00Z"))
    deposit_all(kept, longer)
    release(kept, longer)
    assert _secrets_kept(kept) == 2
    kept.clock.now = read_moment(agreed.terms.expires) + timedelta(seconds=1)
    bound = bound_to({"north": kept}, longer, run=OTHER_RUN, keys=private_keys("another run"))
    body = release_body(longer, bound, issued=write_moment(kept.clock.now))
    kept.keeper.release(read_release_request(body))
    assert _secrets_kept(kept) == 2


@pytest.mark.parametrize("act", ["challenge", "deposit"])
def test_r24_whatever_a_keeper_writes_forgets_secrets_of_contracts_that_are_over(
    kept: KeptBy, agreed: SignedContract, act: str
) -> None:
    release(kept, agreed)
    assert _secrets_kept(kept) == 1
    kept.clock.now = read_moment(agreed.terms.expires) + timedelta(seconds=1)
    if act == "challenge":
        kept.keeper.challenge(agreed.id, OTHER_RUN)
    else:
        deposit_all(kept, agreed)
    assert _secrets_kept(kept) == 0


def _secrets_kept(kept: KeptBy) -> int:
    with sqlite3.connect(kept.home.folder / DATABASE) as connection:
        return int(connection.execute("select count(*) from checkpoint_secrets").fetchone()[0])


def _leaves(kept: KeptBy) -> list[bytes]:
    with sqlite3.connect(kept.home.folder / DATABASE) as connection:
        return [row[0] for row in connection.execute("select leaf from ledger_leaves order by number")]


def test_r12_nothing_is_granted_unless_everything_is_there() -> None:
    asked = request(lambda value: value["inputs"]["south"].update(owner="north"))
    both = facts(asked).deposits
    assert len(judge(asked).assets) == 2
    for missing in judge(asked).assets:
        with pytest.raises(AssetNotDeposited):
            judge(asked, facts(asked, deposits=both - {missing}))


# --- 3. release and lease, over a real database ---


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[KeptBy]:
    made = make_keeper(tmp_path, "north")
    yield made
    made.keeper.close()


@pytest.fixture
def agreed(kept: KeptBy) -> SignedContract:
    contract = make_contract()
    deposit_all(kept, contract)
    return contract


def _size(kept: KeptBy) -> int:
    key = kept.owner.keeper.public().sign
    return ledger.read_checkpoint(kept.keeper.checkpoint(), key, origin=kept.keeper.origin()).size


class _Crash(BaseException):
    """The process ends here."""


def test_r13_the_release_is_on_disk_before_it_is_answered(
    kept: KeptBy, agreed: SignedContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = bound_to({"north": kept}, agreed)
    asked = read_release_request(release_body(agreed, bound))
    before = _size(kept)

    seal = RecipientKey.seal

    def crash(key: RecipientKey, message: bytes, info: bytes) -> bytes:
        if info.startswith(b"paddock/grant"):  # the answer is being made
            raise _Crash
        return seal(key, message, info)

    with monkeypatch.context() as patch:
        patch.setattr("paddock.crypto.hpke.RecipientKey.seal", crash)
        with pytest.raises(_Crash):
            kept.keeper.release(asked)
    kept.restart()
    assert _size(kept) == before + 1
    assert len(kept.account()["releases"]) == 1
    answer = kept.keeper.release(asked)  # the same run with the same key asks again
    statement = read_release(Envelope.from_dict(answer["release"]), kept.owner.keeper.public().sign)
    assert statement.ledger_index == before
    leaf = ledger.leaf_hash(canonical({"act": "release", **_public(statement.model_dump(mode="json"))}))
    proof = [bytes.fromhex(text) for text in kept.keeper.inclusion(before, before + 1)]
    key = kept.owner.keeper.public().sign
    root = ledger.read_checkpoint(kept.keeper.checkpoint(), key, origin=kept.keeper.origin()).root
    ledger.verify_inclusion(leaf, before, before + 1, proof, root)
    assert _size(kept) == before + 1


def _public(statement: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in statement.items() if key != "ledger_index"}


def test_r13_a_crash_before_the_commit_releases_and_counts_nothing(
    kept: KeptBy, agreed: SignedContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = bound_to({"north": kept}, agreed)
    before = _size(kept)

    def crash(*_: object) -> int:
        raise _Crash

    asked = read_release_request(release_body(agreed, bound))
    with monkeypatch.context() as patch:
        patch.setattr("paddock.ledger.log.append", crash)
        with pytest.raises(_Crash):
            kept.keeper.release(asked)
    kept.restart()
    assert kept.account()["releases"] == []
    assert _size(kept) == before


def test_r13_nothing_is_written_of_a_refusal(kept: KeptBy, agreed: SignedContract) -> None:
    before = _size(kept)
    bound = bound_to({"north": kept}, agreed)
    asked = read_release_request(release_body(agreed, bound, measurement=sha256_id(b"x")))
    with pytest.raises(MeasurementRefused):
        kept.keeper.release(asked)
    assert _size(kept) == before
    assert kept.account()["releases"] == []


def _opened(answer: dict[str, Any], contract: SignedContract, keys: PrivateKeys = RUN_KEYS) -> dict[str, Any]:
    info = grant_info(contract.id, RUN, member("north").keeper.public().fingerprint())
    return parse(keys.seal.open(unb64(answer["grant"]), info))


def test_r13_data_keys_open_for_the_run_key_alone(kept: KeptBy, agreed: SignedContract) -> None:
    answer = release(kept, agreed)
    asset = agreed.terms.inputs["north"].asset
    opened = _opened(answer, agreed)
    assert set(opened) == {"keys", "checkpoint"}
    assert opened["keys"] == {asset: b64(data_key(asset).raw())}
    with pytest.raises(Refused):
        _opened(answer, agreed, keys=private_keys("another run"))
    with pytest.raises(Refused):
        _opened(answer, make_contract(lambda value: value.update(nonce="f" * 32)))
    assert b64(data_key(asset).raw()) not in json.dumps(answer)


def test_r14_a_release_statement_is_the_keepers_own() -> None:
    contract = make_contract()
    bound = binding(contract)
    keeper = member("north").keeper
    good = release_statement(contract, bound, None, "north")
    envelope = good.sign(keeper)
    assert read_release(envelope, keeper.public().sign) == good
    value = good.model_dump(mode="json")
    bad = [
        good.sign(member("south").keeper),
        Envelope.sign(LEASE_TYPE, envelope.payload, keeper.sign, ""),
        Envelope(RELEASE_TYPE, envelope.payload, ()),
        Envelope(
            RELEASE_TYPE, envelope.payload.replace(b'"simulated":false', b'"simulated":true '), envelope.signatures
        ),
        Envelope.sign(RELEASE_TYPE, b" " + envelope.payload, keeper.sign, ""),
        Envelope.sign(RELEASE_TYPE, canonical({**value, "more": 1}), keeper.sign, ""),
        Envelope.sign(RELEASE_TYPE, canonical({**value, "ledger_index": -1}), keeper.sign, ""),
        Envelope.sign(RELEASE_TYPE, canonical({**value, "run": "x"}), keeper.sign, ""),
        lease_statement(contract, bound, "north").sign(keeper),
    ]
    for other in bad:
        with pytest.raises(StatementRefused):
            read_release(other, keeper.public().sign)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[SignedContract, dict[str, KeptBy]]]:
    """A contract of two parties at level 1, where no evidence is needed, and both their keepers."""

    def change(value: dict[str, Any]) -> None:
        value.update(level="L1", parties={name: value["parties"][name] for name in ("north", "modelco")})
        value.update(inputs={name: value["inputs"][name] for name in ("north", "network")})
        value.update(steps=value["steps"][:1], outputs={"weights": value["outputs"]["weights"]})
        value["steps"][0]["inputs"]["data"] = ["north"]

    contract = _two_signed(change)
    keepers = {name: make_keeper(tmp_path, name) for name in ("modelco", "north")}
    for each in keepers.values():
        each.clock.now = datetime.now(UTC)  # the enclave signs its renewals by the real clock
        deposit_all(each, contract)
    yield contract, keepers
    for each in keepers.values():
        each.keeper.close()


def _two_signed(change: Change) -> SignedContract:
    from paddock.contract import verify_contract

    def current(value: dict[str, Any]) -> None:
        change(value)
        value.update(created=write_moment(datetime.now(UTC)), expires=write_moment(datetime.now(UTC) + minutes(60)))

    return verify_contract(signed(current, signers=("north", "modelco")))


def _lying(lie: dict[str, Any], path: str = "/v1/releases") -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """Somebody between enclave and keeper who changes the answers of one address."""
    return lambda asked, answer: {**answer, **lie} if asked == path else answer


def test_r14_the_enclave_takes_no_answer_but_its_keepers_own_for_this_run(
    two: tuple[SignedContract, dict[str, KeptBy]],
) -> None:
    contract, keepers = two
    side, clients = enclave_side(keepers, contract)
    granted = side.release(side.challenge(), None)
    assert {name: set(row.data_keys) for name, row in granted.items()} == {
        name: {item.asset for _, item in contract.terms.inputs_of(name)} for name in ("north", "modelco")
    }
    good = granted["north"]
    keeper = member("north").keeper
    asset = contract.terms.inputs["north"].asset
    info = grant_info(contract.id, RUN, keeper.public().fingerprint())

    def sealed(keys: dict[str, Any]) -> str:
        return b64(RUN_KEYS.seal.recipient.seal(canonical(keys), info))

    other_run = good.statement.model_copy(update={"run": OTHER_RUN}).sign(keeper).to_dict()
    other_key = good.statement.model_copy(update={"run_key": member("south").fingerprint}).sign(keeper).to_dict()
    other_keeper = good.statement.model_copy(update={"keeper": member("south").fingerprint}).sign(keeper).to_dict()
    other_assets = good.statement.model_copy(update={"assets": []}).sign(keeper).to_dict()
    other_evidence = good.statement.model_copy(update={"evidence": sha256_id(b"x")}).sign(keeper).to_dict()
    mistaken = (other_run, other_key, other_keeper, other_assets, other_evidence)
    secret_key = b64(data_key(asset).raw())
    lies: list[dict[str, Any]] = [
        {"release": good.statement.sign(member(STRANGER).keeper).to_dict()},
        {"release": granted["modelco"].release.to_dict()},
        {"release": other_run},
        {"release": other_key},
        {"release": other_keeper},
        {"release": other_assets},
        {"release": other_evidence},
        {"release": None},
        {"grant": None},
        {"grant": b64(bytes(2000))},
        {"grant": sealed({})},
        {"grant": sealed({asset: secret_key})},
        {"grant": sealed({"keys": [], "checkpoint": secret_key})},
        {"grant": sealed({"keys": {}, "checkpoint": secret_key})},
        {"grant": sealed({"keys": {asset: secret_key, "sha256:" + "0" * 64: secret_key}, "checkpoint": secret_key})},
        {"grant": sealed({"keys": {asset: "AAAA"}, "checkpoint": secret_key})},
        {"grant": sealed({"keys": {asset: secret_key}, "checkpoint": secret_key, "more": 1})},
        # without this keeper's part, the others alone would open what the run leaves behind.
        {"grant": sealed({"keys": {asset: secret_key}, "checkpoint": None})},
        {"grant": sealed({"keys": {asset: secret_key}, "checkpoint": "AAAA"})},
        {"lease": None},
    ]
    for lie in lies:
        clients["north"].between = _lying(lie)
        forged = lie.get("release") and lie["release"] not in mistaken
        with pytest.raises(StatementRefused if forged else GrantRefused):
            side.release(side.challenge(), None)


def test_r15_a_lease_is_the_keepers_own_and_is_nothing_else() -> None:
    contract = make_contract()
    keeper = member("north").keeper
    good = lease_statement(contract, binding(contract), "north")
    envelope = good.sign(keeper)
    assert read_lease(envelope, keeper.public().sign) == good
    longer = envelope.payload.replace(b'"until":"2026', b'"until":"2036')
    assert longer != envelope.payload
    bad = [
        good.sign(member("south").keeper),
        Envelope(LEASE_TYPE, longer, envelope.signatures),
        Envelope(LEASE_TYPE, envelope.payload, ()),
        release_statement(contract, binding(contract), None, "north").sign(keeper),
        Envelope.sign(LEASE_TYPE, canonical({**good.model_dump(mode="json"), "more": 1}), keeper.sign, ""),
        Envelope.sign(LEASE_TYPE, canonical({**good.model_dump(mode="json"), "until": "later"}), keeper.sign, ""),
    ]
    for other in bad:
        with pytest.raises(LeaseRefused):
            read_lease(other, keeper.public().sign)


def test_r15_a_lease_ends_with_its_length_and_with_the_contract(kept: KeptBy, agreed: SignedContract) -> None:
    def until(answer: dict[str, Any]) -> datetime:
        lease = read_lease(Envelope.from_dict(answer["lease"]), kept.owner.keeper.public().sign)
        return read_moment(lease.until)

    assert until(release(kept, agreed)) == NOW + timedelta(seconds=30)
    expiry = read_moment(agreed.terms.expires)
    kept.clock.now = expiry - timedelta(seconds=10)
    assert until(kept.keeper.renew(_renewal(kept, agreed))) == expiry
    kept.clock.now = expiry
    with pytest.raises(LeaseRefused):
        kept.keeper.renew(_renewal(kept, agreed, nonce="1" * 32))


def _renewal(
    kept: KeptBy, contract: SignedContract, keys: PrivateKeys = RUN_KEYS, run: str = RUN, **changes: Any
) -> Envelope:
    values: dict[str, Any] = {
        "action": "lease.renew",
        "body": {"contract": contract.id, "run": run, "final": False},
        "audience": kept.owner.keeper.public().fingerprint(),
        "by": keys.public().fingerprint(),
        "at": kept.clock(),
        "nonce": "0" * 32,
        **changes,
    }
    return Request(**values).sign(keys.sign)


def test_r15_only_the_run_key_renews_for_its_own_run_and_once(kept: KeptBy, agreed: SignedContract) -> None:
    with pytest.raises(LeaseRefused):  # before any release
        kept.keeper.renew(_renewal(kept, agreed))
    release(kept, agreed)
    thief = private_keys("thief")
    with pytest.raises(LeaseRefused):
        kept.keeper.renew(_renewal(kept, agreed, thief))
    with pytest.raises(RequestRefused):  # says it is the run, and is not
        kept.keeper.renew(_renewal(kept, agreed, thief, by=RUN_KEYS.public().fingerprint()))
    for body in (
        {"contract": agreed.id, "run": OTHER_RUN, "final": False},
        {"contract": "sha256:" + "0" * 64, "run": RUN, "final": False},
        {"contract": agreed.id, "run": RUN, "final": False, "seconds": 10**6},
        {"contract": agreed.id, "run": None, "final": False},
        {"contract": agreed.id, "run": RUN, "final": 1},
        {"contract": agreed.id, "run": RUN},
        {},
    ):
        with pytest.raises(LeaseRefused):
            kept.keeper.renew(_renewal(kept, agreed, body=body))
    for changes in ({"audience": "hub"}, {"action": "deposit"}, {"at": NOW - minutes(6)}):
        with pytest.raises(RequestRefused):
            kept.keeper.renew(_renewal(kept, agreed, **changes))
    good = _renewal(kept, agreed)
    assert kept.keeper.renew(good)["lease"]
    with pytest.raises(RequestReplayed):
        kept.keeper.renew(good)


def test_r15_an_old_or_foreign_lease_prolongs_nothing(two: tuple[SignedContract, dict[str, KeptBy]]) -> None:
    contract, keepers = two
    side, clients = enclave_side(keepers, contract)
    side.release(side.challenge(), None)
    old: list[dict[str, Any]] = []
    clients["north"].between = lambda _path, answer: old.append(answer) or answer  # type: ignore[func-returns-value]
    side.renew()
    clients["north"].between = lambda _path, _answer: old[0]
    with pytest.raises(LeaseRefused, match="old one"):
        side.renew()
    no_leases: list[dict[str, Any]] = [{"lease": None}, {"lease": {}}, {"lease": []}]
    for lie in no_leases:
        clients["north"].between = _lying(lie, path="/v1/leases")
        with pytest.raises(LeaseRefused):
            side.renew()


class _Scripted:
    """Keepers that answer as a test says; stands for `Keepers` inside `Leases`."""

    def __init__(self) -> None:
        self.answer: Callable[[], dict[str, Any]] = dict
        self.asked = 0
        self.finals: list[bool] = []

    def renew(self, *, final: bool = False) -> dict[str, Any]:
        self.asked += 1
        self.finals.append(final)
        return self.answer()


def _raising(error: Exception) -> Callable[[], dict[str, Any]]:
    def answer() -> dict[str, Any]:
        raise error

    return answer


def _leases(scripted: _Scripted, seconds: float, *, asked: float | None = None) -> Leases:
    class _Row:
        lease = None
        leased = lease_statement(make_contract(), binding(make_contract()), "north", until="2099-01-01T00:00:00Z")

    scripted.answer = lambda: {"north": (None, _Row.leased)}
    return Leases(
        scripted,  # type: ignore[arg-type]
        {"north": _Row()},  # type: ignore[dict-item]
        seconds,  # type: ignore[arg-type]
        asked=time.monotonic() if asked is None else asked,
    )


def _wait_until_lost(leases: Leases) -> LeaseLost:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            leases.check()
        except LeaseLost as error:
            return error
        time.sleep(0.01)
    raise AssertionError("the lease was never lost")


def test_r16_one_refusal_ends_the_run() -> None:
    scripted = _Scripted()
    leases = _leases(scripted, 0.3)
    leases.check()
    scripted.answer = _raising(Revoked("Its reason: enough."))
    lost = _wait_until_lost(leases)
    assert "enough" in lost.detail
    scripted.answer = dict  # and it stays lost
    with pytest.raises(LeaseLost):
        leases.check()
    with pytest.raises(LeaseLost):
        leases.finish(NOW)


def test_r16_silence_ends_the_run_when_the_lease_does() -> None:
    scripted = _Scripted()
    leases = _leases(scripted, 0.4)
    scripted.answer = _raising(Unavailable())
    _wait_until_lost(leases)
    with pytest.raises(LeaseLost):
        leases.finish(NOW)


def test_r16_an_answer_that_was_held_back_gains_no_time() -> None:
    scripted = _Scripted()
    leases = _leases(scripted, 600.0, asked=time.monotonic() - 601)
    with pytest.raises(LeaseLost):
        leases.check()
    leases._stop.set()


def test_r16_the_last_word_is_asked_for_at_the_end() -> None:
    scripted = _Scripted()
    leases = _leases(scripted, 600.0)
    leases.finish(NOW)
    assert scripted.finals == [False, True]
    refused = _Scripted()
    leases = _leases(refused, 600.0)
    refused.answer = _raising(Revoked())
    with pytest.raises(LeaseLost):
        leases.finish(NOW)
    assert refused.finals == [False]  # nobody was told that it ends with results


def test_r16_a_host_whose_clock_is_ahead_gets_no_receipt_that_nobody_accepts() -> None:
    with pytest.raises(LeaseLost, match="clock"):
        _leases(_Scripted(), 600.0).finish(datetime(2100, 1, 1, tzinfo=UTC))


def test_r17_from_a_revocation_on_there_is_no_release_and_no_lease(kept: KeptBy, agreed: SignedContract) -> None:
    release(kept, agreed)
    asset = agreed.terms.inputs["north"].asset
    for subject in (agreed.id, asset):
        kept.revoke(subject, "the study was stopped")
        kept.restart()
        with pytest.raises(Revoked, match="stopped"):
            release(kept, agreed)
        with pytest.raises(Revoked):
            release(kept, agreed, run=OTHER_RUN, keys=private_keys("new run"))
        with pytest.raises(Revoked, match="stopped"):
            kept.keeper.renew(_renewal(kept, agreed))


def test_r17_an_asset_revoked_by_itself_stops_every_contract_over_it(kept: KeptBy, agreed: SignedContract) -> None:
    other = make_contract(lambda value: value.update(nonce="e" * 32))
    release(kept, agreed)
    release(kept, other, keys=private_keys("other"))
    kept.revoke(agreed.terms.inputs["north"].asset)
    for contract, keys in ((agreed, RUN_KEYS), (other, private_keys("other"))):
        with pytest.raises(Revoked):
            kept.keeper.renew(_renewal(kept, contract, keys))


def test_r17_only_the_party_revokes(kept: KeptBy, agreed: SignedContract) -> None:
    envelope = kept.asked("revoke", {"subject": agreed.id, "reason": "x"}, by=member("south"))
    with pytest.raises(Refused):
        kept.keeper.revoke(envelope)
    release(kept, agreed)


def test_r18_an_owner_takes_no_answer_but_its_keepers_own_to_this_request(kept: KeptBy) -> None:
    asset = "sha256:" + "1" * 64
    asked = kept.asked("revoke", {"subject": asset, "reason": "enough"})
    keeper = kept.owner.keeper.public().sign
    answer = kept.keeper.signed(asked, kept.keeper.revoke(asked))
    assert read_answer(answer, asked, keeper)["subject"] == asset
    again = kept.asked("revoke", {"subject": asset, "reason": "enough"})
    proof = Envelope.from_dict(answer["proof"])
    false: list[tuple[dict[str, Any], Envelope]] = [
        ({"subject": asset, "ledger_index": 0}, asked),
        ({**answer, "ledger_index": 7}, asked),
        ({**answer, "more": 1}, asked),
        ({**answer, "proof": None}, asked),
        (answer, again),
        (sign_answer(asked, {"subject": asset}, member(STRANGER).keys), asked),
        ({**answer, "proof": replace(proof, payload_type=LEASE_TYPE).to_dict()}, asked),
    ]
    for said, request_made in false:
        with pytest.raises(StatementRefused):
            read_answer(said, request_made, keeper)


def test_r20_a_keeper_judges_by_the_policy_that_its_party_sent(kept: KeptBy, agreed: SignedContract) -> None:
    def sent(text: object, collateral: bytes = Collateral().to_bytes(), **by: Any) -> dict[str, Any]:
        return kept.keeper.set_policy(kept.asked("policy.set", {"policy": text, "collateral": b64(collateral)}, **by))

    before = kept.home.policy_digest()
    for wrong, error in (("[sgx", TrustPolicyInvalid), (7, RequestRefused), ("#" * (1 << 19), RequestRefused)):
        with pytest.raises(error):
            sent(wrong)
    with pytest.raises(CollateralInvalid):
        sent("", b"{}")
    with pytest.raises(RequestRefused):
        kept.keeper.set_policy(kept.asked("policy.set", {"policy": ""}))
    with pytest.raises(Refused):
        sent("", by=member("south"))
    assert kept.home.policy_digest() == before
    release(kept, agreed)
    answer = sent("# nothing is accepted\n")
    assert answer["policy"] == kept.home.policy_digest() != before
    assert kept.keeper.releases(kept.asked("releases.list", {}))["policy"] == answer["policy"]
    with pytest.raises(EvidenceNotTrusted):
        release(kept, agreed, run=OTHER_RUN, keys=private_keys("another run"))
    item = CollateralItem("certificate", "certificate/sha256:" + "0" * 64, "2026-11-01T12:00:00Z", b"anything")
    sent("", Collateral([item]).to_bytes())
    assert [each.key for each in CollateralStore(kept.home.folder).load()] == [item.key]
    request = kept.asked("policy.set", {"policy": "", "collateral": b64(Collateral().to_bytes())})
    kept.keeper.set_policy(request)
    with pytest.raises(RequestReplayed):
        kept.keeper.set_policy(request)
