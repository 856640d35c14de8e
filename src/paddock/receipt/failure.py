"""Why a run failed, where the host may not know: sealed to every party of the contract.

Source: docs/spec/receipt.md §4 (V-12).
"""

from __future__ import annotations

from paddock.crypto.canonical import canonical, parse
from paddock.crypto.hpke import OpeningKey
from paddock.errors import CryptoRefused, PaddockError, ProgressRefused, Unavailable, from_dict

FAILURE_BYTES = 2048


def failure_info(contract: str, run: str) -> bytes:
    """The HPKE `info` of a sealed failure (V-12)."""
    return b"paddock/failure/v1\0" + canonical({"contract": contract, "run": run})


def failure_message(error: PaddockError) -> bytes:
    """What is sealed of an error: `FAILURE_BYTES`, of which the detail is cut to what fits."""
    told = error.as_dict()
    told["detail"] = told["detail"].encode("utf-8", "replace").decode("utf-8")
    while len(message := canonical(told)) > FAILURE_BYTES:
        told["detail"] = told["detail"][: len(told["detail"]) // 2]
    return message.ljust(FAILURE_BYTES)


def open_failure(sealed: bytes, key: OpeningKey, *, contract: str, run: str) -> PaddockError:
    """The error that ended a run. Anybody can seal to a public key, so it informs; it proves nothing.

    Raises:
        ProgressRefused: not for this key, contract and run, or not well formed.
    """
    try:
        return from_dict(parse(key.open(sealed, failure_info(contract, run)).rstrip(b" ")), Unavailable)
    except CryptoRefused as error:
        raise ProgressRefused from error
