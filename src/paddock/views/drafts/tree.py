"""The names of a draft, and how a record changes them.

What is done to a tree by a program is checked as the operating system checks it (`OSError`); what a journal says was done is
checked all the same, and refused (`JournalRefused`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from paddock.errors import JournalRefused
from paddock.views.drafts.content import Content, Extent
from paddock.views.drafts.journal import LARGEST, ROOT, Change, checked_name, is_name, whole
from paddock.views.drafts.objects import Piece

MAX_NODES = 1_000_000


@dataclass(eq=False)
class DraftFile:
    """A file of a draft.

    Args:
        number: its number in the draft, never used again.
        content: its bytes.
        linked: whether a name leads to it.
        version: counts its changes.
        mtime: when it was changed last, seconds since 1970; not kept in the journal.
    """

    number: int
    content: Content
    linked: bool = True
    version: int = 0
    mtime: int = 0


@dataclass(eq=False)
class DraftFolder:
    """A folder of a draft. Arguments as those of `DraftFile`."""

    number: int
    linked: bool = True
    mtime: int = 0
    names: dict[str, Node] = field(default_factory=dict)


Node: TypeAlias = DraftFile | DraftFolder


class Tree:
    """All names, and the changes since they were taken (`changes`).

    Args:
        make_content: an empty content.
    """

    def __init__(self, make_content: Callable[[], Content]) -> None:
        self._make_content = make_content
        self.root = DraftFolder(ROOT)
        self.nodes: dict[int, Node] = {ROOT: self.root}
        self.next_node = ROOT + 1
        self.changes: list[Change] = []

    def make(self, folder: DraftFolder, name: str, *, is_folder: bool) -> Node:
        """A new, empty file or folder.

        Raises:
            OSError: EEXIST, EINVAL, ENAMETOOLONG, ENOENT (the folder was removed), ENOSPC (too many names).
        """
        _check_name(name)
        if not folder.linked:
            raise _failed(errno.ENOENT)
        if name in folder.names:
            raise _failed(errno.EEXIST)
        if len(self.nodes) >= MAX_NODES:
            raise _failed(errno.ENOSPC)
        node = self._add(self.next_node, folder, name, is_folder=is_folder)
        self.changes.append(["folder" if is_folder else "file", node.number, folder.number, name])
        return node

    def drop(self, folder: DraftFolder, name: str, *, is_folder: bool) -> Node:
        """Take a name away; returns what it led to.

        Raises:
            OSError: ENOENT, EISDIR, ENOTDIR, ENOTEMPTY.
        """
        node = self._named(folder, name)
        if isinstance(node, DraftFolder) != is_folder:
            raise _failed(errno.ENOTDIR if is_folder else errno.EISDIR)
        if isinstance(node, DraftFolder) and node.names:
            raise _failed(errno.ENOTEMPTY)
        self._remove(folder, name)
        self.changes.append(["drop", folder.number, name])
        return node

    def move(self, folder: DraftFolder, name: str, to: DraftFolder, to_name: str, *, replace: bool) -> Node | None:
        """Give another name; returns what the new name led to before.

        Raises:
            OSError: ENOENT, EEXIST, EISDIR, ENOTDIR, ENOTEMPTY, EINVAL (a folder into itself), ENAMETOOLONG.
        """
        _check_name(to_name)
        node = self._named(folder, name)
        if not to.linked:
            raise _failed(errno.ENOENT)
        there = to.names.get(to_name)
        if there is not None and not replace:
            raise _failed(errno.EEXIST)
        if there is node:
            return None
        if isinstance(node, DraftFolder) and self._holds(node, to):
            raise _failed(errno.EINVAL)
        if there is not None:
            if isinstance(there, DraftFolder) != isinstance(node, DraftFolder):
                raise _failed(errno.EISDIR if isinstance(there, DraftFolder) else errno.ENOTDIR)
            if isinstance(there, DraftFolder) and there.names:
                raise _failed(errno.ENOTEMPTY)
            self._remove(to, to_name)
        to.names[to_name] = folder.names.pop(name)
        self.changes.append(["move", folder.number, name, to.number, to_name])
        return there

    def paths(self) -> Iterator[tuple[str, DraftFile]]:
        """Every file and its path, in no order."""
        waiting = [("", self.root)]
        while waiting:
            above, folder = waiting.pop()
            for name, node in folder.names.items():
                if isinstance(node, DraftFolder):
                    waiting.append((f"{above}{name}/", node))
                else:
                    yield above + name, node

    # --- what a record says ---

    def apply(self, change: Change, pieces: dict[int, Piece]) -> None:
        """Do what a record says, if it can be done (D-5).

        Raises:
            JournalRefused: it cannot.
        """
        # D-5
        kind = change[0] if change else None
        try:
            if kind in {"file", "folder"} and len(change) == 4:
                number = whole(change[1])
                if number < self.next_node:
                    raise JournalRefused("A record makes a file that there is.")
                folder = self._folder(change[2])
                if (name := checked_name(change[3])) in folder.names:
                    raise JournalRefused("A record makes a name that there is.")
                self._add(number, folder, name, is_folder=kind == "folder")
            elif kind == "drop" and len(change) == 3:
                folder, name = self._folder(change[1]), checked_name(change[2])
                _empty(self.drop(folder, name, is_folder=isinstance(folder.names.get(name), DraftFolder)))
            elif kind == "move" and len(change) == 5:
                before = self.move(
                    self._folder(change[1]), checked_name(change[2]),
                    self._folder(change[3]), checked_name(change[4]), replace=True,
                )  # fmt: skip
                _empty(before)
            elif kind == "content" and len(change) == 4:
                self._adopt(whole(change[1]), whole(change[2]), change[3], pieces)
            else:
                raise JournalRefused("A record holds a change of an unknown kind.")
        except OSError as error:
            raise JournalRefused(f"A record holds a change that cannot be: {os.strerror(error.errno or 0)}.") from None
        finally:
            self.changes.clear()

    def _adopt(self, number: int, size: int, listed: object, pieces: dict[int, Piece]) -> None:
        file = self.nodes.get(number)
        if not isinstance(file, DraftFile) or not isinstance(listed, list):
            raise JournalRefused("A record gives content to what is no file.")
        extents, end = [], 0
        for item in listed:
            start, length, piece, at = _four(item)
            source = pieces.get(piece)
            if start < end or length < 1 or start + length > size or source is None:
                raise JournalRefused("A record holds content that cannot be.")
            if at + length > source.plain_bytes:
                raise JournalRefused("A record holds content behind the end of its piece.")
            extents.append(Extent(start, length, None, piece, at))
            end = start + length
        file.content.adopt(extents, size)

    def _folder(self, number: object) -> DraftFolder:
        folder = self.nodes.get(whole(number))
        if not isinstance(folder, DraftFolder) or not folder.linked:
            raise JournalRefused("A record names a folder that there is not.")
        return folder

    # --- below both ---

    def _add(self, number: int, folder: DraftFolder, name: str, *, is_folder: bool) -> Node:
        node: Node = DraftFolder(number) if is_folder else DraftFile(number, self._make_content())
        folder.names[name] = self.nodes[number] = node
        self.next_node = number + 1
        return node

    def _remove(self, folder: DraftFolder, name: str) -> None:
        node = folder.names.pop(name)
        node.linked = False
        del self.nodes[node.number]

    @staticmethod
    def _named(folder: DraftFolder, name: str) -> Node:
        node = folder.names.get(name)
        if node is None:
            raise _failed(errno.ENOENT)
        return node

    @staticmethod
    def _holds(folder: DraftFolder, other: DraftFolder) -> bool:
        """Whether `other` is `folder` or below it."""
        waiting: list[DraftFolder] = [folder]
        while waiting:
            one = waiting.pop()
            if one is other:
                return True
            waiting += [node for node in one.names.values() if isinstance(node, DraftFolder)]
        return False


def _empty(node: Node | None) -> None:
    """Let go of the pieces of a file that no name leads to any more."""
    if isinstance(node, DraftFile):
        node.content.truncate(0)


def _check_name(name: str) -> None:
    if not is_name(name):
        raise _failed(errno.ENAMETOOLONG if len(name) > 63 else errno.EINVAL)


def _four(item: Any) -> tuple[int, int, int, int]:
    if not isinstance(item, list) or len(item) != 4:
        raise JournalRefused("A record holds content of another form.")
    start, length, piece, at = (whole(value, LARGEST) for value in item)
    return start, length, piece, at


def _failed(number: int) -> OSError:
    return OSError(number, os.strerror(number))
