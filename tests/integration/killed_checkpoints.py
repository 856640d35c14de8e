"""Save checkpoints of a run and go on from them, again and again, and kill the process at random instants: run by
test_kills.py.

    python -m tests.integration.killed_checkpoints FOLDER KILLS SEED

Each attempt is told where the newest two checkpoints stand, goes on from the newest, and saves more, each with a count that
is one higher. After each kill the newest one that was told of is there, whole, with its very content; the next attempt goes
on from it and from no other. What earlier attempts left is deleted as a hub does it. No file holds plaintext.
"""

from __future__ import annotations

import os
import random
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from paddock.contract import SignedContract
from paddock.enclave.checkpoints import Made, RunCheckpoints
from paddock.enclave.events import EventWriter
from paddock.enclave.launch import CheckpointHint
from paddock.seal import DataKey
from paddock.store.folder import FolderStore
from tests.fixtures.cast import NAMES, RUN, contract, secret
from tests.fixtures.killing import Disk, Said, fork, kill_after

_SAVES = 6
_ATTEMPTS_OF_A_RUN = 25
_KEPT = 2


def content(mark: bytes, count: int) -> dict[str, bytes]:
    return {"count": str(count).encode(), "tensors": mark * (2000 + 500 * (count % 5))}


def made(mark: bytes) -> Made:
    return {"training.weights": {"weights.safetensors": mark * 3000}}


def kept(folder: Path, agreed: SignedContract, sink: int) -> RunCheckpoints:
    parts = {name: DataKey(secret(f"part of {name}")) for name in NAMES}
    events = EventWriter(os.fdopen(os.dup(sink), "wb", buffering=0))
    return RunCheckpoints(agreed, RUN, parts, FolderStore(folder / "store"), events)


def attempt(folder: Path, agreed: SignedContract, hints: list[CheckpointHint], mark: bytes, expected: int) -> None:
    """Go on from the newest checkpoint, and save more."""
    os.environ["TMPDIR"] = str(folder / "own")
    sink = os.open(folder / "said", os.O_WRONLY | os.O_APPEND)
    checkpoints = kept(folder, agreed, sink)
    found = checkpoints.newest(hints)
    count = 0
    if found is not None:
        if found.state is None or found.made != made(mark):
            raise RuntimeError("it is not what was kept")
        count = int(found.state.open("count").read())
        if {name: found.state.open(name).read() for name in found.state.names()} != content(mark, count):
            raise RuntimeError("its state is not what was kept")
    if count != expected:
        raise RuntimeError(f"it goes on from {count}, and {expected} was the last that was told of")
    for number in range(count + 1, count + 1 + _SAVES):
        checkpoints.save("evaluation", made(mark), content(mark, number))


def main(folder: Path, kills: int, seed: int) -> None:
    """Kill until there were enough kills."""
    (folder / "own").mkdir(parents=True)
    agreed = contract()
    chance = random.Random(seed)
    mark = chance.randbytes(32)
    disk = Disk(mark[:16], mark[16:])
    said = Said(folder / "said")
    store = FolderStore(folder / "store")
    killed = told = attempts = 0
    whole = 0.0
    known: list[dict[str, Any]] = []
    while killed < kills:
        if attempts % _ATTEMPTS_OF_A_RUN == 0:
            forget(store, known)
            known = []
        hints = [CheckpointHint(id=each["id"], asset=each["asset"]) for each in reversed(known)]
        expected = known[-1]["number"] if known else 0
        began = time.monotonic()
        child = fork(partial(attempt, folder, agreed, hints, mark, expected))
        attempts += 1
        ended = kill_after(child, chance.random() * 1.2 * whole if whole else None, began)
        if not ended.killed and ended.code:
            sys.exit(f"attempt {attempts} of seed {seed} failed by itself, after {killed} kills")
        whole = whole or ended.seconds
        killed += ended.killed
        saved = [event for event in said.heard() if event["event"] == "checkpoint"]
        told += len(saved)
        if [event["number"] for event in saved] != list(range(expected + 1, expected + 1 + len(saved))):
            sys.exit(f"attempt {attempts} of seed {seed} told of other numbers")
        known += saved
        forget(store, known[:-_KEPT])
        known = known[-_KEPT:]
        disk.check(folder / "store", folder / "own")
    if Disk(mark[:16], mark[16:]).check(folder) < _KEPT:
        sys.exit("there was nothing to look through")
    sys.stdout.write(f"{killed} kills, {told} checkpoints, {attempts} attempts of {whole:.3f} s\n")


def forget(store: FolderStore, old: list[dict[str, Any]]) -> None:
    """Delete them, as a hub does."""
    for event in old:
        for name in event["objects"]:
            store.delete(name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
