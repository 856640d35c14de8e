"""Whole runs over real processes: what succeeds, and everything that may go wrong on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from paddock.cli.demo.frauds import Scene
from paddock.contract.asset import AssetKind
from paddock.crypto.moment import read_moment
from paddock.errors import (
    ContractNotInForce,
    ContractSignatureRefused,
    HubRunsUsedUp,
    LeaseLost,
    PaddockError,
    ReceiptMismatch,
    RunKilled,
    RunsUsedUp,
    SealRefused,
    StateRefused,
    Unavailable,
    UnwrapRefused,
)
from paddock.party.home import Home
from paddock.party.party import Party
from paddock.party.results import fetch_receipt, fetch_results, load_receipt, own_policy
from paddock.receipt import verify_receipt
from paddock.testing.stage import MARKER, Stage


def enclave_pid(seconds: float = 20.0) -> int:
    """The enclave process that this test process started."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"paddock.enclave" in command and b"-m" in command and _is_ours(entry):
                return int(entry.name)
        time.sleep(0.02)
    raise AssertionError("no enclave is running")


def _is_ours(process: Path) -> bool:
    """Whether this test process is among those that it comes from: other tests run beside."""
    while True:
        try:
            parent = (process / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[1]
        except OSError:
            return False
        if int(parent) in (0, os.getpid()):
            return parent != "0"
        process = Path("/proc") / parent


def test_a_run_gives_each_party_what_the_contract_says(stage: Stage, tmp_path: Path) -> None:
    seen = stage.run(stage.agree())
    assert seen.state == "succeeded", seen.error
    modelco = fetch_results(stage.modelco, seen.run, tmp_path / "modelco", overwrite=False)
    north = fetch_results(stage.north, seen.run, tmp_path / "north", overwrite=False)
    assert set(modelco.folders) == {"weights", "curve"}
    assert set(north.folders) == {"curve"}
    assert north.others == ["weights"]
    assert (modelco.folders["weights"] / "weights.safetensors").stat().st_size > 0
    assert modelco.verified.receipt.simulated
    seen.verify_messages(modelco.verified.binding.keys.sign)
    assert seen.messages[-1].values["loss"] > 0


def test_a_receipt_is_verified_from_its_file_alone(stage: Stage, tmp_path: Path) -> None:
    seen = stage.run(stage.agree())
    got = fetch_results(stage.north, seen.run, tmp_path / "out", overwrite=False)
    envelope = load_receipt(got.receipt_file)
    verify_receipt(envelope, policy=own_policy(stage.north), expected_contract=got.verified.contract.id)
    changed = json.loads(got.receipt_file.read_text())
    changed["payload"] = changed["payload"][:-8] + ("AAAA" if changed["payload"][-8:-4] != "AAAA" else "BBBB") + "fQ=="
    got.receipt_file.write_text(json.dumps(changed))
    with pytest.raises(PaddockError):
        verify_receipt(load_receipt(got.receipt_file), policy=own_policy(stage.north), expected_contract=None)


def test_a_stranger_cannot_use_somebodys_results(stage: Stage, tmp_path: Path) -> None:
    seen = stage.run(stage.agree())
    folder = tmp_path / "stranger"
    from paddock.cli.identity_commands import create_home

    create_home("stranger", folder, hub=stage.north.home.hub, keeper="http://127.0.0.1:1")
    with Party(Home.load(folder)) as stranger, pytest.raises(ReceiptMismatch):
        fetch_results(stranger, seen.run, tmp_path / "out", overwrite=False)
    assert not (tmp_path / "out").exists()


def test_no_plaintext_is_left_on_any_disk(stage: Stage) -> None:
    """A marker in the records is in its owner's own folder, and nowhere that run, hub, store or keepers write to."""
    marker = MARKER.encode()
    before = _temporary_files()
    seen = stage.run(stage.agree())
    assert seen.state == "succeeded"
    places = [path for path in stage.folder.rglob("*") if path.is_file()]
    places += [path for path in _temporary_files() - before if path.is_file()]
    assert len(places) > 20
    holding = {path for path in places if marker in path.read_bytes()}
    assert holding == {stage.folder / "records" / "patients.csv"}


def _temporary_files() -> set[Path]:
    found: set[Path] = set()
    for root in ("/tmp", "/var/tmp", "/dev/shm"):
        for folder, _, names in os.walk(root, onerror=lambda _error: None):
            found.update(Path(folder) / name for name in names)
    return found


def test_a_missing_signature_is_refused_by_everyone(stage: Stage) -> None:
    proposal = stage.propose()
    with pytest.raises(ContractSignatureRefused):
        stage.modelco.request_run(proposal.id)
    # Past the own client: the hub refuses as well, and past the hub the enclave and the keepers do.
    request = stage.modelco._request("run.request", {"contract": proposal.id})
    with pytest.raises(StateRefused):
        stage.modelco.hub.request_run(request)
    assert isinstance(past_the_hub(stage, proposal.envelope), ContractSignatureRefused)


def test_an_expired_contract_is_refused_by_hub_and_keepers(stage: Stage) -> None:
    proposal = stage.agree(seconds=6)
    expires = read_moment(proposal.terms.expires)
    time.sleep(max(0.0, (expires - datetime.now(UTC)).total_seconds()) + 0.1)
    with pytest.raises(StateRefused):
        stage.modelco.request_run(proposal.id)
    assert stage.modelco.contract(proposal.id)[1]["state"] == "expired"
    assert isinstance(past_the_hub(stage, stage.north.contract(proposal.id)[0].envelope), ContractNotInForce)


def test_runs_are_counted_by_hub_and_keepers(stage: Stage) -> None:
    proposal = stage.agree(runs=1)
    assert stage.run(proposal).state == "succeeded"
    with pytest.raises((HubRunsUsedUp, StateRefused)):
        stage.modelco.request_run(proposal.id)
    assert isinstance(past_the_hub(stage, proposal.envelope), RunsUsedUp)


def test_an_unknown_operator_is_refused_by_name(stage: Stage, program: Path, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    text = (program / "program.json").read_text()
    assert '"1.relu"' in text
    (folder / "program.json").write_text(text.replace('"1.relu"', '"1.py_func"'))
    (folder / "weights.safetensors").write_bytes((program / "weights.safetensors").read_bytes())
    stage.seal_program(folder, "foreign")
    seen = stage.run(stage.agree(program="foreign"))
    assert seen.state == "failed"
    assert seen.error is not None
    assert seen.error.code.startswith("E-PROGRAM-")
    assert "py_func" in seen.error.detail
    # The host learns the code, not the detail.
    said = stage.modelco.hub.run(seen.run)["error"]
    assert said["code"] == seen.error.code
    assert said["detail"] == ""


def test_data_that_do_not_fit_the_program_are_refused_by_field(stage: Stage) -> None:
    seen = stage.run(stage.agree(columns='["height", "weight", "sick"]'))
    assert seen.state == "failed"
    assert seen.error is not None
    assert seen.error.code.startswith(("E-JOB-", "E-PROGRAM-"))
    assert "x" in seen.error.detail


def test_a_killed_enclave_fails_its_run_and_can_be_asked_for_again(stage: Stage) -> None:
    proposal = stage.agree(epochs=3000)
    run = stage.modelco.request_run(proposal.id)
    stage.wait_for_phase(run, "running")
    os.kill(enclave_pid(), signal.SIGKILL)
    seen = stage.follow(run)
    assert seen.state == "failed"
    assert isinstance(seen.error, RunKilled)
    assert stage.modelco.contract(proposal.id)[1]["state"] == "failed"
    with pytest.raises(PaddockError):
        fetch_receipt(stage.modelco, run)
    again = stage.modelco.request_run(proposal.id)
    stage.modelco.cancel_run(again)
    assert stage.follow(again).state == "cancelled"


def test_a_keeper_that_cannot_be_reached_fails_the_run_and_nothing_is_lost(stage: Stage) -> None:
    proposal = stage.agree()
    stage.stop_keeper("north")
    try:
        seen = stage.run(proposal)
        assert seen.state == "failed"
        assert isinstance(seen.error, Unavailable)
    finally:
        stage.start_keeper("north")
    assert stage.run(proposal).state == "succeeded"


def test_a_party_stops_a_run_by_revoking(stage: Stage) -> None:
    proposal = stage.agree(epochs=100_000, lease_seconds=2)
    run = stage.modelco.request_run(proposal.id)
    stage.wait_for_phase(run, "running")
    stage.north.revoke(proposal.id, "consent withdrawn")
    seen = stage.follow(run)
    assert seen.state == "failed"
    assert isinstance(seen.error, LeaseLost)
    assert stage.run(proposal).state == "failed"


def test_a_run_ends_without_outputs_when_a_keeper_falls_silent(stage: Stage) -> None:
    proposal = stage.agree(epochs=100_000, lease_seconds=2)
    run = stage.modelco.request_run(proposal.id)
    stage.wait_for_phase(run, "running")
    stage.stop_keeper("north")
    try:
        seen = stage.follow(run)
        assert isinstance(seen.error, LeaseLost)
    finally:
        stage.start_keeper("north")


def test_a_swapped_payload_is_refused(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "patients.csv").write_text("height,weight,sick\n1,2,0\n1,3,1\n")
    other = stage.north.seal(tmp_path / "other", "other", AssetKind.DATASET).own
    proposal = stage.agree()
    good = proposal.terms.inputs["records"].asset
    store = stage.folder / "operator" / "store" / "manifests"
    mine, theirs = (store / asset.removeprefix("sha256:") for asset in (good, other.asset))
    kept = mine.read_bytes()
    mine.unlink()
    mine.write_bytes(theirs.read_bytes())
    try:
        seen = stage.run(proposal)
    finally:
        mine.unlink()
        mine.write_bytes(kept)
    assert isinstance(seen.error, SealRefused)


def test_the_wrong_home_cannot_open_an_own_asset(stage: Stage) -> None:
    own = stage.north.assets.find("records")
    with pytest.raises(UnwrapRefused):
        own.data_key(stage.modelco.home.keys.seal)


def test_a_full_disk_fails_sealing_with_nothing_left_and_later_works(stage: Stage, tmp_path: Path) -> None:
    """The hub's store stands on a file system of 64 KiB, in a process of its own."""
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "noise.bin").write_bytes(os.urandom(1 << 20))
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "from pathlib import Path\n"
        "from paddock.errors import Unavailable\n"
        "from paddock.seal import DataKey, write_volume\n"
        "from paddock.store import open_store\n"
        "from paddock.views import local_files\n"
        "try:\n"
        "    write_volume(local_files(Path(sys.argv[1])), DataKey.generate(), open_store('folder:' + sys.argv[2]))\n"
        "except Unavailable as error:\n"
        "    print(error.code); sys.exit(error.exit_code)\n"
    )
    store = tmp_path / "store"
    store.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "big"), str(store)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 4, done.stderr
    assert done.stdout.startswith("E-STORE-")
    assert [path for path in store.rglob("*") if path.is_file()] == []


