"""A keeper's verdict beside its release (R-19), in the receipt (V-14), and the collateral that it rests on (V-15)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paddock.crypto.digest import b64, sha256_id
from paddock.crypto.dsse import Envelope
from paddock.errors import GrantRefused, ReceiptMalformed, ReceiptMismatch, Refused, StatementRefused
from paddock.evidence import Collateral
from paddock.evidence.collateral import certificate_item
from paddock.keeper.keeper import read_release_request
from paddock.receipt import verify_receipt
from paddock.release import read_release
from paddock.release.ear import read_ear
from paddock.release.verdict import read_verdict
from tests.fixtures.cast import contract as make_contract
from tests.fixtures.cast import member
from tests.fixtures.keepers import bound_to, deposit_all, enclave_side, make_keeper, release_body
from tests.fixtures.proof import POLICY, RUN_KEYS, binding, evidence
from tests.fixtures.receipts import COLLATERAL, receipt, receipt_dict, release_statement, verdict

OTHER = Collateral([certificate_item(b"\x30\x00", "2026-01-01T00:00:00Z")])
Value = dict[str, Any]


def test_r19_verdict_and_collateral_are_stored_with_the_release_and_answered(tmp_path: Path) -> None:
    kept, agreed = make_keeper(tmp_path, "north"), make_contract()
    deposit_all(kept, agreed)
    bound = bound_to({"north": kept}, agreed)
    asked = read_release_request(release_body(agreed, bound))
    answer = kept.keeper.release(asked)
    keeper = kept.owner.keeper.public().sign
    statement = read_release(Envelope.from_dict(answer["release"]), keeper)
    ear = read_ear(answer["verdict"], keeper)
    assert statement.verdict == sha256_id(answer["verdict"].encode())
    assert statement.evidence == asked.evidence.digest() if asked.evidence else False
    assert (ear.contract, ear.run, ear.run_key) == (agreed.id, bound.run, RUN_KEYS.public().fingerprint())
    assert ear.simulated
    kept.restart()
    again = kept.keeper.release(asked)  # a retry of the same run: the stored verdict, not another
    assert (again["verdict"], again["collateral"]) == (answer["verdict"], answer["collateral"])
    kept.keeper.close()


def test_r19_a_verdict_is_taken_only_beside_the_release_it_was_made_for() -> None:
    contract = make_contract()
    bound = binding(contract)
    proof = evidence(bound.report_data())
    keeper = member("north").keeper
    statement = release_statement(contract, bound, proof, "north")
    token, collateral = verdict(contract, bound, proof, "north"), b64(COLLATERAL.to_bytes())
    assert read_verdict(token, collateral, statement, keeper.public().sign) == (token, COLLATERAL.to_bytes())

    def made(**changes: Any) -> tuple[str, Any]:
        other = verdict(contract, bound, proof, "north", **changes)
        return other, statement.model_copy(update={"verdict": sha256_id(other.encode())})

    cases: list[tuple[object, object, Any]] = [
        (None, collateral, statement),
        (token, None, statement),
        (None, None, statement),
        ("", collateral, statement),
        (token + " ", collateral, statement),
        (token + "é", collateral, statement),
        (1, collateral, statement),
        (made(run="f" * 32)[0], collateral, statement),  # not the one that the release names
        (token, b64(OTHER.to_bytes()), statement),
        (token, collateral, statement.model_copy(update={"measurement": sha256_id(b"x")})),
        (token, collateral, statement.model_copy(update={"simulated": False})),
        (token, collateral, statement.model_copy(update={"evidence": None})),
    ]
    lies: list[dict[str, Any]] = [
        {"run": "f" * 32},
        {"contract": sha256_id(b"x")},
        {"run_key": member("south").fingerprint},
        {"collateral_digest": sha256_id(b"x")},
        {"keys": member("south").keeper},
    ]
    for lie in lies:
        other, named = made(**lie)
        cases.append((other, collateral, named))
    for told, rests_on, said in cases:
        with pytest.raises(Refused):
            read_verdict(told, rests_on, said, keeper.public().sign)
    bare = release_statement(contract, bound, None, "north")
    assert read_verdict(None, None, bare, keeper.public().sign) == (None, None)
    for told, rests_on in ((token, None), (None, collateral), (token, collateral)):
        with pytest.raises(StatementRefused):
            read_verdict(told, rests_on, bare, keeper.public().sign)


@pytest.mark.parametrize("member_name", ["verdict", "collateral"])
@pytest.mark.parametrize("value", [None, "", "x", b64(OTHER.to_bytes())])
def test_r19_an_enclave_refuses_an_answer_without_the_verdict_it_names(
    member_name: str, value: str | None, tmp_path: Path
) -> None:
    agreed = make_contract()
    keepers = {name: make_keeper(tmp_path, name) for name in agreed.terms.parties}
    for kept in keepers.values():
        deposit_all(kept, agreed)
    side, clients = enclave_side(keepers, agreed)
    bound = side.challenge()
    from paddock.evidence import EvidenceSet

    proof = EvidenceSet.single(evidence(bound.report_data()))
    granted = side.release(bound, proof)
    assert all(row.verdict and row.collateral for row in granted.values())
    clients["north"].between = lambda _path, answer: {**answer, member_name: value}
    with pytest.raises((GrantRefused, StatementRefused)):
        side.release(bound, proof)
    for kept in keepers.values():
        kept.keeper.close()


def _told(verdict: str | None) -> Callable[[Value], object]:
    """The receipt's keeper of north is said to have given this verdict."""
    return lambda value: value["keepers"]["north"].update(verdict=verdict)


