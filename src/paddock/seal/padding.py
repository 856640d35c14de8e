"""Padding of lengths, so that a store learns little from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from paddock.crypto.streaming import Buffer

Padding = Literal["padme", "none"]
PADDINGS: tuple[Padding, ...] = ("padme", "none")
_ZEROS = bytes(1 << 16)


def padded_length(length: int, padding: Padding) -> int:
    """The length to which `length` bytes are padded.

    Padmé adds at most 12 % (less as lengths grow) and leaves O(log log length) bits to be seen.

    Source: Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", PETS 2019,
    algorithm 1; docs/spec/sealed-volume.md §7 (S-23).
    """
    if padding == "none" or length < 2:
        return length
    exponent = length.bit_length() - 1
    kept_bits = exponent.bit_length()
    mask = (1 << (exponent - kept_bits)) - 1
    return (length + mask) & ~mask


def zeros(count: int) -> Iterator[bytes]:
    """`count` zero bytes in pieces."""
    while count > len(_ZEROS):
        yield _ZEROS
        count -= len(_ZEROS)
    if count:
        yield _ZEROS[:count]


def all_zero(data: Buffer) -> bool:
    """Whether every byte of `data` is zero."""
    view = memoryview(data)
    return all(view[at : at + len(_ZEROS)] == _ZEROS[: len(view) - at] for at in range(0, len(view), len(_ZEROS)))
