"""Whole runs that are killed or stopped and go on from their checkpoints: the results are those of a run left alone."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from paddock.contract.signing import Proposal
from paddock.errors import HubRunsUsedUp, LeaseLost, NotAParty, RunCancelled, RunKilled, StateRefused
from paddock.party.results import fetch_results
from paddock.release import ReleaseStatement
from paddock.testing.stage import MARKER, Stage
from tests.integration.test_runs import enclave_pid

EPOCHS = 1000  # some seconds, a checkpoint each second
LONG = 100_000


def events(stage: Stage, run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while more := stage.modelco.hub.events(run, found[-1]["seq"] if found else 0, 0)["events"]:
        found.extend(more)
    return found


def checkpoints(stage: Stage, run: str) -> list[dict[str, Any]]:
    return [event for event in events(stage, run) if event["event"] == "checkpoint"]


def wait_for_checkpoint(stage: Stage, run: str, number: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(event["number"] == number for event in checkpoints(stage, run)):
            return
        time.sleep(0.02)
    raise AssertionError(f"checkpoint {number} did not come")


def stored(stage: Stage, run: str) -> list[Path]:
    return [path for path in (stage.folder / "operator").rglob(f"checkpoints/{run}/**/*") if path.is_file()]


def outputs(stage: Stage, run: str, folder: Path) -> dict[str, bytes]:
    got = fetch_results(stage.modelco, run, folder / run, overwrite=False)
    found = {}
    for output in got.folders.values():
        found.update({path.name: path.read_bytes() for path in output.iterdir()})
    return found


def interrupted(stage: Stage, proposal: Proposal, number: int = 1) -> str:
    """A run that is killed after its checkpoint of this number was stored."""
    run = stage.modelco.request_run(proposal.id)
    wait_for_checkpoint(stage, run, number)
    os.kill(enclave_pid(), signal.SIGKILL)
    with pytest.raises(RunKilled):
        _raise(stage, run)
    return run


def _raise(stage: Stage, run: str) -> None:
    error = stage.follow(run).error
    if error is not None:
        raise error


@pytest.fixture(scope="module")
def alone(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run that nobody disturbed gives."""
    seen = stage.run(stage.agree(epochs=EPOCHS, attempts=1))
    assert seen.state == "succeeded", seen.error
    assert checkpoints(stage, seen.run) == []
    return outputs(stage, seen.run, tmp_path_factory.mktemp("alone"))


def staged() -> set[Path]:
    """What lies in memory of processes that are gone; those that are not may be of tests that run beside."""
    found = Path("/dev/shm").glob("paddock-staged-*")
    return {path for path in found if not Path("/proc", path.name.split("-")[2]).exists()}


@pytest.mark.parametrize("view", ["auto", "staged"])
def test_a_killed_run_goes_on_with_the_same_bits(
    stage: Stage, alone: dict[str, bytes], tmp_path: Path, view: str
) -> None:
    before = staged()
    proposal = stage.agree(epochs=EPOCHS, view=view)
    run = interrupted(stage, proposal)
    assert staged() <= before  # nothing staged outlives its process
    assert stored(stage, run)
    assert not any(MARKER.encode() in path.read_bytes() for path in stored(stage, run))
    # North goes on with what modelco asked for: any party may.
    assert stage.north.resume_run(run) == proposal.id
    seen = stage.follow(run)
    assert seen.state == "succeeded", seen.error
    assert outputs(stage, run, tmp_path) == alone
    phases = [event.get("phase") for event in events(stage, run)]
    assert phases.count("resumed") == 1
    got = fetch_results(stage.north, run, tmp_path / "north", overwrite=False)
    assert got.verified.receipt.resumed in {event["asset"] for event in checkpoints(stage, run)}
    seen.verify_messages(got.verified.binding.keys.sign)
    # Both attempts are in the owner's account; the run counted once, and its checkpoints are gone.
    account = [ReleaseStatement.model_validate_json(text) for text in stage.north.keeper_account()["releases"]]
    assert [each.attempt for each in account if each.run == run] == [1, 2]
    assert stored(stage, run) == []
    with pytest.raises(StateRefused, match="succeeded"):
        stage.north.resume_run(run)