def past_the_hub(stage: Stage, envelope: object) -> PaddockError:
    """Start an enclave by the executor itself, as a dishonest operator would."""
    scene = Scene(
        parties=stage.parties,
        verified=None,  # type: ignore[arg-type]
        store=stage.folder / "operator" / "store",
        executor=stage.engine.executor,
        simulator_folder=stage.folder / "operator",
    )
    return scene.run(envelope)  # type: ignore[arg-type]


def test_the_hub_tells_when_a_contract_ends(stage: Stage) -> None:
    proposal = stage.agree()
    stage.modelco.cancel(proposal.id, "no longer needed")
    said = stage.north.contract(proposal.id)[1]
    assert said["state"] == "cancelled"
    assert said["reason"] == "no longer needed"
    with pytest.raises(PaddockError):
        stage.north.request_run(proposal.id)


def test_a_store_that_vanishes_fails_the_run_and_nothing_is_lost(stage: Stage) -> None:
    proposal = stage.agree()
    store = stage.folder / "operator" / "store"
    aside = store.with_name("store-aside")
    store.rename(aside)
    try:
        seen = stage.run(proposal)
    finally:
        if store.exists():
            shutil.rmtree(store)
        aside.rename(store)
    assert seen.state == "failed"
    assert isinstance(seen.error, Unavailable)
    assert stage.run(proposal).state == "succeeded"


def test_nothing_secret_stands_in_arguments_or_environment_of_a_run(stage: Stage) -> None:
    run = stage.modelco.request_run(stage.agree(epochs=100_000).id)
    stage.wait_for_phase(run, "running")
    process = Path("/proc") / str(enclave_pid())
    shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    stage.modelco.cancel_run(run)
    stage.follow(run)
    names = {part.partition(b"=")[0] for part in shown.split(b"\0") if b"=" in part}
    assert names <= {b"PATH", b"LANG", b"LC_ALL", b"TZ", b"HOME", b"OMP_NUM_THREADS", b"MKL_NUM_THREADS"} | {
        b"OPENBLAS_NUM_THREADS"
    }
    for party in stage.parties.values():
        secrets = party.home.keys.to_secret_dict().values()
        assert not any(secret.encode() in shown for secret in secrets)
