"""What the sealed-volume core asks of a store, and the names under which it keeps its objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from paddock.crypto.streaming import Buffer


class BlobSink(Protocol):
    """Takes objects. Every `Store` is one."""

    def put(self, name: str, chunks: Iterable[Buffer]) -> int:
        """Keep an object under a new name and return its length.

        A chunk is valid only until the next one is asked for: who keeps it copies it. The object appears whole or
        not at all.
        """
        ...


class BlobSource(Protocol):
    """Gives objects. Every `Store` is one. Nothing that it answers is trusted."""

    def read(self, name: str, offset: int, length: int) -> Buffer:
        """`length` bytes from `offset`; fewer only where the object ends.

        Raises:
            NoSuchObject: there is none of this name.
            Unavailable: the store cannot be asked.
        """
        ...

    def size(self, name: str) -> int:
        """The object's length in bytes. Raises as `read`."""
        ...


def payload_name(part: str) -> str:
    """Name of a stream that holds files' bytes, by the number of the part."""
    return f"volumes/{part}/payload"


def index_name(volume: str) -> str:
    """Name of the stream that holds the file table, and behind it its hash tree."""
    return f"volumes/{volume}/index"


def tree_name(part: str) -> str:
    """Name of the hash tree over a payload, by the number of the part."""
    return f"volumes/{part}/tree"


def manifest_name(asset: str) -> str:
    """Name of the manifest of an asset.

    Args:
        asset: `sha256:` and 64 hex digits.
    """
    return "manifests/" + asset.removeprefix("sha256:")
