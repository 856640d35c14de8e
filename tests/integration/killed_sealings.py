"""Seal a folder again and again, and kill the sealing process at random instants: run by test_kills.py.

    python killed_sealings.py FOLDER KILLS SEED

After each kill: no plaintext is among what was stored or noted, every part that was noted is whole in the store, and
none that was noted before is gone. Between kills the folder changes now and then; finished versions hold what it held.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from paddock.crypto.hpke import OpeningKey
from paddock.party.sealing import Sealing
from paddock.seal import DataKey, SealOptions, VolumeReader, write_volume
from paddock.store.folder import FolderStore
from paddock.views import local_files

MARKER = b"plaintext-that-must-not-be-seen."
KEY = OpeningKey(bytes(range(32)))
DATA_KEY = DataKey(bytes(range(32, 64)))
OPTIONS = SealOptions(segment_bytes=64 << 10, part_bytes=256 << 10)


def seal(folder: Path, base: str) -> None:
    """One attempt; on success the asset's id is left in a file, as the catalogue would hold it."""
    store = FolderStore(folder / "store")
    with Sealing(folder / "noted" / "records.db", KEY) as sealing:
        sealing.begin(base, "padme", VolumeReader.open(base, store, DATA_KEY) if base else None)
        sealed = write_volume(
            sealing.contents(local_files(folder / "source")),
            DATA_KEY,
            store,
            options=OPTIONS,
            known=sealing.parts(),
            part_done=sealing.note,
        )
        draft = folder / "asset.new"
        draft.write_text(sealed.asset)
        draft.replace(folder / "asset")
        sealing.finish()


def check(folder: Path, noted: set[str]) -> set[str]:
    """What must hold after a kill; returns the parts that are noted."""
    for path in [*(folder / "store").rglob("*"), *(folder / "noted").rglob("*")]:
        if path.is_file() and MARKER in path.read_bytes():
            sys.exit(f"plaintext in {path}")
    if not (folder / "noted" / "records.db").exists():
        return set()
    store = FolderStore(folder / "store")
    with Sealing(folder / "noted" / "records.db", KEY) as sealing:
        parts = sealing.parts()
        # All that is noted opens: as a volume that names nothing but these parts.
        total = sum(part.content_bytes for part in parts)
        rows = list(sealing._database.execute("SELECT length FROM contents"))
    for part in parts:
        name = f"volumes/{part.number}/payload"
        if store.size(name) != part.facts.layout.sealed_bytes:
            sys.exit(f"{name} is not whole")
    if rows and not total:
        sys.exit("contents are noted that no part holds")
    numbers = {part.number for part in parts}
    if not noted <= numbers:
        sys.exit("a part that was noted is gone")
    return numbers


def main(folder: Path, kills: int, seed: int) -> None:
    """Kill until there were enough kills."""
    chance = random.Random(seed)
    source = folder / "source"
    source.mkdir(parents=True)

    def write(name: str, size: int) -> None:
        (source / name).write_bytes(MARKER * (size // len(MARKER)) + chance.randbytes(64))

    write("large", 3 << 20)
    for number in range(40):
        write(f"small-{number}", chance.randrange(20_000))
    killed = finished = 0
    base, noted, longest = "", set[str](), 0.25
    while killed < kills:
        child = os.fork()
        if child == 0:
            try:
                seal(folder, base)
            except BaseException as error:  # noqa: BLE001 - told to the parent
                sys.stderr.write(f"{type(error).__name__}: {error}\n")
                os._exit(1)
            os._exit(0)
        began = time.monotonic()
        time.sleep(chance.random() * longest)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            sys.exit("a sealing failed by itself")
        if os.WIFSIGNALED(status):
            killed += 1
        else:
            longest = min(0.25, max(0.02, 0.9 * (time.monotonic() - began)))
        now = (folder / "asset").read_text() if (folder / "asset").exists() else ""
        if now != base:
            finished += 1
            reader = VolumeReader.open(now, FolderStore(folder / "store"), DATA_KEY)
            if {f.path: f.open().read() for f in reader.iter_files()} != {
                path.name: path.read_bytes() for path in source.iterdir()
            }:
                sys.exit("a version does not hold what was sealed")
            base, noted = now, set()
            write("large", chance.randrange(3 << 20))
            write(f"small-{chance.randrange(40)}", chance.randrange(20_000))
        else:
            noted = check(folder, noted)
    sys.stdout.write(f"{killed} kills, {finished} versions\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
