"""A keeper over a real SQLite file, asked through its web app."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from paddock import ledger
from paddock.contract import Request, SignedContract
from paddock.crypto.canonical import parse
from paddock.crypto.digest import b64, unb64
from paddock.crypto.dsse import Envelope
from paddock.crypto.identity import PrivateKeys
from paddock.crypto.moment import read_moment, write_moment
from paddock.evidence import EvidenceSet
from paddock.keeper import keeper as keeper_module
from paddock.keeper.web import create_keeper_app
from paddock.release import ReleaseStatement, grant_info, read_lease, read_release
from paddock.service.serve import BackgroundServer, Served
from tests.fixtures.cast import NAMES, NOW, RUN, STRANGER, contract, member, private_keys, signed
from tests.fixtures.keepers import KeptBy, bound_to, data_key, deposit_all, make_keeper, release_body
from tests.fixtures.proof import RUN_KEYS

Json = dict[str, Any]
SECOND, THIRD = "a" * 32, "b" * 32


class Asked:
    """A keeper behind its app."""

    def __init__(self, folder: Path) -> None:
        self.kept: KeptBy = make_keeper(folder, "north")
        self.agreed: SignedContract = contract()
        self._open()

    def _open(self) -> None:
        self._server = BackgroundServer([Served("keeper", create_keeper_app(self.kept.keeper), "127.0.0.1", 0)])
        self._server.__enter__()
        self.client = httpx.Client(base_url=self._server.urls["keeper"], trust_env=False)

    def close(self) -> None:
        self.client.close()
        self._server.__exit__(None, None, None)

    def restart(self) -> None:
        """As after a crash: another process over the same folder."""
        self.close()
        self.kept.restart()
        self._open()

    def post(self, path: str, body: Any, status: int = 200) -> Json:
        answer = self.client.post(path, json=body)
        assert answer.status_code == status, answer.text
        value: Json = answer.json()
        return value

    def get(self, path: str, **query: int) -> Json:
        answer = self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        value: Json = answer.json()
        return value

    def refused(self, path: str, body: Any, code: str) -> Json:
        answer = self.client.post(path, json=body)
        assert answer.json().get("code") == code, answer.text
        assert answer.status_code in (403, 409, 422)
        value: Json = answer.json()
        return value

    def signed(self, action: str, body: Json, **changes: Any) -> Json:
        return {"request": self.kept.asked(action, body, **changes).to_dict()}

    def deposit(self) -> None:
        deposit_all(self.kept, self.agreed)

    def asking(self, run: str = RUN, keys: PrivateKeys = RUN_KEYS, **claims: Any) -> Json:
        nonce = self.post("/v1/challenges", {"contract": self.agreed.id, "run": run})["nonce"]
        bound = bound_to({}, self.agreed, run=run, keys=keys)
        challenges = [
            type(row)(row.keeper, nonce) if row.keeper == self.fingerprint else row for row in bound.challenges
        ]
        bound = type(bound)(bound.contract, bound.run, bound.keys, tuple(challenges))
        return release_body(self.agreed, bound, **claims)

    @property
    def fingerprint(self) -> str:
        return self.kept.owner.keeper.public().fingerprint()

    def account(self) -> Json:
        answer = self.post("/v1/account", self.signed("releases.list", {}))
        answer.pop("proof")
        return answer

    def size(self) -> int:
        text = self.get("/v1/ledger/checkpoint")["checkpoint"]
        origin = self.get("/v1/info")["ledger"]
        return ledger.read_checkpoint(text, self.kept.owner.keeper.public().sign, origin=origin).size


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    made = Asked(tmp_path)
    yield made
    made.close()


def _statement(asked: Asked, answer: Json) -> Any:
    return read_release(Envelope.from_dict(answer["release"]), asked.kept.owner.keeper.public().sign)


def test_it_says_whose_keeper_it_is(asked: Asked) -> None:
    info = asked.get("/v1/info")
    assert info["keeper"] == asked.fingerprint
    assert info["party"] == member("north").fingerprint
    assert info["keys"] == member("north").keeper.public().to_dict()
    assert asked.get("/v1/health") == {"status": "ok"}


def test_a_run_that_proves_itself_gets_the_data_keys(asked: Asked) -> None:
    asked.deposit()
    answer = asked.post("/v1/releases", asked.asking())
    opened = parse(RUN_KEYS.seal.open(unb64(answer["grant"]), grant_info(asked.agreed.id, RUN, asked.fingerprint)))
    asset = asked.agreed.terms.inputs["north"].asset
    assert opened["keys"] == {asset: b64(data_key(asset).raw())}
    statement = _statement(asked, answer)
    assert (statement.run, statement.assets, statement.simulated) == (RUN, [asset], True)


def test_the_same_proof_again_is_the_same_release(asked: Asked) -> None:
    asked.deposit()
    body = asked.asking()
    first = asked.post("/v1/releases", body)
    before = asked.size()
    asked.kept.clock.now += timedelta(seconds=20)
    again = asked.post("/v1/releases", body)
    assert again["release"] == first["release"]
    assert again["grant"] != first["grant"]  # sealed anew
    assert asked.size() == before
    assert len(asked.account()["releases"]) == 1


def test_a_retry_with_a_new_proof_and_the_same_key_is_not_counted(asked: Asked) -> None:
    asked.deposit()
    for _ in range(4):  # the contract allows two runs
        asked.kept.clock.now += timedelta(seconds=1)
        body = asked.asking()
        statement = _statement(asked, asked.post("/v1/releases", body))
        assert statement.evidence == EvidenceSet.from_wrapper(body["evidence"]).digest()  # what the receipt will carry
        assert statement.at == write_moment(asked.kept.clock.now)
    assert len(asked.account()["releases"]) == 1
    asked.post("/v1/releases", asked.asking(run=SECOND, keys=private_keys("second")))
    assert len(asked.account()["releases"]) == 2


def test_no_more_keys_for_the_same_run_than_attempts(asked: Asked) -> None:
    asked.deposit()
    asked.post("/v1/releases", asked.asking())
    asked.post("/v1/releases", asked.asking(keys=private_keys("second")))
    statements = [ReleaseStatement.model_validate_json(text) for text in asked.account()["releases"]]
    assert [statement.attempt for statement in statements] == [1, 2]
    asked.refused("/v1/releases", asked.asking(), "E-RELEASE-18")
    asked.refused("/v1/releases", asked.asking(keys=private_keys("other")), "E-RELEASE-11")


def test_a_proof_with_a_used_nonce_serves_no_other_key(asked: Asked) -> None:
    asked.deposit()
    body = asked.asking()
    asked.post("/v1/releases", body)
    nonce = next(row["nonce"] for row in body["binding"]["challenges"] if row["keeper"] == asked.fingerprint)
    other = asked.asking(keys=private_keys("other"))
    for row in other["binding"]["challenges"]:
        if row["keeper"] == asked.fingerprint:
            row["nonce"] = nonce
    asked.refused("/v1/releases", other, "E-RELEASE-06")


def test_a_run_renews_its_lease(asked: Asked) -> None:
    asked.deposit()
    asked.post("/v1/releases", asked.asking())
    renewal = Request(
        action="lease.renew",
        body={"contract": asked.agreed.id, "run": RUN, "final": False},
        audience=asked.fingerprint,
        by=RUN_KEYS.public().fingerprint(),
        at=NOW,
        nonce="1" * 32,
    ).sign(RUN_KEYS.sign)
    lease = Envelope.from_dict(asked.post("/v1/leases", {"request": renewal.to_dict()})["lease"])
    assert read_lease(lease, asked.kept.owner.keeper.public().sign).nonce == "1" * 32
    asked.refused("/v1/leases", {"request": renewal.to_dict()}, "E-HUB-05")


def test_runs_are_used_up_for_ever(asked: Asked) -> None:
    asked.deposit()
    for run in (RUN, SECOND):
        asked.post("/v1/releases", asked.asking(run=run, keys=private_keys(run)))
    asked.refused("/v1/releases", asked.asking(run=THIRD, keys=private_keys(THIRD)), "E-RELEASE-10")
    asked.restart()
    asked.refused("/v1/releases", asked.asking(run=THIRD, keys=private_keys(THIRD)), "E-RELEASE-10")
    asked.post("/v1/releases", asked.asking(run=RUN, keys=private_keys(RUN)))  # a retry still is one


def test_expiry_and_challenges_go_by_the_keepers_clock(asked: Asked) -> None:
    asked.deposit()
    late = asked.asking()
    asked.kept.clock.now += timedelta(seconds=180)
    asked.refused("/v1/releases", late, "E-RELEASE-06")
    asked.kept.clock.now = read_moment(asked.agreed.terms.expires)
    asked.refused("/v1/releases", asked.asking(), "E-RELEASE-04")
    asked.kept.clock.now = NOW - timedelta(days=1)
    asked.refused("/v1/releases", asked.asking(), "E-RELEASE-04")


def test_a_nonce_of_another_contract_or_run_is_refused(asked: Asked) -> None:
    asked.deposit()
    body = asked.asking(run=SECOND)
    first = asked.asking(run=RUN)
    for row, other in zip(first["binding"]["challenges"], body["binding"]["challenges"], strict=True):
        row["nonce"] = other["nonce"]
    asked.refused("/v1/releases", first, "E-RELEASE-06")


def test_what_is_not_deposited_is_not_released(asked: Asked) -> None:
    asked.refused("/v1/releases", asked.asking(), "E-RELEASE-12")


def test_a_refusal_uses_up_nothing(asked: Asked) -> None:
    asked.deposit()
    for _ in range(3):
        asked.refused("/v1/releases", asked.asking(measurement="sha256:" + "0" * 64), "E-RELEASE-09")
        asked.refused("/v1/releases", asked.asking(debug=True), "E-EVIDENCE-04")
    assert asked.account()["releases"] == []
    asked.post("/v1/releases", asked.asking())


def test_a_policy_that_is_emptied_counts_at_once(asked: Asked) -> None:
    asked.deposit()
    trust = asked.kept.home.trust_file()
    good = trust.read_text(encoding="utf-8")
    trust.write_text("", encoding="utf-8")
    asked.refused("/v1/releases", asked.asking(), "E-EVIDENCE-02")
    trust.write_text("[simulated", encoding="utf-8")
    answer = asked.client.post("/v1/releases", json=asked.asking())
    assert answer.json()["code"] == "E-SERVICE-03"  # the owner's own files are nobody else's business
    trust.write_text(good, encoding="utf-8")
    asked.post("/v1/releases", asked.asking())


def test_only_the_party_deposits_revokes_and_looks(asked: Asked) -> None:
    asset = "sha256:" + "1" * 64
    bodies: tuple[tuple[str, str, Json], ...] = (
        ("/v1/deposits", "deposit", asked.kept.deposit_body(asset)),
        ("/v1/revocations", "revoke", {"subject": asset, "reason": "x"}),
        ("/v1/account", "releases.list", {}),
    )
    before = asked.size()
    for path, action, body in bodies:
        for stranger in (STRANGER, "south"):
            asked.refused(path, asked.signed(action, body, by=member(stranger)), "E-RELEASE-15")
            said_to_be = asked.kept.asked(action, body)
            forged = Envelope(said_to_be.payload_type, said_to_be.payload, ()).with_signature(
                member(stranger).keys.sign, member("north").fingerprint
            )
            asked.refused(path, {"request": forged.to_dict()}, "E-CONTRACT-09")
        asked.refused(path, asked.signed("other", body), "E-CONTRACT-09")
        asked.refused(path, asked.signed(action, body, audience="hub"), "E-CONTRACT-09")
        asked.refused(path, asked.signed(action, body, at=NOW - timedelta(minutes=6)), "E-CONTRACT-09")
        asked.refused(path, {}, "E-CONTRACT-09")
        asked.refused(path, {"request": {}}, "E-CONTRACT-09")
        asked.refused(path, {**asked.signed(action, body), "more": 1}, "E-CONTRACT-09")
    assert asked.size() == before


def test_a_request_counts_once(asked: Asked) -> None:
    asset = "sha256:" + "1" * 64
    body = asked.signed("deposit", asked.kept.deposit_body(asset))
    asked.post("/v1/deposits", body)
    answer = asked.client.post("/v1/deposits", json=body).json()
    assert "received before" in answer["message"]
    asked.restart()
    assert asked.client.post("/v1/deposits", json=body).json()["code"] == answer["code"]
    asked.kept.clock.now += timedelta(minutes=11)  # forgotten, and too old to pass
    asked.refused("/v1/deposits", body, "E-CONTRACT-09")
    assert len(asked.account()["deposits"]) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"asset": "sha256:x"},
        {"asset": None},
        {"kind": "archive"},
        {"kind": []},
        {"kind": None},
        {"more": 1},
    ],
)
def test_a_deposit_has_one_form(asked: Asked, change: Json) -> None:
    body = asked.kept.deposit_body("sha256:" + "1" * 64)
    asked.refused("/v1/deposits", asked.signed("deposit", {**body, **change}), "E-CONTRACT-09")


def test_a_deposit_is_wrapped_to_this_keeper_for_this_asset_and_purpose(asked: Asked) -> None:
    asset, other = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    for wrapped in (
        asked.kept.wrapped(asset, to=member("south")),
        asked.kept.wrapped(other),
        asked.kept.wrapped(asset, purpose="own"),
        b64(bytes(40)),
    ):
        body = {"asset": asset, "kind": "dataset", "wrapped": wrapped}
        asked.refused("/v1/deposits", asked.signed("deposit", body), "E-CRYPTO-02")
    asked.refused(
        "/v1/deposits", asked.signed("deposit", {"asset": asset, "kind": "dataset", "wrapped": 1}), "E-CRYPTO-03"
    )
    assert asked.account()["deposits"] == []


@pytest.mark.parametrize("change", [{"subject": "all"}, {"subject": None}, {"reason": None}, {"more": 1}])
def test_a_revocation_has_one_form(asked: Asked, change: Json) -> None:
    body = {"subject": asked.agreed.id, "reason": "x", **change}
    asked.refused("/v1/revocations", asked.signed("revoke", body), "E-CONTRACT-09")


def test_a_revocation_stays_and_is_in_the_ledger(asked: Asked) -> None:
    asked.deposit()
    asked.post("/v1/releases", asked.asking())
    before = asked.size()
    body = {"subject": asked.agreed.id, "reason": "study ended " * 100}
    assert asked.post("/v1/revocations", asked.signed("revoke", body))["ledger_index"] == before
    asked.restart()
    refusal = asked.refused("/v1/releases", asked.asking(), "E-RELEASE-03")
    assert "study ended" in refusal["detail"]
    revoked = asked.account()["revocations"]
    assert [row["subject"] for row in revoked] == [asked.agreed.id]
    assert len(revoked[0]["reason"]) == 500
    asked.deposit()  # to deposit again does not take it back
    asked.refused("/v1/releases", asked.asking(), "E-RELEASE-03")


def test_a_restart_keeps_everything(asked: Asked) -> None:
    asked.deposit()
    body = asked.asking()
    open_challenge = asked.asking(run=SECOND, keys=private_keys("second"))
    first = asked.post("/v1/releases", body)
    checkpoint, account = asked.get("/v1/ledger/checkpoint"), asked.account()
    asked.restart()
    assert asked.get("/v1/ledger/checkpoint") == checkpoint
    assert asked.account() == account
    assert asked.post("/v1/releases", body)["release"] == first["release"]
    asked.post("/v1/releases", open_challenge)
    assert asked.size() == ledger_size_after(checkpoint) + 1


def ledger_size_after(checkpoint: Json) -> int:
    return int(str(checkpoint["checkpoint"]).splitlines()[1])


def test_the_ledger_proves_what_it_says(asked: Asked) -> None:
    asked.deposit()
    one = asked.get("/v1/ledger/checkpoint")["checkpoint"]
    statement = _statement(asked, asked.post("/v1/releases", asked.asking()))
    two = asked.get("/v1/ledger/checkpoint")["checkpoint"]
    key, origin = asked.kept.owner.keeper.public().sign, asked.get("/v1/info")["ledger"]
    before, after = (ledger.read_checkpoint(text, key, origin=origin) for text in (one, two))
    proof = asked.get("/v1/ledger/consistency", first=before.size, second=after.size)["proof"]
    steps = [bytes.fromhex(row) for row in proof]
    ledger.verify_consistency(before.size, after.size, before.root, after.root, steps)
    path = asked.get("/v1/ledger/inclusion", index=statement.ledger_index, size=after.size)["proof"]
    assert path or after.size == 1


@pytest.mark.parametrize(
    "body",
    [
        {"contract": "sha256:" + "0" * 64, "run": "x"},
        {"contract": "sha256:" + "0" * 64, "run": RUN.upper()},
        {"contract": "x", "run": RUN},
        {"contract": None},
        {},
    ],
)
def test_a_challenge_is_for_something(asked: Asked, body: Json) -> None:
    asked.refused("/v1/challenges", body, "E-RELEASE-06")


def test_challenges_are_bounded_and_forgotten(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "MAX_OPEN_CHALLENGES", 3)
    wanted = {"contract": asked.agreed.id, "run": RUN}
    nonces = {asked.post("/v1/challenges", wanted)["nonce"] for _ in range(3)}
    assert len(nonces) == 3
    answer = asked.client.post("/v1/challenges", json=wanted)
    assert (answer.status_code, answer.json()["code"]) == (503, "E-RELEASE-16")
    asked.kept.clock.now += timedelta(seconds=181)
    asked.post("/v1/challenges", wanted)


def test_a_release_in_another_form_is_refused_and_nothing_faults(asked: Asked) -> None:
    asked.deposit()
    good = asked.asking()
    challenge = good["binding"]["challenges"][0]
    bad: list[Json] = [
        {},
        {**good, "more": 1},
        {**good, "contract": None},
        {**good, "contract": {**good["contract"], "payload": "?"}},
        {**good, "contract": {**good["contract"], "payloadType": "\ud800"}},
        {**good, "binding": None},
        {**good, "binding": {**good["binding"], "run": "\ud800"}},
        {**good, "binding": {**good["binding"], "challenges": [{**challenge, "nonce": "\ud800"}]}},
        {**good, "evidence": []},
        {**good, "evidence": ["x", "AA", 2]},
        {**good, "evidence": None},
        {**good, "contract": signed(signers=NAMES[1:]).to_dict()},
    ]
    for body in bad:
        import json

        answer = asked.client.post(
            "/v1/releases", content=json.dumps(body).encode(), headers={"content-type": "application/json"}
        )
        assert answer.status_code == 422, answer.text
        assert answer.json()["code"] != "E-SERVICE-03"
    assert asked.account()["releases"] == []


def test_a_contract_of_the_greatest_size_fits_into_the_ledger(asked: Asked) -> None:
    """Every bound of the terms holds in the keeper too: 512 inputs of one party are released in one entry."""

    def many(value: Json) -> None:
        inputs = {
            f"i{number}": {"owner": "north", "asset": f"sha256:{number:064x}", "kind": "dataset", "view": "auto"}
            for number in range(511)
        }
        value["inputs"] = {**inputs, "network": value["inputs"]["network"]}
        value["steps"] = value["steps"][:1]
        value["steps"][0]["inputs"]["data"] = list(inputs)
        value["outputs"] = {"weights": value["outputs"]["weights"]}

    asked.agreed = contract(many)
    wrapped = asked.kept.home.keys.seal.recipient
    rows = []
    for _, item in asked.agreed.terms.inputs_of("north"):
        rows.append({"asset": item.asset, "kind": "dataset", "wrapped": b"x", "deposited": "2026-11-01T12:00:00Z"})
    from sqlalchemy import insert

    from paddock.keeper import tables

    with asked.kept.keeper._database.write() as connection:
        for row in rows:
            row["wrapped"] = data_key(str(row["asset"])).wrap(wrapped, str(row["asset"]), "deposit")
        connection.execute(insert(tables.deposits), rows)
    statement = _statement(asked, asked.post("/v1/releases", asked.asking()))
    assert len(statement.assets) == 511


def test_a_key_that_no_longer_opens_is_no_release(asked: Asked) -> None:
    from sqlalchemy import update

    from paddock.keeper import tables

    asked.deposit()
    with asked.kept.keeper._database.write() as connection:
        connection.execute(update(tables.deposits).values(wrapped=b"of another keeper"))
    answer = asked.client.post("/v1/releases", json=asked.asking())
    assert (answer.status_code, answer.json()["code"]) == (500, "E-SERVICE-03")
    assert asked.account()["releases"] == []
