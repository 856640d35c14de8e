"""Stores for tests: one in memory, and liars in front of it."""

from __future__ import annotations

import time
from collections.abc import Iterable

from paddock.errors import NoSuchObject, ObjectExists, StoreFull, StoreUnreachable
from paddock.store.api import Buffer, check_name

_PAGE = 4096
_SLOW_SECONDS = 0.02
LIES = (
    "vanished", "unreachable", "truncated", "short", "long", "endless", "wrong_range", "flipped", "zeros", "reordered",
)  # fmt: skip
"""What a dishonest store can do to any object, of which every reader must notice each."""


class MemoryStore:
    """An honest store in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes | memoryview] = {}

    def put(self, name: str, chunks: Iterable[Buffer]) -> int:
        """See `Store.put`."""
        if check_name(name) in self.objects:
            raise ObjectExists(f"{name}.")
        # Each chunk is copied before the next one is asked for.
        data = b"".join([bytes(chunk) for chunk in chunks])
        self.objects[name] = data
        return len(data)

    def read(self, name: str, offset: int, length: int) -> Buffer:
        """See `Store.read`; a view without a copy."""
        return memoryview(self._get(name))[offset : offset + length]

    def size(self, name: str) -> int:
        """See `Store.size`."""
        return len(self._get(name))

    def delete(self, name: str) -> None:
        """See `Store.delete`."""
        self._get(name)
        del self.objects[name]

    def _get(self, name: str) -> bytes | memoryview:
        try:
            return self.objects[check_name(name)]
        except KeyError:
            raise NoSuchObject(f"{name}.") from None


class LyingStore:
    """A store that answers from another one and changes what it says. Each lie is one that a reader must notice.

    Args:
        behind: the honest store.
        about: lies about the objects whose name ends so.
        lie: `vanished` there is no such object; `unreachable` no answer; `truncated` the size is true, the last byte
            never comes; `short` size and bytes lack the end; `long` size and bytes have more at the end; `endless`
            every answer is longer than asked; `wrong_range` bytes from one byte further on; `flipped` one bit of
            every answer; `zeros` only zeros; `reordered` the first two pages of 4 KiB have changed places; `slow` the
            truth, late; `swapped` answers with the object `instead`; `torn` honest until
            `after` reads, then flipped but for the object's beginning.
        instead: the object whose bytes are given, for `swapped`.
        after: honest answers before the lie, for `torn`.
    """

    def __init__(self, behind: MemoryStore, about: str, lie: str, *, instead: str = "", after: int = 0) -> None:
        self._behind = behind
        self._about = about
        self._lie = lie
        self._instead = instead
        self._after = after
        self._reads = 0

    def put(self, name: str, chunks: Iterable[Buffer]) -> int:
        """Honest."""
        return self._behind.put(name, chunks)

    def delete(self, name: str) -> None:
        """Honest."""
        self._behind.delete(name)

    def size(self, name: str) -> int:
        """The size, or a lie."""
        if not name.endswith(self._about):
            return self._behind.size(name)
        self._stop(name)
        size = self._behind.size(self._instead if self._lie == "swapped" else name)
        return size + {"short": -1, "long": 1}.get(self._lie, 0)

    def read(self, name: str, offset: int, length: int) -> bytes:
        """The bytes, or a lie."""
        if not name.endswith(self._about):
            return bytes(self._behind.read(name, offset, length))
        self._stop(name)
        self._reads += 1
        size = self._behind.size(name)
        if self._lie == "swapped":
            return bytes(self._behind.read(self._instead, offset, length))
        if self._lie == "reordered":
            whole = bytes(self._behind.read(name, 0, size))
            pages = [whole[at : at + _PAGE] for at in range(0, size, _PAGE)]
            return b"".join(pages[1::-1] + pages[2:])[offset : offset + length]
        if self._lie == "slow":
            time.sleep(_SLOW_SECONDS)
        if self._lie == "wrong_range":
            return bytes(self._behind.read(name, (offset + 1) % size, length)).ljust(length, b"\0")
        data = bytes(self._behind.read(name, offset, length))
        if self._lie in ("truncated", "short") and offset + length >= size:
            return data[:-1]
        if self._lie == "endless":
            return data + b"\0" * (1 << 16)
        if self._lie == "zeros":
            return bytes(len(data))
        if self._lie == "flipped" or (self._lie == "torn" and offset and self._reads > self._after):
            return data[:-1] + bytes([data[-1] ^ 1])
        return data

    def _stop(self, name: str) -> None:
        if self._lie == "vanished":
            raise NoSuchObject(f"{name}.")
        if self._lie == "unreachable":
            raise StoreUnreachable


class FullStore(MemoryStore):
    """A store whose room ends after some bytes, counted over all objects."""

    def __init__(self, room_bytes: int) -> None:
        super().__init__()
        self._room = room_bytes

    def put(self, name: str, chunks: Iterable[Buffer]) -> int:
        """See `Store.put`."""
        check_name(name)
        kept = []
        for chunk in chunks:
            self._room -= len(chunk)
            if self._room < 0:
                raise StoreFull(f"While {name} was written.")
            kept.append(bytes(chunk))
        self.objects[name] = b"".join(kept)
        return len(self.objects[name])