def test_a_cancelled_run_goes_on_and_two_checkpoints_are_kept(stage: Stage) -> None:
    run = stage.modelco.request_run(stage.agree(epochs=LONG).id)
    wait_for_checkpoint(stage, run, 3)
    stage.modelco.cancel_run(run)
    with pytest.raises(RunCancelled):
        _raise(stage, run)
    last = checkpoints(stage, run)[-1]["number"]
    kept = {str(path).partition(f"{run}/")[2].partition("/")[0] for path in stored(stage, run)}
    assert 1 <= len(kept) <= 3  # the third may be one that was being written
    stage.modelco.resume_run(run)
    wait_for_checkpoint(stage, run, last + 1)
    assert len(checkpoints(stage, run)) == last + 1
    stage.modelco.cancel_run(run)
    stage.follow(run)


def test_damaged_checkpoints_cost_time_and_no_bit(stage: Stage, alone: dict[str, bytes], tmp_path: Path) -> None:
    run = interrupted(stage, stage.agree(epochs=EPOCHS))
    files = stored(stage, run)
    for path in files:
        path.chmod(0o600)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    stage.modelco.resume_run(run)
    seen = stage.follow(run)
    assert seen.state == "succeeded", seen.error
    phases = [event.get("phase") for event in events(stage, run)]
    assert "checkpoint-refused" in phases
    assert "resumed" not in phases
    assert outputs(stage, run, tmp_path) == alone


def test_attempts_end_and_so_do_contracts(stage: Stage) -> None:
    proposal = stage.agree(epochs=LONG, attempts=2)
    run = interrupted(stage, proposal)
    stage.modelco.resume_run(run)
    wait_for_checkpoint(stage, run, 2)
    with pytest.raises(StateRefused, match=r"running|queued"):
        stage.modelco.resume_run(run)
    os.kill(enclave_pid(), signal.SIGKILL)
    with pytest.raises(RunKilled):
        _raise(stage, run)
    with pytest.raises(HubRunsUsedUp, match="2 of 2 attempts"):
        stage.modelco.resume_run(run)
    assert stored(stage, run)
    stage.north.cancel(proposal.id, "enough")
    assert stored(stage, run) == []


def test_a_party_that_revokes_stops_a_resumed_run_too(stage: Stage) -> None:
    proposal = stage.agree(epochs=LONG)
    run = interrupted(stage, proposal)
    stage.north.revoke(proposal.id, "enough")
    stage.modelco.resume_run(run)
    error = stage.follow(run).error
    assert error is not None
    assert error.code == "E-RELEASE-03"


def test_a_run_of_one_attempt_is_not_resumed(stage: Stage) -> None:
    proposal = stage.agree(epochs=100_000, attempts=1)
    run = stage.modelco.request_run(proposal.id)
    stage.wait_for_phase(run, "running")
    os.kill(enclave_pid(), signal.SIGKILL)
    with pytest.raises(RunKilled):
        _raise(stage, run)
    with pytest.raises(HubRunsUsedUp, match="1 of 1 attempts"):
        stage.modelco.resume_run(run)


def test_who_is_no_party_resumes_nothing(stage: Stage, tmp_path: Path) -> None:
    from paddock.cli.identity_commands import create_home
    from paddock.errors import HubAnswerRefused
    from paddock.party.party import Party

    run = interrupted(stage, stage.agree(epochs=LONG))
    home = create_home("stranger", tmp_path / "stranger", hub=stage.north.home.hub, keeper="http://127.0.0.1:1")
    with Party(home) as stranger:
        stranger.publish()
        with pytest.raises(HubAnswerRefused):
            stranger.resume_run(run)
        with pytest.raises(NotAParty):
            stranger.hub.resume_run(run, stranger._request("run.resume", {"run": run}))


def test_a_keeper_that_is_silent_ends_an_attempt_and_not_the_run(
    stage: Stage, alone: dict[str, bytes], tmp_path: Path
) -> None:
    run = stage.modelco.request_run(stage.agree(epochs=EPOCHS, lease_seconds=2).id)
    wait_for_checkpoint(stage, run, 1)
    stage.stop_keeper("north")
    try:
        with pytest.raises(LeaseLost):
            _raise(stage, run)
    finally:
        stage.start_keeper("north")
    stage.north.publish()
    stage.modelco.resume_run(run)
    assert stage.follow(run).state == "succeeded"
    assert outputs(stage, run, tmp_path) == alone
