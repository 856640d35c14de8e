"""What a query may use: memory and threads."""

from __future__ import annotations

import re
from dataclasses import dataclass

from paddock.errors import SourceInvalid

_SIZE = re.compile(r"(\d{1,6})\s*(KiB|MiB|GiB|TiB)", re.IGNORECASE)
_UNITS = {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_LEAST_BYTES = 64 << 20


@dataclass(frozen=True)
class QuerySettings:
    """Bounds of one query.

    Args:
        memory_bytes: for what the query itself holds (sorting, joining, grouping), at least 64 MiB. Rows on
            their way into the result come on top. More is refused, never put on a disk.
        threads: how many the query computes with. With one, the same query over the same sources gives the same bytes;
            with more, sums of floating-point numbers may differ in their last digits.

    Raises:
        SourceInvalid: a bound is too small to work with.
    """

    memory_bytes: int = 2 << 30
    threads: int = 1

    def __post_init__(self) -> None:
        if self.memory_bytes < _LEAST_BYTES:
            raise SourceInvalid("A query needs --memory of at least 64MiB.")
        if not 1 <= self.threads <= 1024:
            raise SourceInvalid("--threads is a number from 1 to 1024.")


def parse_size(text: str) -> int:
    """Bytes that a text like `512MiB` or `2GiB` means.

    Raises:
        SourceInvalid: it is not of that form.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise SourceInvalid(f"'{text}' is no size; write it like 512MiB or 2GiB.")
    return int(match[1]) * _UNITS[match[2].lower()]


def show_size(count: int) -> str:
    """A size as `parse_size` reads it, rounded down to whole MiB."""
    return f"{count >> 30}GiB" if count % (1 << 30) == 0 else f"{count >> 20}MiB"
