"""Reading live progress: opened by its recipient, and in the end held against the receipt's run key.

Source: docs/spec/receipt.md §3 (V-11).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from paddock.crypto.canonical import canonical, parse
from paddock.crypto.digest import unb64
from paddock.crypto.hpke import OpeningKey
from paddock.crypto.signing import VerifyKey
from paddock.errors import CryptoRefused, ProgressRefused, SignatureRefused

MESSAGE_BYTES = 1024
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")


def progress_info(contract: str, run: str, sequence: int) -> bytes:
    """The HPKE `info` of one progress message."""
    return b"paddock/progress/v1\0" + canonical({"contract": contract, "run": run, "sequence": sequence})


@dataclass(frozen=True)
class ProgressMessage:
    """Numbers of one moment. Anybody can seal to a public key: they count once `verify` returned."""

    step: str
    done: int
    total: int
    values: dict[str, float]
    signed: bytes
    signature: bytes

    def verify(self, run_key: VerifyKey) -> None:
        """Return if the attested run key signed this message.

        Raises:
            ProgressRefused: it did not: the host invented it (V-11).
        """
        try:
            run_key.verify(self.signature, self.signed)  # V-11
        except SignatureRefused:
            raise ProgressRefused from None


def open_progress(sealed: bytes, key: OpeningKey, *, contract: str, run: str, sequence: int) -> ProgressMessage:
    """Open one message.

    Raises:
        ProgressRefused: not for this key, contract, run and place in the sequence, or not well formed (V-11).
    """
    try:
        value: dict[str, Any] = parse(key.open(sealed, progress_info(contract, run, sequence)).rstrip(b" "))
        body = value["body"]
        if (
            type(body["sequence"]) is not int or body["sequence"] != sequence
        ):  # V-11: whoever opened it can seal it anew
            raise ValueError("of another place")
        signed = canonical({"body": body, "contract": contract, "run": run})
        values = {_name(name): float(number) for name, number in body["values"].items()}
        step, done, total = _name(body["step"]), int(body["done"]), int(body["total"])
        return ProgressMessage(step, done, total, values, signed, unb64(value["sig"], 64))
    except (CryptoRefused, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProgressRefused from error


def _name(text: object) -> str:
    # V-11: the host can seal any words, and these are shown before the receipt is there.
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        raise ValueError("not a name")
    return text
