"""What the hub takes of parties, assets and contracts, and what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from paddock.contract.party import read_party
from paddock.contract.signing import verify_contract
from paddock.crypto.digest import unb64
from paddock.crypto.dsse import Envelope
from paddock.ledger import accept_newer, leaf_hash, read_checkpoint, read_note_key, verify_inclusion
from paddock.testing.contracts import Participant, proposal
from tests.unit.hub.world import World, refused


def test_health_and_facts(world: World) -> None:
    assert world.get("/v1/health")["status"] == "ok"
    info = world.get("/v1/info")
    assert info["simulated"] is True
    assert read_note_key(info["ledger_key"]) == ("hub.test/ledger", world.key.verify_key)
    paths = world.get("/openapi.json")["paths"]
    assert "requestBody" in paths["/v1/contracts"]["post"]


def test_records_come_back_as_they_were_signed(world: World) -> None:
    answer = world.get(f"/v1/parties/{world.north.fingerprint}")
    assert read_party(Envelope.from_dict(answer["envelope"])).fingerprint() == world.north.fingerprint
    listed = world.get("/v1/parties", name="north")["parties"]
    assert listed == [answer]
    refused(world.http.get("/v1/parties/AAAA"), "E-HUB-01", 404)


def test_a_newer_record_takes_the_place_of_an_older_and_never_the_reverse(world: World) -> None:
    newer = world.north.record(issued=datetime.now(UTC) + timedelta(hours=1), url="http://127.0.0.1:2")
    older = world.north.record(issued=datetime.now(UTC) - timedelta(hours=1))
    assert world.post("/v1/parties", newer).status_code == 201
    assert world.post("/v1/parties", newer).status_code == 201
    refused(world.post("/v1/parties", older), "E-HUB-10", 409)
    held = world.get(f"/v1/parties/{world.north.fingerprint}")["envelope"]
    assert held == newer.to_dict()


def test_a_record_that_is_not_signed_by_its_own_keys_is_refused(world: World) -> None:
    own, others = world.stranger.record(), world.north.record()
    forged = Envelope(own.payload_type, own.payload, others.signatures)
    refused(world.post("/v1/parties", forged), "E-CONTRACT-08", 422)
    refused(world.post("/v1/parties", Envelope(own.payload_type, own.payload, ())), "E-CONTRACT-08", 422)


def test_assets_are_kept_for_known_owners_only(world: World) -> None:
    record = world.north.asset("records")
    assert world.post("/v1/assets", record).status_code == 201
    assert world.post("/v1/assets", record).status_code == 201
    assert world.get("/v1/assets", owner=world.north.fingerprint, name="records") == {
        "assets": [{"envelope": record.to_dict()}]
    }
    assert world.get("/v1/assets", kind="program") == {"assets": []}
    refused(world.post("/v1/assets", world.stranger.asset("x")), "E-HUB-03", 403)
    forged = Envelope(record.payload_type, record.payload, world.south.asset("records").signatures)
    refused(world.post("/v1/assets", forged), "E-CONTRACT-08", 422)
    refused(world.post("/v1/assets", world.north.record()), "E-CONTRACT-08", 422)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b'{"a":1,"a":2}', b"[" * 100_000])
def test_what_is_no_envelope_is_refused(world: World, body: bytes) -> None:
    for path in ("/v1/parties", "/v1/assets", "/v1/contracts", "/v1/runs"):
        refused(world.http.post(path, content=body), "E-CRYPTO-03", 422)


def test_too_large_a_message_is_refused(world: World) -> None:
    refused(world.http.post("/v1/contracts", content=b" " * ((4 << 20) + 1)), "E-SERVICE-04", 413)


def test_a_contract_is_proposed_signed_and_active(world: World) -> None:
    contract, envelope = world.proposed()
    shown = world.get(f"/v1/contracts/{contract}")
    assert (shown["state"], shown["signed"], shown["missing"]) == ("proposed", ["north"], ["south"])
    answer = world.post(f"/v1/contracts/{contract}/signatures", world.south.sign(envelope)).json()
    assert (answer["state"], answer["missing"]) == ("active", [])
    assert verify_contract(Envelope.from_dict(answer["envelope"])).id == contract


def test_signatures_merge_in_any_order(world: World) -> None:
    contract, _ = world.proposed()
    bare = Envelope.from_dict(world.get(f"/v1/contracts/{contract}")["envelope"])
    only_south = world.south.sign(Envelope(bare.payload_type, bare.payload, ()))
    assert world.post(f"/v1/contracts/{contract}/signatures", only_south).json()["state"] == "active"


def test_a_contract_that_all_signed_is_active_at_once(world: World) -> None:
    envelope = world.south.sign(world.north.sign(proposal([world.north, world.south])))
    assert world.post("/v1/contracts", envelope).json()["state"] == "active"


def test_proposals_that_do_not_pass_are_refused(world: World) -> None:
    unsigned = proposal([world.north, world.south])
    refused(world.post("/v1/contracts", unsigned), "E-HUB-08", 422)
    refused(world.post("/v1/contracts", world.stranger.sign(unsigned)), "E-CONTRACT-02", 422)
    unknown = world.north.sign(proposal([world.north, world.stranger]))
    refused(world.post("/v1/contracts", unknown), "E-HUB-03", 403)
    refused(world.post("/v1/contracts", world.north.record()), "E-CONTRACT-02", 422)
    past = {"created": "2020-01-01T00:00:00Z", "expires": "2020-01-02T00:00:00Z"}
    refused(
        world.post("/v1/contracts", world.north.sign(proposal([world.north, world.south], past))), "E-CONTRACT-06", 409
    )
    _, envelope = world.proposed()
    refused(world.post("/v1/contracts", envelope), "E-HUB-02", 409)
    changed = Envelope(envelope.payload_type, envelope.payload.replace(b'"runs":2', b'"runs":9'), envelope.signatures)
    refused(world.post("/v1/contracts", changed), "E-CONTRACT-02", 422)
    broken = Envelope(envelope.payload_type, envelope.payload + b" ", envelope.signatures)
    refused(world.post("/v1/contracts", broken), "E-CONTRACT-01", 422)


def test_signatures_that_do_not_pass_are_refused(world: World) -> None:
    contract, envelope = world.proposed()
    path = f"/v1/contracts/{contract}/signatures"
    refused(world.post(path, envelope), "E-HUB-02", 409)
    refused(world.post(path, world.stranger.sign(envelope)), "E-CONTRACT-02", 422)
    other = world.south.sign(proposal([world.north, world.south]))
    refused(world.post(path, other), "E-CONTRACT-02", 422)
    unknown = "/v1/contracts/sha256:" + "0" * 64 + "/signatures"
    refused(world.post(unknown, world.south.sign(envelope)), "E-HUB-01", 404)
    refused(world.post("/v1/contracts/..%2f..%2fx/signatures", envelope), "E-SERVICE-06", 404)
    assert world.get(f"/v1/contracts/{contract}")["missing"] == ["south"]


def test_a_party_rejects_with_a_reason_and_nobody_else_can(world: World) -> None:
    contract, envelope = world.proposed()
    path, body = f"/v1/contracts/{contract}/reject", {"contract": contract, "reason": "too\nlong " + "x" * 1000}
    refused(world.post(path, world.stranger.request("contract.reject", body)), "E-HUB-03", 403)
    assert world.post("/v1/parties", world.stranger.record()).status_code == 201
    refused(world.post(path, world.stranger.request("contract.reject", body)), "E-HUB-04", 403)
    shown = world.post(path, world.south.request("contract.reject", body)).json()
    assert shown["state"] == "cancelled"
    assert shown["reason"].startswith("toolong x")
    assert len(shown["reason"]) < 501
    refused(world.post(path, world.south.request("contract.reject", body)), "E-CONTRACT-06", 409)
    late = world.south.sign(envelope)
    refused(world.post(f"/v1/contracts/{contract}/signatures", late), "E-CONTRACT-06", 409)


def test_an_active_contract_is_cancelled_but_not_rejected(world: World) -> None:
    contract = world.active()
    body = {"contract": contract, "reason": ""}
    request = world.north.request("contract.reject", body)
    refused(world.post(f"/v1/contracts/{contract}/reject", request), "E-CONTRACT-06", 409)
    request = world.north.request("contract.cancel", body)
    assert world.post(f"/v1/contracts/{contract}/cancel", request).json()["state"] == "cancelled"


def test_requests_that_do_not_pass_are_refused(world: World) -> None:
    contract, other = world.active(), world.active()
    path, body = f"/v1/contracts/{contract}/cancel", {"contract": contract, "reason": "x"}
    now = datetime.now(UTC)
    stale = world.north.request("contract.cancel", body, at=now - timedelta(minutes=6))
    early = world.north.request("contract.cancel", body, at=now + timedelta(minutes=6))
    elsewhere = world.north.request("contract.cancel", body, audience="keeper")
    another = world.north.request("contract.reject", body)
    more = world.north.request("contract.cancel", {**body, "more": "x"})
    nested = world.north.request("contract.cancel", {**body, "reason": {"x": 1}})
    for bad in (stale, early, elsewhere, another, more, nested):
        refused(world.post(path, bad), "E-CONTRACT-09", 422)
    good = world.north.request("contract.cancel", body)
    unsigned = Envelope(good.payload_type, good.payload, ())
    forged = Envelope(good.payload_type, good.payload, world.south.request("contract.cancel", body).signatures)
    for bad in (unsigned, forged):
        refused(world.post(path, bad), "E-CONTRACT-09", 422)
    refused(world.post(f"/v1/contracts/{other}/cancel", good), "E-HUB-04", 403)
    assert world.get(f"/v1/contracts/{contract}")["state"] == "active"
    assert world.post(path, good).json()["state"] == "cancelled"


def test_a_request_is_taken_once(world: World) -> None:
    contract = world.active()
    request = world.south.request("run.request", {"contract": contract})
    assert world.post("/v1/runs", request).status_code == 201
    refused(world.post("/v1/runs", request), "E-HUB-05", 409)
    assert len(world.get("/v1/runs", contract=contract)["runs"]) == 1


def test_expiry_is_judged_on_reading(world: World) -> None:
    contract, envelope = world.proposed()
    assert [row["contract"] for row in world.get("/v1/contracts", state="proposed")["contracts"]] == [contract]
    world.shift = timedelta(days=2)
    assert world.get(f"/v1/contracts/{contract}")["state"] == "expired"
    assert world.get("/v1/contracts", state="proposed")["contracts"] == []
    assert [row["state"] for row in world.get("/v1/contracts", state="expired")["contracts"]] == ["expired"]
    late = world.south.sign(envelope)
    refused(world.post(f"/v1/contracts/{contract}/signatures", late), "E-CONTRACT-06", 409)
    request = world.north.request(
        "contract.cancel", {"contract": contract, "reason": ""}, at=datetime.now(UTC) + world.shift
    )
    refused(world.post(f"/v1/contracts/{contract}/cancel", request), "E-CONTRACT-06", 409)
    refused(world.http.get("/v1/contracts", params={"state": "nonsense"}), "E-SERVICE-05", 422)


def test_contracts_are_listed_by_party_in_pages(world: World) -> None:
    made = [world.proposed()[0] for _ in range(5)]
    third = Participant.generate("third")
    world.post("/v1/parties", third.record())
    world.post("/v1/contracts", third.sign(proposal([third])))
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = world.get("/v1/contracts", party=world.south.fingerprint, limit=2, **after)
        seen += [row["contract"] for row in page["contracts"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == made[::-1]
    assert len(world.get("/v1/contracts")["contracts"]) == 6


def test_every_change_is_in_the_ledger_and_no_failed_one_is(world: World) -> None:
    read = lambda: read_checkpoint(  # noqa: E731
        world.get("/v1/ledger/checkpoint")["checkpoint"], world.key.verify_key, origin="hub.test/ledger"
    )
    empty = read()
    contract = world.active()
    refused(world.post("/v1/contracts", world.stranger.sign(proposal([world.stranger]))), "E-HUB-03", 403)
    seen = read()
    assert (empty.size, seen.size) == (0, 3)
    events = []
    for index in range(seen.size):
        answer = world.get("/v1/ledger/inclusion", index=index, size=seen.size)
        leaf = unb64(answer["leaf"])
        path = [unb64(each) for each in answer["path"]]
        verify_inclusion(leaf_hash(leaf), index, seen.size, path, seen.root)
        assert contract.encode() in leaf
        events.append(leaf)
    names = ("contract.proposed", "contract.signed", "contract.active")
    assert all(name.encode() in leaf for name, leaf in zip(names, events, strict=True))
    world.run(contract)
    newer = read()
    answer = world.get("/v1/ledger/consistency", first=seen.size, second=newer.size)
    accept_newer(seen, newer, [unb64(each) for each in answer["path"]])
    refused(world.http.get("/v1/ledger/inclusion", params={"index": 99, "size": 100}), "E-LEDGER-03", 404)
