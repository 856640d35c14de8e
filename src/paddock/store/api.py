"""What a store is: named objects, written once, read in ranges. It is trusted for availability only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol, TypeAlias

from paddock.errors import ObjectNameRefused

Buffer: TypeAlias = bytes | bytearray | memoryview
MAX_NAME_CHARACTERS = 200
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*")


class Store(Protocol):
    """Named objects. An object appears whole or not at all, and is never overwritten."""

    def put(self, name: str, chunks: Iterable[Buffer]) -> int:
        """Keep an object and return its length in bytes.

        Args:
            name: see `check_name`.
            chunks: its bytes; each piece is valid until the next one is asked for.

        Raises:
            ObjectExists: there is one of this name; it stays as it is.
            StoreFull: no room; nothing of the new object is left behind.
            ObjectNameRefused, StoreUnreachable, StoreDenied: as they say.
        """
        ...

    def read(self, name: str, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; fewer only where the object ends.

        Raises:
            NoSuchObject: there is none of this name.
            ObjectNameRefused, StoreUnreachable, StoreMisbehaved: as they say.
        """
        ...

    def size(self, name: str) -> int:
        """The object's length in bytes. Raises as `read`."""
        ...

    def delete(self, name: str) -> None:
        """Remove an object. Raises as `read`, and StoreDenied where the store does not delete."""
        ...


def check_name(name: str) -> str:
    """The name, if a store may hold it.

    Names become file names and addresses: parts of `a-z 0-9 . _ -` that begin with a letter or digit, joined by single
    slashes, without `..`, at most 200 characters.

    Raises:
        ObjectNameRefused: another form.
    """
    if len(name) > MAX_NAME_CHARACTERS or _NAME.fullmatch(name) is None or ".." in name:
        raise ObjectNameRefused(f"{name[:MAX_NAME_CHARACTERS]!r}.")
    return name
