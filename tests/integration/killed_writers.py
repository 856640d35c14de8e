"""Write through a mounted draft again and again, and kill the mount at random instants: run by test_kills.py.

    python -m tests.integration.killed_writers FOLDER KILLS SEED

One program writes, renames, changes in place and removes; it says before each step what the tree becomes by it, and after
each fsync, rename over a file, and end of the mount, that it was acknowledged. After each kill the draft opens, and its
tree is exactly one of those since the last acknowledgement: never less, never one between. Files of store, home and
temporary folder hold no plaintext.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from paddock.seal import DataKey
from paddock.store.folder import FolderStore
from paddock.views.drafts import Draft
from paddock.views.mount import __main__ as mounting
from paddock.views.mount import remove_stale
from tests.fixtures.killing import Disk, Said, adopt, fork, kill_after, wait_for_all

_TURNS = 6
_KILLS_OF_A_DRAFT = 25


def content(mark: bytes, size: int, tag: str) -> bytes:
    return mark * (size // len(mark)) + tag.encode()


def serve(folder: Path, number: str, key: DataKey, said: int) -> None:
    """The mount, as `python -m paddock.views.mount` serves it, told what to mount and heard over pipes."""
    own = folder / "own"
    os.environ.update(HOME=str(own), TMPDIR=str(own))
    os.chdir(own)
    told, tell = os.pipe()
    line = {
        "draft": number,
        "store": f"folder:{folder / 'store'}",
        "data_key": key.raw().hex(),
        "mountpoint": str(folder / "mnt"),
    }
    os.write(tell, json.dumps(line).encode() + b"\n")
    os.dup2(told, 0)  # `tell` stays open here: standard input does not end before the process does
    os.dup2(said, 1)
    if code := mounting.main():
        raise RuntimeError(f"the mount ended by itself: {code}")


def write(folder: Path, mark: bytes, seed: int, names: set[str], said: Said) -> None:
    """One program's steps. `tree` lines tell of changes before they are made, `kept` lines of acknowledgements."""
    chosen, names = random.Random(seed), set(names)
    for turn in range(_TURNS):
        kind = chosen.choice(["put", "put", "change", "drop"]) if names else "put"
        name = chosen.choice("abcd" if kind == "put" else sorted(names))
        size, tag, path = chosen.choice([32, 3000, 90_000, 200_000]), f"{seed}.{turn}", folder / name
        if kind == "put":
            new = path.with_suffix(".tmp")
            new.write_bytes(content(mark, size, tag))
            over = name in names
            said.say(["tree", name, size, tag])
            if over:
                new.replace(path)  # over a file: that is an acknowledgement by itself (D-7)
            else:
                new.rename(path)
                sync(path if chosen.random() < 0.5 else folder)
            names.add(name)
        elif kind == "change":
            said.say(["tree", name, size, tag])
            with path.open("r+b") as file:
                file.truncate(0)
                file.write(content(mark, size, tag))
                file.flush()
                os.fsync(file.fileno())
        else:
            said.say(["tree", name, 0, ""])
            path.unlink()
            sync(folder)
            names.discard(name)
        said.say(["kept"])
    # Closed and not synced: acknowledged by the end of the mount.
    said.say(["tree", "last", 3000, str(seed)])
    (folder / "last").write_bytes(content(mark, 3000, str(seed)))


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def drive(server: int, ready: int, program: Callable[[], None], said: Said) -> None:
    """Wait for the mount, write, end the mount. Where the mount is killed, its answers are errors."""
    try:
        if b"mounted" in os.read(ready, 1 << 16):
            program()
            os.kill(server, signal.SIGTERM)
    except OSError as error:
        said.say(["failed", str(error)])


def held(folder: Path, number: str, key: DataKey) -> dict[str, bytes]:
    draft = Draft.open(FolderStore(folder / "store"), key, number)
    found = {name: b"".join(map(bytes, chunks)) for name, chunks in draft.files()}
    return {name: data for name, data in found.items() if not name.endswith(".tmp")}


def possible(
    mark: bytes, state: dict[str, bytes], lines: list[list[Any]], *, killed: bool
) -> tuple[list[dict[str, bytes]], int, int]:
    """The trees that there were, which of them was acknowledged last, and how often one was."""
    trees, sure, promises = [dict(state)], 0, 0
    for word, *rest in lines:
        if word == "tree":
            name, size, tag = rest
            tree = {**trees[-1], name: content(mark, size, tag)}
            if not tag:
                del tree[name]
            trees.append(tree)
        elif word == "kept":
            sure = len(trees) - 1
            promises += 1
        elif not killed:
            sys.exit(f"the mount was not killed, and its files failed: {rest[0]}")
    # A mount that ended by itself has committed all that was written.
    return trees, sure if killed else len(trees) - 1, promises


def main(folder: Path, kills: int, seed: int) -> None:
    """Kill until there were enough kills."""
    adopt()
    for name in ("mnt", "own"):
        (folder / name).mkdir(parents=True)
    chance = random.Random(seed)
    mark = chance.randbytes(32)
    disk = Disk(mark[:16], mark[16:])
    said = Said(folder / "said")
    killed = kept = runs = 0
    whole = 0.0
    state: dict[str, bytes] = {}
    number, key, fresh = "", DataKey.generate(), True
    while killed < kills:
        if fresh:
            key, state, fresh = DataKey.generate(), {}, False
            number = Draft.create(FolderStore(folder / "store"), key).number
        remove_stale(folder / "mnt")
        ready, told = os.pipe()
        began = time.monotonic()
        server = fork(partial(serve, folder, number, key, told))
        os.close(told)
        runs += 1
        program = partial(write, folder / "mnt", mark, runs, set(state), said)
        writer = fork(partial(drive, server, ready, program, said))
        # The first is let to its end: it tells how long all of it takes.
        ended = kill_after(server, chance.random() * 1.2 * whole if whole else None, began)
        writing = kill_after(writer, None, time.monotonic())
        os.close(ready)
        wait_for_all()
        if writing.code or (not ended.killed and ended.code):
            sys.exit("the writer or the mount failed by itself")
        whole = whole or ended.seconds
        killed += ended.killed
        trees, sure, promises = possible(mark, state, said.heard(), killed=ended.killed)
        kept += promises
        state = held(folder, number, key)
        if state not in trees[sure:]:
            sys.exit(f"run {runs} of seed {seed}: after {killed} kills the draft holds no tree that it may hold")
        disk.check(folder / "store", folder / "own")
        fresh = killed % _KILLS_OF_A_DRAFT == 0 and ended.killed
    remove_stale(folder / "mnt")
    if Disk(mark[:16], mark[16:]).check(folder) < kills:
        sys.exit("there was nothing to look through")
    sys.stdout.write(f"{killed} kills, {kept} promises, {runs} runs of {whole:.3f} s\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