def _refused(
    change: Callable[[Value], object], error: type[Exception] = ReceiptMismatch, saying: str | None = None
) -> None:
    value = receipt_dict()
    change(value)
    with pytest.raises(error, match=saying):
        verify_receipt(receipt(value), policy=POLICY, expected_contract=None)


def test_v14_beside_each_release_stands_its_own_verdict() -> None:
    contract = make_contract()
    bound = binding(contract)
    proof = evidence(bound.report_data())
    verdicts = {name: verdict(contract, bound, proof, name) for name in ("north", "south")}
    others = [
        None,
        "",
        verdicts["south"],
        verdict(contract, bound, proof, "north", run="f" * 32),
        verdict(contract, bound, proof, "north", keys=member("south").keeper),
    ]
    for other in others:
        _refused(_told(other), saying="verdict of the keeper")
    # the keeper signs a release that names a verdict of its own on another run
    told = verdict(contract, bound, proof, "north", run="f" * 32)
    statement = release_statement(contract, bound, proof, "north", verdict=sha256_id(told.encode()))
    signed = statement.sign(member("north").keeper).to_dict()
    _refused(lambda v: v["keepers"]["north"].update(verdict=told, release=signed), saying="verdict of the keeper")


def test_v15_the_collateral_is_exactly_that_of_the_verdicts() -> None:
    more = {OTHER.digest(): b64(OTHER.to_bytes())}
    _refused(lambda v: v["collateral"].update(more), saying="collateral")
    _refused(lambda v: v.update(collateral={}), saying="collateral")
    _refused(lambda v: v.update(collateral={COLLATERAL.digest(): more[OTHER.digest()]}), saying="verdict")
    _refused(lambda v: v.update(collateral={COLLATERAL.digest(): "!"}), saying="verdict")
    _refused(lambda v: v["keepers"]["north"].update(collateral=None), saying="verdict")
    _refused(lambda v: v.update(collateral={"x": ""}), error=(ReceiptMalformed, ValueError))  # type: ignore[arg-type]

    def swapped(value: Value) -> None:
        value["collateral"].update(more)
        value["keepers"]["north"].update(collateral=OTHER.digest())

    _refused(swapped, saying="verdict")
