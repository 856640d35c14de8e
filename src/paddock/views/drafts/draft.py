"""A draft: a tree of files that is worked on, and that exists outside of memory as sealed objects alone.

What is written stays in memory up to a bound, beyond that it is sealed and put into the store. `commit` makes everything so
far durable at once: first the pieces, then one record that names them. Whoever opens the draft later finds the tree as
the last record left it, never one between.

Source: docs/spec/draft.md.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from paddock.crypto.digest import sha256_id
from paddock.errors import (
    DraftIncomplete,
    DraftOptionsInvalid,
    EncodingRefused,
    JournalRefused,
    NoSuchObject,
    ObjectExists,
    PaddockError,
    SealRefused,
    StoreFull,
    TagRefused,
)
from paddock.seal.datakey import DataKey
from paddock.views.drafts.content import Content, Extent
from paddock.views.drafts.journal import LARGEST, MAX_RECORD_BYTES, Change, Record
from paddock.views.drafts.objects import (
    MAX_PIECE_BYTES,
    PAD_BYTES,
    ObjectStore,
    Piece,
    is_draft_number,
    new_draft_number,
    object_name,
    open_object,
    padded,
    seal_object,
)
from paddock.views.drafts.segments import Segments
from paddock.views.drafts.tree import DraftFile, DraftFolder, Node, Tree

_BEGINNING = "0" * 64
_CHUNK_BYTES = 1 << 20
_MAX_CHANGES = 10_000
_MAX_HOLE = 64
_CROWDED_EXTENTS = 64
_CROWDED_WINDOW = 8
_EXTENT_COST = 256
"""What an extent takes beside its bytes, so that many small ones count for what they are."""


@dataclass(frozen=True)
class DraftOptions:
    """How a draft is kept.

    Memory in use is about `dirty_bytes + 3 * piece_bytes + cached_segments * 256 KiB`, some 500 bytes for each name, and
    some 150 for each range of a file.

    Args:
        dirty_bytes: how much of what was written may wait in memory; 1 MiB or more.
        piece_bytes: how much is sealed as one object; a multiple of 4 KiB up to 16 MiB, and not more than `dirty_bytes`.
        cached_segments: opened segments (256 KiB) that are kept for reading back.

    Raises:
        DraftOptionsInvalid: out of range.
    """

    dirty_bytes: int = 64 << 20
    piece_bytes: int = 4 << 20
    cached_segments: int = 32

    def __post_init__(self) -> None:
        if not 1 << 20 <= self.dirty_bytes <= 1 << 40 or self.cached_segments < 1:
            raise DraftOptionsInvalid("Memory out of range was asked for.")
        if not PAD_BYTES <= self.piece_bytes <= min(self.dirty_bytes, MAX_PIECE_BYTES) or self.piece_bytes % PAD_BYTES:
            raise DraftOptionsInvalid(f"Pieces of {self.piece_bytes} bytes were asked for.")


@dataclass(frozen=True)
class Head:
    """Where a journal ends.

    Args:
        count: number of its records.
        digest: of the stored bytes of the last one: `sha256:` and 64 hex digits.
    """

    count: int
    digest: str


@dataclass
class _Attempt:
    """A record that was given to the store, until it is sure that it stands there."""

    sealed: bytearray
    pieces: list[int]
    gone: list[int]
    changes: int
    versions: dict[DraftFile, int] = field(default_factory=dict)


class Draft:
    """An open draft. Safe to use from several threads; one process at a time writes to it.

    Use `create` or `open`.
    """

    def __init__(self, store: ObjectStore, key: DataKey, number: str, options: DraftOptions) -> None:
        self.number = number
        """16 random bytes as 32 hex digits: the draft's name in its store."""
        self._store = store
        self._key = key
        self._options = options
        self._lock = threading.RLock()
        self._references: Counter[int] = Counter()
        self._pieces: dict[int, Piece] = {}
        self._unused: set[int] = set()
        self._new: list[int] = []
        self._gone: list[int] = []
        self._next_piece = 0
        self._tree = Tree(lambda: Content(self._refer, options.piece_bytes, _EXTENT_COST))
        self._segments = Segments(store, key, number, options.cached_segments)
        self._changed: dict[DraftFile, None] = {}
        self._dirty: dict[DraftFile, None] = {}
        self._dirty_bytes = 0
        self._count = 0
        self._digest = _BEGINNING
        self._attempt: _Attempt | None = None

    @classmethod
    def create(cls, store: ObjectStore, key: DataKey, *, options: DraftOptions | None = None) -> Draft:
        """A new, empty draft under a number of its own.

        Args:
            store: where its objects go; not trusted.
            key: a fresh data key, of no other draft or volume.
            options: None for the defaults.

        Raises:
            Unavailable: the store did not take the first record.
        """
        draft = cls(store, key, new_draft_number(), options or DraftOptions())
        draft._write_record()
        return draft

    @classmethod
    def open(
        cls,
        store: ObjectStore,
        key: DataKey,
        number: str,
        *,
        expected: Head | None = None,
        options: DraftOptions | None = None,
    ) -> Draft:
        """A draft as its last record left it.

        Args:
            store: where its objects are; not trusted.
            key: the draft's key.
            number: the draft's number.
            expected: its head as it was seen last; None where nobody kept it. Without it a store can hold back the
                newest records unnoticed.
            options: None for the defaults.

        Raises:
            DraftIncomplete: the store holds no such draft.
            JournalRefused: a record was changed, moved, exchanged or is of another draft or key, or those up to
                `expected` are not the expected ones.
            Unavailable: the store did not answer.
        """
        if not is_draft_number(number):
            raise DraftIncomplete("A draft's number has 32 hex digits.")
        draft = cls(store, key, number, options or DraftOptions())
        draft._recover(expected)
        return draft

    @property
    def root(self) -> DraftFolder:
        """The folder above all."""
        return self._tree.root

    @property
    def dirty_bytes(self) -> int:
        """Memory that waits to be sealed."""
        return self._dirty_bytes

    def head(self) -> Head:
        """Where the journal ends now. Kept elsewhere, it shows at the next `open` that nothing was held back."""
        with self._lock:
            return Head(self._count, "sha256:" + self._digest)

    # --- names ---

    def find(self, path: str) -> Node:
        """What a path leads to.

        Raises:
            OSError: ENOENT, ENOTDIR.
        """
        node: Node = self.root
        with self._lock:
            for name in path.split("/") if path else []:
                if isinstance(node, DraftFile):
                    raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                found = node.names.get(name)
                if found is None:
                    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
                node = found
        return node

    def make_file(self, folder: DraftFolder, name: str) -> DraftFile:
        """A new, empty file. Raises as `Tree.make`."""
        with self._lock:
            file = self._tree.make(folder, name, is_folder=False)
            if not isinstance(file, DraftFile):
                raise TypeError("a file was asked for")
            self._touch(file)
            folder.mtime = file.mtime
            self._commit_if_many()
            return file

    def make_folder(self, folder: DraftFolder, name: str) -> DraftFolder:
        """A new, empty folder. Raises as `Tree.make`."""
        with self._lock:
            made = self._tree.make(folder, name, is_folder=True)
            if not isinstance(made, DraftFolder):
                raise TypeError("a folder was asked for")
            made.mtime = folder.mtime = int(time.time())
            self._commit_if_many()
            return made

    def drop(self, folder: DraftFolder, name: str, *, is_folder: bool) -> Node:
        """Take a name away. What it led to can be used until `release`. Raises as `Tree.drop`."""
        with self._lock:
            node = self._tree.drop(folder, name, is_folder=is_folder)
            folder.mtime = int(time.time())
            self._commit_if_many()
            return node

    def move(
        self, folder: DraftFolder, name: str, to: DraftFolder, to_name: str, *, replace: bool = True
    ) -> Node | None:
        """Give another name, in one step; returns what the new name led to before. Raises as `Tree.move`."""
        with self._lock:
            before = self._tree.move(folder, name, to, to_name, replace=replace)
            folder.mtime = to.mtime = int(time.time())
            self._commit_if_many()
            return before

    def release(self, node: Node) -> None:
        """Say that nobody uses a node any more that no name leads to."""
        with self._lock:
            if isinstance(node, DraftFile) and not node.linked:
                with self._counting(node):
                    node.content.truncate(0)
                self._changed.pop(node, None)
                self._dirty.pop(node, None)

    # --- contents ---

    def write(self, file: DraftFile, offset: int, data: memoryview) -> None:
        """Write at an offset.

        Raises:
            OSError: EFBIG.
            StoreFull, Unavailable: memory is full and could not be put into the store; of this write nothing or a beginning was
                done.
        """
        if offset + len(data) > LARGEST:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        with self._lock:
            for at in range(0, len(data), self._options.piece_bytes):
                self._write(file, offset + at, data[at : at + self._options.piece_bytes])

    def _write(self, file: DraftFile, offset: int, data: memoryview) -> None:
        # D-8
        if self._dirty_bytes + len(data) + _EXTENT_COST > self._options.dirty_bytes:
            self._flush()
        with self._counting(file):
            file.content.write(offset, data)
        self._dirty[file] = None
        self._touch(file)
        if len(file.content.extents) > self._options.dirty_bytes // _EXTENT_COST:
            self._gather(file)

    def truncate(self, file: DraftFile, size: int) -> None:
        """Cut a file off, or make it longer by zeros.

        Raises:
            OSError: EFBIG.
        """
        if size > LARGEST:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        with self._lock:
            with self._counting(file):
                file.content.truncate(size)
            self._touch(file)

    def read_into(self, file: DraftFile, offset: int, out: memoryview) -> int:
        """Fill a buffer from an offset and return the number of bytes; fewer where the file ends.

        Raises:
            PieceRefused, DraftIncomplete: the store gave other bytes than were committed, or none.
            Unavailable: it did not answer.
        """
        with self._lock:
            count = max(0, min(len(out), file.content.size - offset))
            end, filled = offset + count, offset
            for extent in file.content.ranges(offset, count) if count else []:
                start, stop = max(extent.start, offset), min(extent.end, end)
                if start > filled:
                    out[filled - offset : start - offset] = bytes(start - filled)
                target = out[start - offset : stop - offset]
                if extent.data is not None:
                    target[:] = memoryview(extent.data)[start - extent.start : stop - extent.start]
                else:
                    self._segments.read_into(self._pieces[extent.piece], extent.at + start - extent.start, target)
                filled = stop
            out[filled - offset : count] = bytes(end - filled)
            return count

    def files(self) -> Iterator[tuple[str, Iterator[memoryview]]]:
        """Every file as `write_volume` takes it: path and pieces of content, in ascending order of the paths' bytes.

        Empty folders are left out: a volume has none. The tree must not change meanwhile.
        """
        with self._lock:
            listed = sorted(self._tree.paths(), key=lambda item: item[0].encode("utf-8"))
        for path, file in listed:
            yield path, self._chunks(file)

    def _chunks(self, file: DraftFile) -> Iterator[memoryview]:
        buffer, offset = memoryview(bytearray(_CHUNK_BYTES)), 0
        while count := self.read_into(file, offset, buffer):
            yield buffer[:count]
            offset += count

    # --- what is durable ---

    def commit(self) -> Head:
        """Make everything so far durable. When it returns, names and contents survive whatever happens to this process.

        Raises:
            StoreFull, Unavailable: nothing is lost, but nothing more is durable than before; it may be tried again.
            JournalRefused: another process writes to this draft.
        """
        with self._lock:
            self._settle()
            for file in list(self._changed):
                if file.linked and len(file.content.extents) > _CROWDED_EXTENTS:
                    # A piece that cannot be read back must not keep others from becoming durable.
                    with contextlib.suppress(SealRefused, DraftIncomplete):
                        self._gather(file)
            # D-7: the pieces stand in the store before the record that names them.
            self._flush()
            if self._changed or self._tree.changes:
                self._write_record()
                # D-10: no record refers to them any more.
                self._delete_unused()
            return self.head()

    def close(self) -> None:
        """Commit. What was not committed before a crash is lost, and leaves nothing but sealed bytes."""
        self.commit()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_record(self) -> None:
        contents: list[Change] = []
        versions = {}
        for file in self._changed:
            if file.linked:
                listed = [[each.start, each.length, each.piece, each.at] for each in file.content.extents]
                contents.append(["content", file.number, file.content.size, listed])
            versions[file] = file.version
        record = Record(
            self._digest, self._next_piece, [self._pieces[number] for number in self._new], list(self._gone),
            [*self._tree.changes, *contents],
        )  # fmt: skip
        sealed, _ = seal_object(self._key, self.number, "j", self._count, record.to_bytes())
        if len(sealed) > MAX_RECORD_BYTES:
            raise StoreFull("A record of a draft became too long.")
        self._attempt = _Attempt(sealed, list(self._new), list(self._gone), len(self._tree.changes), versions)
        try:
            self._store.put(object_name(self.number, "j", self._count), [sealed])
        except (StoreFull, ObjectExists) as error:
            self._attempt = None  # it is sure that this one does not stand there
            if isinstance(error, ObjectExists):
                raise JournalRefused("Another process writes to this draft.") from None
            raise
        self._committed(self._attempt)

    def _settle(self) -> None:
        """Find out what became of a record to which the store gave no answer: put it once more, the same bytes."""
        attempt = self._attempt
        if attempt is None:
            return
        name = object_name(self.number, "j", self._count)
        try:
            self._store.put(name, [attempt.sealed])
        except ObjectExists:
            if bytes(self._store.read(name, 0, len(attempt.sealed) + 1)) != bytes(attempt.sealed):
                raise JournalRefused("Another process writes to this draft.") from None
        self._committed(attempt)

    def _committed(self, attempt: _Attempt) -> None:
        self._attempt = None
        self._digest = sha256_id(bytes(attempt.sealed)).removeprefix("sha256:")
        self._count += 1
        del self._new[: len(attempt.pieces)]
        del self._gone[: len(attempt.gone)]
        del self._tree.changes[: attempt.changes]
        for file, version in attempt.versions.items():
            if file.version == version:
                self._changed.pop(file, None)

    def _commit_if_many(self) -> None:
        if len(self._tree.changes) >= _MAX_CHANGES:
            # A record stays small, and so does what waits for it. Failing is for the commit that somebody asks for.
            with contextlib.suppress(PaddockError):
                self.commit()

    # --- pieces ---

    def _flush(self) -> None:
        """Seal what lies in memory, and put it into the store. It is not committed by that."""
        for file in list(self._dirty):
            if not file.linked and not file.content.extents:
                self._dirty.pop(file, None)
        plan: list[tuple[DraftFile, Extent, int, int]] = []
        used = 0
        done: dict[int, list[Extent]] = {}
        waiting = [(file, extent) for file in self._dirty for extent in file.content.extents if extent.data is not None]
        for file, extent in waiting:
            at = 0
            while at < extent.length:
                count = min(extent.length - at, self._options.piece_bytes - used)
                plan.append((file, extent, at, count))
                at, used = at + count, used + count
                if used == self._options.piece_bytes:
                    self._put_piece(plan, used, done)
                    plan, used = [], 0
        if plan:
            self._put_piece(plan, used, done)
        self._dirty.clear()

    def _put_piece(
        self, plan: list[tuple[DraftFile, Extent, int, int]], used: int, done: dict[int, list[Extent]]
    ) -> None:
        plain = memoryview(bytearray(padded(used)))
        place = 0
        for _, extent, at, count in plan:
            if extent.data is None:
                raise RuntimeError("only what is in memory is sealed")
            plain[place : place + count] = memoryview(extent.data)[at : at + count]
            place += count
        number, self._next_piece = self._next_piece, self._next_piece + 1
        # D-8: sealed before it leaves memory.
        sealed, leaves = seal_object(self._key, self.number, "p", number, plain)
        self._pieces[number] = Piece(number, len(plain), leaves)
        self._new.append(number)
        # Until content refers to it, nobody does: if the store gives no answer, it is deleted later.
        self._unused.add(number)
        try:
            self._store.put(object_name(self.number, "p", number), [sealed])
        except ObjectExists:
            # D-1: this process gave the number to nothing else.
            raise JournalRefused("Another process writes to this draft.") from None
        place = 0
        for file, extent, at, count in plan:
            parts = done.setdefault(id(extent), [])
            parts.append(Extent(extent.start + at, count, None, number, place))
            place += count
            if at + count == extent.length:
                with self._counting(file):
                    file.content.replace(extent, parts)

    def _gather(self, file: DraftFile) -> None:
        """Bring neighbouring small ranges of a file together, so that they become one."""
        window = self._options.piece_bytes
        buffer = memoryview(bytearray(window))
        for offset in range(0, file.content.size, window):
            if len(file.content.ranges(offset, window)) < _CROWDED_WINDOW:
                continue
            count = self.read_into(file, offset, buffer)
            if self._dirty_bytes + count + _EXTENT_COST > self._options.dirty_bytes:
                self._flush()
            with self._counting(file):
                file.content.cut(offset, offset + count)
                file.content.write(offset, buffer[:count])
            self._dirty[file] = None
            self._touch(file)

    def _delete_unused(self) -> None:
        for number in sorted(self._unused):
            if number in self._new:
                self._new.remove(number)
            self._unused.discard(number)
            self._references.pop(number, None)
            self._pieces.pop(number, None)
            # A store that does not delete keeps sealed bytes that nothing refers to.
            with contextlib.suppress(PaddockError):
                self._store.delete(object_name(self.number, "p", number))
            self._gone.append(number)

    def _refer(self, piece: int, by: int) -> None:
        self._references[piece] += by
        if self._references[piece] > 0:
            self._unused.discard(piece)
        else:
            self._unused.add(piece)

    def _touch(self, file: DraftFile) -> None:
        file.version += 1
        file.mtime = int(time.time())
        self._changed[file] = None

    @contextlib.contextmanager
    def _counting(self, file: DraftFile) -> Iterator[None]:
        before = file.content.dirty_bytes
        try:
            yield
        finally:
            self._dirty_bytes += file.content.dirty_bytes - before

    # --- recovery ---

    def _recover(self, expected: Head | None) -> None:
        while (sealed := self._stored_record(self._count)) is not None:
            try:
                plain = open_object(self._key, self.number, "j", self._count, memoryview(sealed))
                record = Record.from_bytes(plain)
            except (TagRefused, EncodingRefused):
                # D-2
                raise JournalRefused(f"Record {self._count} does not open at its place.") from None
            # D-3
            if record.previous != self._digest:
                raise JournalRefused(f"Record {self._count} does not follow the one before it.")
            self._apply(record)
            self._digest = sha256_id(sealed).removeprefix("sha256:")
            self._count += 1
            # D-9
            if expected is not None and self._count == expected.count and "sha256:" + self._digest != expected.digest:
                raise JournalRefused("The journal is not the one that was expected.")
        if self._count == 0:
            raise DraftIncomplete("It lacks the first record.")
        if expected is not None and self._count < expected.count:
            raise JournalRefused(f"{self._count} records are there, {expected.count} were.")
        self._unused = {number for number in self._pieces if not self._references[number]}
        self._skip_orphans()

    def _stored_record(self, number: int) -> bytes | None:
        name = object_name(self.number, "j", number)
        try:
            size = self._store.size(name)
        except NoSuchObject:
            return None
        if size > MAX_RECORD_BYTES:
            raise JournalRefused(f"Record {number} has {size} bytes; none is that long.")
        try:
            return bytes(self._store.read(name, 0, size))
        except NoSuchObject:
            raise JournalRefused(f"Record {number} is there and is not.") from None

    def _apply(self, record: Record) -> None:
        if record.next_piece < self._next_piece:
            raise JournalRefused("A record counts pieces backwards.")
        self._next_piece = record.next_piece
        for piece in record.pieces:
            if piece.number in self._pieces or piece.number >= record.next_piece:
                raise JournalRefused("A record makes a piece that there is.")
            self._pieces[piece.number] = piece
        for change in record.changes:
            self._tree.apply(change, self._pieces)
        for number in record.gone:
            if self._references[number]:
                raise JournalRefused("A record deletes a piece that is in use.")
            self._pieces.pop(number, None)

    def _skip_orphans(self) -> None:
        """Delete pieces that were put after the last record, and never use their numbers again."""
        missing = 0
        number = self._next_piece
        while missing < _MAX_HOLE:
            try:
                self._store.size(object_name(self.number, "p", number))
                missing = 0
                self._unused.add(number)
                self._next_piece = number + 1
            except NoSuchObject:
                missing += 1
            number += 1
        self._delete_unused()


__all__ = ["Draft", "DraftOptions", "Head"]
