"""Runs that are begun again: at one time, after a cancel, and what becomes of their checkpoints."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from paddock.errors import GrantEnded
from paddock.hub import blobs, runs
from paddock.hub.hub import Hub
from tests.unit.hub.world import World, refused

FAILED = {"event": "failed", "error": {}}


def _checkpoint(run: str, number: int) -> dict[str, Any]:
    identity = f"{number:032x}"
    return {
        "event": "checkpoint",
        "at": "2027-01-01T00:00:00Z",
        "number": number,
        "id": identity,
        "asset": f"sha256:{number:064x}",
        "objects": [f"checkpoints/{run}/{identity}/manifests/x"],
    }


def _stored(world: World, run: str, number: int) -> Path:
    """An object that the run put into the store for a checkpoint."""
    path = world.folder / "blobs" / "checkpoints" / run / f"{number:032x}" / "manifests" / "x"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"sealed")
    return path


def _resume(world: World, run: str) -> Any:
    return world.post(f"/v1/runs/{run}/resume", world.north.request("run.resume", {"run": run}))


def test_a_run_that_failed_goes_on_with_its_newest_two_checkpoints(world: World) -> None:
    run = world.run(world.active())
    files = [_stored(world, run, number) for number in (1, 2, 3)]
    for number in (1, 2, 3):
        world.engine.tell(run, _checkpoint(run, number))
    assert [path.exists() for path in files] == [False, True, True]
    world.engine.tell(run, FAILED)
    assert _resume(world, run).json()["attempt"] == 2
    assert [each["id"] for each in world.engine.launches[run].checkpoints] == [f"{3:032x}", f"{2:032x}"]
    refused(_resume(world, run), "E-CONTRACT-06", 409)
    world.engine.tell(run, FAILED)
    refused(_resume(world, run), "E-HUB-09", 422)  # the contract signs two attempts


def test_two_who_resume_at_once_begin_one_attempt(world: World) -> None:
    run = world.run(world.active())
    world.engine.tell(run, FAILED)
    answers: list[int] = []
    asking = [threading.Thread(target=lambda: answers.append(_resume(world, run).status_code)) for _ in range(4)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert sorted(answers) == [200, 409, 409, 409]
    assert world.get(f"/v1/runs/{run}")["attempt"] == 2


def test_an_attempt_begins_only_when_the_one_before_has_said_its_last_word(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paddock.hub.hub._ENDING_SECONDS", 0.2)
    contract = world.active()
    run = world.run(contract)
    told, world.engine.tell = world.engine.tell, lambda run, event: None  # it is asked to end, and takes its time
    shown = world.post(f"/v1/runs/{run}/cancel", world.north.request("run.cancel", {"run": run})).json()
    assert shown["state"] == "cancelled"
    again = world.north.request("run.resume", {"run": run})
    refused(world.post(f"/v1/runs/{run}/resume", again), "E-HUB-12", 503)
    assert world.get(f"/v1/runs/{run}") | {"phases": []} == shown | {"phases": []}
    told(run, FAILED)
    # The same request: nothing had been written of it.
    assert world.post(f"/v1/runs/{run}/resume", again).json()["attempt"] == 2
    told(run, world.receipt(contract, run))
    assert world.get(f"/v1/runs/{run}")["state"] == "succeeded"


def test_a_receipt_that_was_on_its_way_counts_though_the_run_was_stopped(world: World) -> None:
    contract = world.active(runs=1)
    run = world.run(contract)
    told, world.engine.tell = world.engine.tell, lambda run, event: None
    world.post(f"/v1/runs/{run}/cancel", world.north.request("run.cancel", {"run": run}))
    assert world.get(f"/v1/contracts/{contract}")["state"] == "failed"
    told(run, world.receipt(contract, run))
    assert world.get(f"/v1/runs/{run}")["state"] == "succeeded"
    assert world.get(f"/v1/contracts/{contract}")["state"] == "fulfilled"
    assert world.get(f"/v1/runs/{run}/receipt")["envelope"]


@pytest.mark.parametrize("final", ["another's", "failed", "cancelled contract"])
def test_what_else_comes_after_a_stop_changes_nothing(world: World, final: str) -> None:
    contract = world.active()
    run = world.run(contract)
    told, world.engine.tell = world.engine.tell, lambda run, event: None
    if final == "cancelled contract":
        request = world.north.request("contract.cancel", {"contract": contract, "reason": ""})
        world.post(f"/v1/contracts/{contract}/cancel", request)
    world.post(f"/v1/runs/{run}/cancel", world.north.request("run.cancel", {"run": run}))
    before = world.get(f"/v1/runs/{run}"), world.get(f"/v1/contracts/{contract}")
    if final == "cancelled contract" and before[0]["state"] != "cancelled":
        told(run, {"event": "failed", "error": {"code": "E-RUN-25"}})
        before = world.get(f"/v1/runs/{run}"), world.get(f"/v1/contracts/{contract}")
    told(run, FAILED if final == "failed" else world.receipt(contract, "0" * 32 if final == "another's" else run))
    assert (world.get(f"/v1/runs/{run}"), world.get(f"/v1/contracts/{contract}")) == before


def test_a_busy_engine_uses_up_no_attempt(world: World) -> None:
    run = world.run(world.active())
    world.engine.tell(run, FAILED)
    world.engine.busy = True
    for _ in range(4):
        refused(_resume(world, run), "E-RUN-28", 503)
    world.engine.busy = False
    assert _resume(world, run).json()["attempt"] == 2


def test_a_cancel_before_the_engine_knows_of_the_run_ends_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = world.run(world.active())
    world.engine.tell(run, FAILED)
    submit = world.engine.submit

    def slow(launch: Any) -> None:
        world.post(f"/v1/runs/{run}/cancel", world.south.request("run.cancel", {"run": run}))
        world.engine.cancelled.clear()  # it came too early: the engine knew of no such run
        submit(launch)

    monkeypatch.setattr(world.engine, "submit", slow)
    assert _resume(world, run).json()["state"] == "cancelled"
    assert world.engine.cancelled == [run]


def test_a_checkpoint_told_of_after_a_stop_is_used_and_then_deleted(world: World) -> None:
    contract = world.active()
    run = world.run(contract)
    path = _stored(world, run, 1)
    told, world.engine.tell = world.engine.tell, lambda run, event: None
    world.post(f"/v1/runs/{run}/cancel", world.north.request("run.cancel", {"run": run}))
    told(run, _checkpoint(run, 1))
    assert all(event["event"] != "checkpoint" for event in world.get(f"/v1/runs/{run}/events")["events"])
    told(run, FAILED)
    _resume(world, run)
    assert [each["id"] for each in world.engine.launches[run].checkpoints] == [f"{1:032x}"]
    told(run, world.receipt(contract, run))
    assert not path.exists()


def test_k7_a_run_reaches_no_other_runs_checkpoints(world: World) -> None:
    hub = Hub(world.config)
    try:
        token = hub.grants.give("a" * 32)
        for name in ("checkpoints/" + "b" * 32 + "/x", "checkpoints/" + "a" * 31 + "/x", "checkpoints/x"):
            with pytest.raises(GrantEnded):
                blobs._check_granted(hub, token, name)
        blobs._check_granted(hub, token, "checkpoints/" + "a" * 32 + "/x")
    finally:
        hub.close()
    assert runs.KEPT_CHECKPOINTS == 2
