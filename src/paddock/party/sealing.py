"""What is stored already of what a party seals: of the version before, and of a sealing that broke off.

One SQLite file for each name that is being sealed. It holds no content: where contents stand, their digests, and the
keys of the parts, each sealed to the party itself. A part enters it after the store has taken it whole, in one
transaction with the files that it finished; so after a crash at any instant the next attempt goes on from the last
whole part, and a part that was being written is never gone on with (docs/spec/sealed-volume.md §2).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from paddock.crypto.canonical import canonical
from paddock.crypto.hpke import OpeningKey
from paddock.crypto.streaming import StreamLayout
from paddock.errors import CryptoRefused, HomeInvalid, SealingBusy
from paddock.seal import VolumeReader
from paddock.seal.index import MAX_EXTENTS, Extent, Part, Stored
from paddock.seal.manifest import StreamFacts
from paddock.seal.tree import ContentHash
from paddock.seal.writer import Content, Grown, PartDone
from paddock.views import LocalFile, LocalFiles

_LABEL = b"paddock/sealing/v1\0"
_EXTENT = struct.Struct(">QQ")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (base TEXT NOT NULL, padding TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS parts (
  place INTEGER PRIMARY KEY, number TEXT NOT NULL UNIQUE, wrapped BLOB NOT NULL, header BLOB NOT NULL,
  root BLOB NOT NULL, segment_bytes INTEGER NOT NULL, sealed_bytes INTEGER NOT NULL, content_bytes INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS contents (
  path TEXT NOT NULL, length INTEGER NOT NULL, digest BLOB NOT NULL, extents BLOB NOT NULL,
  PRIMARY KEY (path, length));
CREATE INDEX IF NOT EXISTS contents_by_digest ON contents (digest, length);
"""


