"""Runs and ciphertext at the hub."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from paddock.crypto.digest import b64
from paddock.errors import DatabaseUnavailable, Misconfigured, RunEndedSilently
from paddock.hub import events, runs
from paddock.hub.hub import MIGRATIONS, load_ledger_key
from paddock.hub.schema import metadata
from paddock.service.database import Database
from tests.unit.hub.world import World, refused

PHASE = {"event": "phase", "phase": "booted", "at": "2027-01-01T00:00:00Z", "detail": {"inputs": ["a"], "n": 1}}


def test_the_migrations_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'x.db'}", MIGRATIONS)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.close()


def test_a_run_goes_from_request_to_receipt(world: World) -> None:
    contract = world.active(runs=1)
    run = world.run(contract)
    launch = world.engine.launches[run]
    assert launch.keepers == {
        world.north.fingerprint: "http://127.0.0.1:1",
        world.south.fingerprint: "http://127.0.0.1:1",
    }
    assert launch.contract == world.get(f"/v1/contracts/{contract}")["envelope"]
    assert world.get(f"/v1/runs/{run}")["state"] == "queued"
    assert world.get(f"/v1/contracts/{contract}")["state"] == "running"
    refused(world.http.get(f"/v1/runs/{run}/receipt"), "E-HUB-01", 404)
    world.engine.tell(run, {"event": "started"})
    world.engine.tell(run, PHASE)
    sealed = [{"to": world.north.fingerprint, "data": b64(b"x" * 2000)}]
    world.engine.tell(run, {"event": "progress", "sequence": 4, "sealed": sealed})
    receipt = world.receipt(contract, run)
    world.engine.tell(run, receipt)
    shown = world.get(f"/v1/runs/{run}")
    assert (shown["state"], shown["contract"], shown["error"]) == ("succeeded", contract, None)
    assert shown["phases"] == [PHASE]
    found = world.get(f"/v1/runs/{run}/events")
    assert found["events"] == [
        {"seq": 1, **PHASE},
        {"seq": 2, "event": "progress", "sequence": 4, "sealed": sealed},
        {"seq": 3, "event": "receipt"},
    ]
    assert world.get(f"/v1/runs/{run}/receipt") == {"envelope": receipt["envelope"]}
    assert world.get(f"/v1/contracts/{contract}")["state"] == "fulfilled"
    request = world.south.request("run.request", {"contract": contract})
    refused(world.post("/v1/runs", request), "E-CONTRACT-06", 409)


def test_only_a_party_of_an_active_contract_may_ask(world: World) -> None:
    contract, _ = world.proposed()
    body = {"contract": contract}
    refused(world.post("/v1/runs", world.south.request("run.request", body)), "E-CONTRACT-06", 409)
    active = {"contract": world.active()}
    refused(world.post("/v1/runs", world.stranger.request("run.request", active)), "E-HUB-03", 403)
    world.post("/v1/parties", world.stranger.record())
    refused(world.post("/v1/runs", world.stranger.request("run.request", active)), "E-HUB-04", 403)
    unknown = {"contract": "sha256:" + "0" * 64}
    refused(world.post("/v1/runs", world.south.request("run.request", unknown)), "E-HUB-01", 404)
    expiring = world.active()
    world.shift = timedelta(days=2)
    late = world.south.request("run.request", {"contract": expiring}, at=world.config.clock())
    refused(world.post("/v1/runs", late), "E-CONTRACT-06", 409)


def test_runs_are_counted_and_a_failed_one_is_given_back(world: World) -> None:
    contract = world.active(runs=1)
    run = world.run(contract)
    again = world.south.request("run.request", {"contract": contract})
    refused(world.post("/v1/runs", again), "E-HUB-09", 422)
    world.engine.tell(run, {"event": "failed", "error": {"code": "E-JOB-01", "detail": "x"}})
    shown = world.get(f"/v1/contracts/{contract}")
    assert (shown["state"], shown["runs"], shown["runs_succeeded"]) == ("failed", [run], 0)
    second = world.run(contract)
    world.engine.tell(second, world.receipt(contract, second))
    assert world.get(f"/v1/contracts/{contract}")["state"] == "fulfilled"


def test_the_last_of_several_runs_decides(world: World) -> None:
    contract = world.active(runs=3)
    first, second = world.run(contract), world.run(contract)
    world.engine.tell(first, {"event": "failed", "error": {}})
    assert world.get(f"/v1/contracts/{contract}")["state"] == "running"
    world.engine.tell(second, world.receipt(contract, second))
    shown = world.get(f"/v1/contracts/{contract}")
    assert (shown["state"], shown["runs_succeeded"], shown["runs_under_way"]) == ("active", 1, 0)


@pytest.mark.parametrize("what", ["contract_id", "run", "form", "type", "unsigned"])
def test_a_receipt_that_is_not_of_this_run_fails_it(world: World, what: str) -> None:
    contract = world.active()
    run = world.run(contract)
    good = world.receipt(contract, run)
    bad: dict[str, Any] = {
        "contract_id": world.receipt("sha256:" + "0" * 64, run),
        "run": world.receipt(contract, "0" * 32),
        "form": {"event": "receipt", "envelope": {"x": 1}},
        "type": {"event": "receipt", "envelope": {**good["envelope"], "payloadType": "text/plain"}},
        "unsigned": {"event": "receipt", "envelope": {**good["envelope"], "signatures": []}},
    }[what]
    world.engine.tell(run, bad)
    shown = world.get(f"/v1/runs/{run}")
    assert (shown["state"], shown["error"]["code"]) == ("failed", "E-RUN-26")


def test_what_a_run_says_is_cut_to_a_known_form(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = world.run(world.active())
    bad: list[dict[str, Any]] = [
        {"event": "phase", "phase": "unheard-of", "at": "2027-01-01T00:00:00Z"},
        {"event": "phase", "phase": "booted", "at": "yesterday"},
        {"event": "phase", "phase": "booted", "at": "2027-01-01T00:00:00Z", "detail": {"x": "y" * 501}},
        {"event": "phase", "phase": "booted", "at": "2027-01-01T00:00:00Z", "detail": {"x": float("nan")}},
        {"event": "phase", "phase": "booted", "at": "2027-01-01T00:00:00Z", "detail": {"x": {"y": 1}}},
        {"event": "progress", "sealed": [{"to": "<script>", "data": "AAAA"}]},
        {"event": "progress", "sealed": [{"to": "A", "data": "A" * 8193}]},
        {"event": "progress", "sealed": [{"to": "A", "data": "AAAA"}] * 65},
        {"event": "other"},
    ]
    for event in bad:
        world.engine.tell(run, event)
    assert world.get(f"/v1/runs/{run}/events")["events"] == []
    monkeypatch.setattr(events, "MAX_EVENTS", 3)
    for _ in range(9):
        world.engine.tell(run, {**PHASE, "novelty": 1})
    error = {"code": "E-NOT-OURS", "message": "<script>", "detail": "d" * 9999}
    world.engine.tell(run, {"event": "failed", "error": error, "sealed": "nonsense"})
    found = world.get(f"/v1/runs/{run}/events")["events"]
    assert [each["event"] for each in found] == ["phase", "phase", "phase", "failed"]
    assert found[-1]["error"] == {**RunEndedSilently("d" * 500).as_dict()}
    assert "novelty" not in found[0]


def test_a_second_end_changes_nothing(world: World) -> None:
    contract = world.active()
    run = world.run(contract)
    world.engine.tell(run, {"event": "failed", "error": {}})
    world.engine.tell(run, world.receipt(contract, run))
    world.engine.tell(run, PHASE)
    assert world.get(f"/v1/runs/{run}")["state"] == "failed"
    assert len(world.get(f"/v1/runs/{run}/events")["events"]) == 1


def test_a_party_cancels_a_run(world: World) -> None:
    contract = world.active()
    run = world.run(contract)
    path, body = f"/v1/runs/{run}/cancel", {"run": run}
    world.post("/v1/parties", world.stranger.record())
    refused(world.post(path, world.stranger.request("run.cancel", body)), "E-HUB-04", 403)
    refused(world.post(path, world.north.request("run.cancel", {"run": "0" * 32})), "E-HUB-04", 403)
    shown = world.post(path, world.north.request("run.cancel", body)).json()
    assert (shown["state"], shown["error"]["code"]) == ("cancelled", "E-RUN-25")
    assert world.engine.cancelled == [run]
    refused(world.post(path, world.north.request("run.cancel", body)), "E-CONTRACT-06", 409)
    assert world.get(f"/v1/contracts/{contract}")["state"] == "failed"
    world.run(contract)


def test_cancelling_a_contract_ends_its_runs(world: World) -> None:
    contract = world.active()
    run = world.run(contract)
    request = world.north.request("contract.cancel", {"contract": contract, "reason": "enough"})
    assert world.post(f"/v1/contracts/{contract}/cancel", request).json()["state"] == "cancelled"
    assert world.get(f"/v1/runs/{run}")["state"] == "cancelled"
    assert world.get(f"/v1/contracts/{contract}")["state"] == "cancelled"


def test_a_busy_engine_fails_the_run_and_says_so(world: World) -> None:
    contract = world.active()
    world.engine.busy = True
    refused(world.post("/v1/runs", world.south.request("run.request", {"contract": contract})), "E-RUN-28", 503)
    world.engine.busy = False
    world.run(contract)


def test_events_are_waited_for(world: World) -> None:
    run = world.run(world.active())
    begun = time.monotonic()
    threading.Timer(0.2, world.engine.tell, (run, PHASE)).start()
    assert world.get(f"/v1/runs/{run}/events", wait=30)["events"][0]["phase"] == "booted"
    assert time.monotonic() - begun < 25
    assert world.get(f"/v1/runs/{run}/events", after=1, wait=0.1) == {"events": [], "state": "queued"}
    refused(world.http.get(f"/v1/runs/{run}/events", params={"wait": 31}), "E-SERVICE-05", 422)
    refused(world.http.get("/v1/runs/none/events"), "E-HUB-01", 404)


def test_runs_are_listed_by_contract_and_party(world: World) -> None:
    first, second = world.active(), world.active()
    a, b = world.run(first), world.run(second)
    assert [row["run"] for row in world.get("/v1/runs")["runs"]] == [b, a]
    assert [row["run"] for row in world.get("/v1/runs", contract=first)["runs"]] == [a]
    assert [row["run"] for row in world.get("/v1/runs", party=world.north.fingerprint)["runs"]] == [b, a]
    assert world.get("/v1/runs", party="AAAA")["runs"] == []


def _upload(world: World, name: str, content: Any, **other: Any) -> Any:
    request = other.get("request") or world.north.request("store.put", {"name": other.get("signed", name)})
    headers = {"Paddock-Request": b64(request.to_json())}
    return world.http.put(f"/v1/store/{name}", content=content, headers=headers)


def test_an_object_is_uploaded_and_read_in_ranges(world: World) -> None:
    content = bytes(range(256)) * 1000
    answer = _upload(world, "sha256-ab/volume", (content[i : i + 10_000] for i in range(0, len(content), 10_000)))
    assert (answer.status_code, answer.json()["size"]) == (201, len(content))
    path = "/v1/store/sha256-ab/volume"
    assert world.http.get(path).content == content
    head = world.http.head(path)
    assert (head.headers["content-length"], head.content) == (str(len(content)), b"")
    for text, start, end in (
        ("bytes=0-0", 0, 1),
        ("bytes=10-", 10, len(content)),
        ("bytes=-5", len(content) - 5, len(content)),
        ("bytes=5-99999999999", 5, len(content)),
    ):
        part = world.http.get(path, headers={"range": text})
        assert (part.status_code, part.content) == (206, content[start:end])
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{len(content)}"
    for text in ("bytes=256000-", "bytes=5-4", "bytes=0-1,3-4", "bytes=-0", "lines=1-2", "bytes=-"):
        refused(world.http.get(path, headers={"range": text}), "E-HUB-07", 416)
    refused(world.http.get("/v1/store/nothing"), "E-STORE-02", 404)


def test_an_object_is_never_overwritten(world: World) -> None:
    assert _upload(world, "a", b"first").status_code == 201
    refused(_upload(world, "a", b"second"), "E-STORE-05", 409)
    refused(_upload(world, "a", (b"x" * 60_000 for _ in range(16))), "E-STORE-05", 409)
    assert world.http.get("/v1/store/a").content == b"first"


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "..%2fx", "%2fetc%2fpasswd", ".hidden", "a//b", "A", "a%00b", "x" * 201]
)
def test_a_name_that_leads_elsewhere_is_refused(world: World, name: str) -> None:
    answer = _upload(world, name, b"x")
    assert answer.status_code in (404, 405, 422), answer.text
    assert world.http.get(f"/v1/store/{name}").status_code in (404, 422)
    assert not [p for p in world.folder.rglob("*") if p.is_file() and not p.name.startswith("hub.db")]


def test_uploads_that_do_not_pass_are_refused(world: World) -> None:
    refused(world.http.put("/v1/store/a", content=b"x"), "E-CONTRACT-09", 422)
    refused(world.http.put("/v1/store/a", content=b"x", headers={"Paddock-Request": "!"}), "E-CONTRACT-09", 422)
    refused(_upload(world, "a", b"x", signed="b"), "E-CONTRACT-09", 422)
    refused(_upload(world, "a", b"x", request=world.stranger.request("store.put", {"name": "a"})), "E-HUB-03", 403)
    request = world.north.request("store.put", {"name": "a"})
    assert _upload(world, "a", b"x", request=request).status_code == 201
    refused(_upload(world, "a", b"x", request=request), "E-HUB-05", 409)
    refused(world.http.delete("/v1/store/a"), "E-SERVICE-06", 405)


def test_an_upload_over_the_limit_leaves_nothing(world: World) -> None:
    refused(_upload(world, "a", b"x" * ((1 << 20) + 1)), "E-SERVICE-04", 413)
    refused(_upload(world, "a", (b"x" * 65536 for _ in range(20))), "E-SERVICE-04", 413)
    assert not [p for p in (world.folder / "blobs").rglob("*") if p.is_file()]


def test_a_hub_that_restarts_ends_what_was_under_way(world: World) -> None:
    contract = world.active(runs=1)
    run = world.run(contract)
    world.engine.tell(run, {"event": "started"})
    with world.server() as second:
        world.connect(second)
        shown = world.get(f"/v1/runs/{run}")
        assert (shown["state"], shown["error"]["code"]) == ("failed", "E-RUN-24")
        assert world.get(f"/v1/contracts/{contract}")["state"] == "failed"
        world.run(contract)


def test_a_receipt_waits_for_a_database_that_is_full(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = world.active()
    run = world.run(contract)
    finish, failures = runs.finish, iter([DatabaseUnavailable("Its disk is full.")])

    def full_at_first(*arguments: Any) -> None:
        for error in failures:
            raise error
        finish(*arguments)

    monkeypatch.setattr(runs, "finish", full_at_first)
    world.engine.tell(run, world.receipt(contract, run))
    assert world.get(f"/v1/runs/{run}")["state"] == "succeeded"


def test_the_ledger_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "ledger.key"
    key = load_ledger_key(path)
    assert load_ledger_key(path).verify_key == key.verify_key
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("nonsense")
    with pytest.raises(Misconfigured):
        load_ledger_key(path)
    with pytest.raises(Misconfigured):
        load_ledger_key(tmp_path / "no" / "folder")
