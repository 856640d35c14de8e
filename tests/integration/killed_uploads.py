"""Seal a folder into an S3 service again and again, and kill the sealing at random instants: run by test_kills.py.

    python -m tests.integration.killed_uploads FOLDER KILLS SEED ADDRESS ENDPOINT

The sealing says of each object what it consists of before the service can have all of it, and that it was kept once the
store said so; and of each part that it was noted. After each kill another program looks at the bucket: each object in it
is exactly one that was given whole, everything acknowledged is there, and nothing holds plaintext; a sealing goes on from
the parts that were noted; finished versions hold what was sealed.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from paddock.crypto.hpke import OpeningKey
from paddock.party.sealing import Sealing
from paddock.seal import DataKey, SealOptions, VolumeReader, write_volume
from paddock.seal.writer import PartDone
from paddock.store.api import Buffer
from paddock.store.cloud import CloudOptions, CloudStore, read_address
from paddock.testing.stores import MemoryStore
from paddock.views import local_files
from tests.fixtures.killing import Disk, Said, fork, kill_after
from tests.fixtures.object_stores import S3Server

KEY = OpeningKey(bytes(range(32)))
DATA_KEY = DataKey(bytes(range(32, 64)))
OPTIONS = SealOptions(segment_bytes=32 << 10, part_bytes=256 << 10)
UPLOADS = CloudOptions(part_bytes=32 << 10)
_VERSIONS = 4


class Telling:
    """A store that tells what it is given and what it said that it kept."""

    def __init__(self, store: CloudStore, said: Said) -> None:
        self._store = store
        self._said = said

    def put(self, name: str, chunks: Iterable[Buffer]) -> int:
        digest = hashlib.sha256()

        def told() -> Iterator[Buffer]:
            for chunk in chunks:
                digest.update(chunk)
                yield chunk
            self._said.say(["given", name, digest.hexdigest()])

        count = self._store.put(name, told())
        self._said.say(["kept", name])
        return count

    def read(self, name: str, offset: int, length: int) -> bytes:
        return self._store.read(name, offset, length)

    def size(self, name: str) -> int:
        return self._store.size(name)


def seal(folder: Path, address: str, base: str, said: Said) -> None:
    """One attempt. This is the first use of obstore in this process: its threads do not survive a fork."""
    os.environ.update(HOME=str(folder / "own"), TMPDIR=str(folder / "own"))
    store = Telling(CloudStore(read_address(address), UPLOADS), said)
    with Sealing(folder / "noted" / "records.db", KEY) as sealing:
        sealing.begin(base, "padme", VolumeReader.open(base, store, DATA_KEY) if base else None)
        said.say(["begun", [part.number for part in sealing.parts()]])

        def note(done: PartDone) -> None:
            sealing.note(done)
            said.say(["noted", done.part.number])

        sealed = write_volume(
            sealing.contents(local_files(folder / "source")),
            DATA_KEY,
            store,
            options=OPTIONS,
            known=sealing.parts(),
            part_done=note,
        )
        said.say(["sealed", sealed.asset])
        sealing.finish()


class Bucket:
    """Another program's view of the bucket; objects are fetched once, and again where the service says they changed."""

    def __init__(self, server: S3Server, bucket: str, prefix: str) -> None:
        self._client: Any = server.client()
        self._bucket, self._prefix = bucket, prefix + "/"
        self._tags: dict[str, str] = {}
        self.objects: dict[str, bytes] = {}

    def look(self) -> list[str]:
        """Bring `objects` up to date; returns the names of those that are new or changed."""
        listed: dict[str, str] = {}
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix):
            listed.update({row["Key"].removeprefix(self._prefix): row["ETag"] for row in page.get("Contents", [])})
        for name in self.objects.keys() - listed.keys():
            del self.objects[name]
        new = [name for name, tag in listed.items() if name not in self.objects or self._tags[name] != tag]
        for name in new:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
            self.objects[name], self._tags[name] = answer["Body"].read(), listed[name]
        return new

    def broken_off(self) -> set[str]:
        """Names of uploads that were begun and never ended."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=self._prefix)
        return {row["Key"].removeprefix(self._prefix) for page in pages for row in page.get("Uploads", [])}

    def delete(self, names: set[str]) -> None:
        for name in names:
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name)
            del self.objects[name]


class Play:
    """The folder that is sealed, the bucket, and what was said so far of both."""

    def __init__(self, folder: Path, seed: int, bucket: Bucket) -> None:
        self._chance = random.Random(seed)
        self._marks = (mark := self._chance.randbytes(32))[:16], mark[16:]
        self._disk = Disk(*self._marks)
        self._folder, self._bucket = folder, bucket
        self._noted: list[str] = []
        self._new: set[str] = set()
        self._given: dict[str, str] = {}
        self._kept: set[str] = set()
        self.base = self._asset = ""
        self.finished = self.resumed = 0
        for path in (folder / "source", folder / "own"):
            path.mkdir(parents=True)
        self._write("large", 450_000)
        for number in range(10):
            self._write(f"small-{number}", 4_000)

    def _write(self, name: str, size: int) -> None:
        data = b"".join(self._marks) * (size // 32) + self._chance.randbytes(64)
        (self._folder / "source" / name).write_bytes(data)

    def delay(self, whole: float) -> float:
        """When the next one is killed."""
        return self._chance.random() * 1.2 * whole

    def hear(self, lines: list[list[Any]]) -> None:
        """Take in what a sealing said."""
        for word, about, *more in lines:
            if word == "given":
                self._given[about] = more[0]
            elif word == "kept":
                self._kept.add(about)
            elif word == "begun":
                if about[: len(self._noted)] != self._noted:
                    sys.exit("a sealing did not go on from where it was")
                self.resumed += bool(self._new)
                self._noted = about
            elif word == "noted":
                self._noted.append(about)
                self._new.add(about)
            else:
                self._asset = about

    def check(self) -> int:
        """What must hold after a kill; returns how many uploads were broken off so far."""
        for name in self._bucket.look():
            data = self._bucket.objects[name]
            if hashlib.sha256(data).hexdigest() != self._given.get(name):
                sys.exit(f"{name} is not what was given")
            if any(mark in data for mark in self._marks):
                sys.exit(f"plaintext in {name}")
        if lost := self._kept - self._bucket.objects.keys():
            sys.exit(f"{sorted(lost)} were acknowledged and are not there")
        for number in self._noted:
            if not {f"volumes/{number}/payload", f"volumes/{number}/tree"} <= self._bucket.objects.keys():
                sys.exit(f"part {number} was noted and is not there")
        self._disk.check(self._folder / "noted", self._folder / "own")
        cut = self._bucket.broken_off()
        if cut & self._kept:
            sys.exit("an upload was acknowledged and is not ended")
        return len(cut)

    def end_version(self) -> bool:
        """Where a version was finished, open it as it is in the bucket, change the folder and start the next one."""
        if not self._asset:
            return False
        store = MemoryStore()
        store.objects.update(self._bucket.objects)
        reader = VolumeReader.open(self._asset, store, DATA_KEY)
        held = {file.path: file.open().read() for file in reader.iter_files()}
        if held != {path.name: path.read_bytes() for path in (self._folder / "source").iterdir()}:
            sys.exit("a version does not hold what was sealed")
        if not self._new <= {part.number for part in reader.parts}:
            sys.exit("a part that was noted was sealed again")
        self.finished += 1
        self.base, self._asset = self._asset, ""
        if self.finished % _VERSIONS == 0:
            # From nothing again, so that lists stay short.
            self.base = ""
            self._bucket.delete(set(self._bucket.objects))
            self._kept.clear()
        self._noted, self._new = [], set()
        self._write("large", self._chance.randrange(300_000, 450_000))
        self._write(f"small-{self._chance.randrange(10)}", self._chance.randrange(20_000))
        return True


def main(folder: Path, kills: int, seed: int, address: str, endpoint: str) -> None:
    """Kill until there were enough kills."""
    place = read_address(address)
    server = S3Server("", endpoint, os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    play = Play(folder, seed, Bucket(server, place.bucket, place.prefix))
    said = Said(folder / "said")
    killed = cut = 0
    whole = 0.0
    while killed < kills:
        began = time.monotonic()
        child = fork(lambda: seal(folder, address, play.base, said))
        # The first is let to its end: it tells how long all of it takes.
        ended = kill_after(child, play.delay(whole) if whole else None, began)
        if ended.code and not ended.killed:
            sys.exit("a sealing failed by itself")
        whole = whole or ended.seconds
        killed += ended.killed
        play.hear(said.heard())
        cut = play.check()
        if not play.end_version() and not ended.killed:
            sys.exit("a sealing ended without an asset")
    sys.stdout.write(
        f"{killed} kills, {play.finished} versions, {play.resumed} resumed, {cut} cut, runs of {whole:.3f} s\n"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5])