class Sealing:
    """What is known to be stored for one name, and what is added to it; one process at a time.

    Args:
        path: the file; made when it is missing.
        key: the party's own key, to which keys of parts are sealed.

    Raises:
        SealingBusy: another process is sealing this name.
        HomeInvalid: the file cannot be written or is damaged.
    """

    def __init__(self, path: Path, key: OpeningKey) -> None:
        self._path = path
        self._key = key
        # Parts are noted while the next file is looked for.
        self._turn = threading.RLock()
        with _told(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock)
                raise SealingBusy(f"'{path.stem}'.") from None
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; what is noted stays."""
        self._database.close()
        os.close(self._lock)

    def forget(self) -> None:
        """Remove what is noted: the sealing is finished, or starts anew."""
        with _told(self._path), self._all_or_nothing():
            for table in ("about", "parts", "contents"):
                self._database.execute(f"DELETE FROM {table}")  # noqa: S608 - names of this module

    def finish(self) -> None:
        """Remove the file: nothing of it is needed any more."""
        with _told(self._path):
            self._path.unlink(missing_ok=True)

    def begin(self, base: str, padding: str, reader: VolumeReader | None) -> None:
        """Start from the version before, unless a sealing from there broke off, which is gone on with.

        Args:
            base: id of the version before, or an empty text.
            padding: how the new version is padded.
            reader: that version, where its parts can be used; None to start from nothing.
        """
        with _told(self._path):
            if self._database.execute("SELECT base, padding FROM about").fetchone() == (base, padding):
                return
            self.forget()
            with self._all_or_nothing():
                if reader is not None:
                    for part in reader.parts:
                        self._add_part(part)
                    self._add_contents(reader.iter_stored())
                self._database.execute("INSERT INTO about VALUES (?, ?)", (base, padding))

    def parts(self) -> tuple[Part, ...]:
        """The parts that are stored whole, in their order.

        Raises:
            HomeInvalid: their keys are not sealed to this party: the file is damaged or another party's.
        """
        with _told(self._path):
            rows = self._database.execute(
                "SELECT number, wrapped, header, root, segment_bytes, sealed_bytes, content_bytes FROM parts"
                " ORDER BY place"
            ).fetchall()
        try:
            return tuple(
                Part(
                    number,
                    self._key.open(wrapped, _info(number)),
                    StreamFacts(StreamLayout(segment_bytes, sealed_bytes), header, root),
                    content_bytes,
                )
                for number, wrapped, header, root, segment_bytes, sealed_bytes, content_bytes in rows
            )
        except CryptoRefused as error:
            raise HomeInvalid(f"{self._path} is damaged.") from error

    def note(self, done: PartDone) -> None:
        """Note a part that the store holds whole, and the files in it."""
        with _told(self._path), self._turn, self._all_or_nothing():
            self._add_part(done.part)
            self._add_contents(done.finished)
            if done.open is not None:
                self._add_contents([done.open])

    def contents(self, files: LocalFiles) -> Iterator[tuple[str, Content]]:
        """The files as `write_volume` takes them: what is stored already is named, not read twice."""
        known = self._database.execute("SELECT 1 FROM contents LIMIT 1").fetchone() is not None
        for file in files.each():
            yield file.name, self._content(file) if known else file.pieces()

    def _content(self, file: LocalFile) -> Content:
        """What to do with one file: its digest is looked for first, under any name; then a beginning of it, by name."""
        seen, begun, stamp = ContentHash(), None, file.stamp()
        shorter = iter(self._shorter(file.name))
        candidate = next(shorter, None)
        for piece in file.pieces(stamp=stamp):
            view = memoryview(piece)
            while candidate is not None and seen.length + len(view) >= candidate.size:
                count = candidate.size - seen.length
                seen.update(view[:count])
                view = view[count:]
                if seen.digest() == candidate.digest:
                    begun = Grown(candidate, seen.copy(), file.pieces(candidate.size, stamp=stamp))
                candidate = next(shorter, None)
            seen.update(view)
        with self._turn:
            row = self._database.execute(
                "SELECT digest, extents FROM contents WHERE digest = ? AND length = ?", (seen.digest(), seen.length)
            ).fetchone()
        if row is not None:
            return _stored(*row)
        if begun is None or len(begun.before.extents) >= MAX_EXTENTS:
            return file.pieces()
        return begun

    def _shorter(self, name: str) -> Sequence[Stored]:
        with self._turn:
            rows = self._database.execute(
                "SELECT digest, extents FROM contents WHERE path = ? AND length > 0 ORDER BY length", (name,)
            ).fetchall()
        return [_stored(*row) for row in rows]

    def _add_part(self, part: Part) -> None:
        layout = part.facts.layout
        wrapped = self._key.recipient.seal(part.key, _info(part.number))
        self._database.execute(
            "INSERT INTO parts (number, wrapped, header, root, segment_bytes, sealed_bytes, content_bytes)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                part.number,
                wrapped,
                part.facts.header,
                part.facts.root,
                layout.segment_bytes,
                layout.sealed_bytes,
                part.content_bytes,
            ),
        )

    def _add_contents(self, contents: Iterable[tuple[str, Stored]]) -> None:
        self._database.executemany(
            "INSERT OR REPLACE INTO contents VALUES (?, ?, ?, ?)",
            (
                (path, stored.size, stored.digest, b"".join(_EXTENT.pack(*extent) for extent in stored.extents))
                for path, stored in contents
            ),
        )

    @contextlib.contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")


def _info(number: str) -> bytes:
    return _LABEL + canonical({"part": number})


def _stored(digest: bytes, extents: bytes) -> Stored:
    return Stored(digest, tuple(Extent(*row) for row in _EXTENT.iter_unpack(extents)))


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn the system's and the database's errors into ours."""
    try:
        yield
    except OSError as error:
        raise HomeInvalid(f"{path}: {os.strerror(error.errno or 0)}.") from error
    except sqlite3.Error as error:
        raise HomeInvalid(f"{path}: {error}. To start this sealing anew, remove the file.") from error
