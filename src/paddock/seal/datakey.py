"""The key of one volume, and how it is handed to those who may have it."""

from __future__ import annotations

import os

from paddock.crypto.canonical import canonical
from paddock.crypto.digest import is_digest
from paddock.crypto.hpke import OpeningKey, RecipientKey
from paddock.crypto.streaming import DATA_KEY_BYTES
from paddock.errors import EncodingRefused

_WRAP_LABEL = b"paddock/data-key/v1\0"


class DataKey:
    """32 secret bytes that open one sealed volume. Neither `repr` nor any message shows them.

    Args:
        raw: the 32 bytes.

    Raises:
        EncodingRefused: another number of bytes.
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        if len(raw) != DATA_KEY_BYTES:
            raise EncodingRefused(f"A data key has {len(raw)} bytes, {DATA_KEY_BYTES} were expected.")
        self._raw = bytes(raw)

    @classmethod
    def generate(cls) -> DataKey:
        """A fresh key from the operating system's random source."""
        # S-2
        return cls(os.urandom(DATA_KEY_BYTES))

    def raw(self) -> bytes:
        """The 32 secret bytes."""
        return self._raw

    def wrap(self, recipient: RecipientKey, asset: str, purpose: str) -> bytes:
        """Seal this key to a recipient, bound to one asset and one purpose.

        Args:
            recipient: who may open it.
            asset: id of the volume that the key opens.
            purpose: why it is handed over, e.g. `deposit`; the opener must say the same.

        Source: docs/spec/sealed-volume.md §8 (S-26).
        """
        return recipient.seal(self._raw, _wrap_info(asset, purpose))

    @classmethod
    def unwrap(cls, wrapped: bytes, key: OpeningKey, asset: str, purpose: str) -> DataKey:
        """Open what `wrap` made.

        Raises:
            UnwrapRefused: wrapped to another key, for another asset or purpose, or changed.
            EncodingRefused: what was wrapped is not a data key.
        """
        return cls(key.open(wrapped, _wrap_info(asset, purpose)))

    def __repr__(self) -> str:
        return "DataKey(…)"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a data key is not pickled")


def _wrap_info(asset: str, purpose: str) -> bytes:
    # S-26
    if not is_digest(asset):
        raise EncodingRefused("An asset's id has the form sha256: and 64 hex digits.")
    return _WRAP_LABEL + canonical({"asset": asset, "purpose": purpose})
