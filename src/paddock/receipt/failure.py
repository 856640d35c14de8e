"""Why a run failed, where the host may not know: sealed to every party of the contract.

Who receives a script's log is told the end of it as well. Source: docs/spec/receipt.md §4 (V-12).
"""

from __future__ import annotations

from dataclasses import dataclass

from paddock.crypto.canonical import canonical, parse
from paddock.crypto.hpke import OpeningKey
from paddock.errors import CryptoRefused, PaddockError, ProgressRefused, Unavailable, from_dict

FAILURE_BYTES = 4096
_CUT = "[…] "


@dataclass(frozen=True)
class Failure:
    """What a party is told of a run that failed.

    Args:
        error: why.
        log: the end of what the script printed; empty where the contract gives it to others, or there was none.
    """

    error: PaddockError
    log: str


def failure_info(contract: str, run: str) -> bytes:
    """The HPKE `info` of a sealed failure (V-12)."""
    return b"paddock/failure/v1\0" + canonical({"contract": contract, "run": run})


def failure_message(error: PaddockError, log: bytes = b"") -> bytes:
    """What is sealed of an error: `FAILURE_BYTES`, of which detail and log are cut to what fits.

    Args:
        error: why the run ended.
        log: what the script printed that failed; its end counts most.
    """
    told: dict[str, str] = error.as_dict()
    told["detail"] = told["detail"].encode("utf-8", "replace").decode("utf-8")
    while len(canonical(told)) > FAILURE_BYTES:
        told["detail"] = told["detail"][: len(told["detail"]) // 2]
    text = log[-FAILURE_BYTES:].decode("utf-8", "replace") if log else ""
    while text:
        message = canonical({**told, "log": text})
        if len(message) <= FAILURE_BYTES:
            return message.ljust(FAILURE_BYTES)
        text = _CUT + text.removeprefix(_CUT)[1 + len(text) // 16 :] if len(text) > len(_CUT) + 16 else ""
    return canonical(told).ljust(FAILURE_BYTES)


def open_failure(sealed: bytes, key: OpeningKey, *, contract: str, run: str) -> Failure:
    """What ended a run. Anybody can seal to a public key, so it informs; it proves nothing.

    Raises:
        ProgressRefused: not for this key, contract and run, or not well formed.
    """
    try:
        told = parse(key.open(sealed, failure_info(contract, run)).rstrip(b" "))
        log = told.get("log", "")
    except (CryptoRefused, AttributeError) as error:
        raise ProgressRefused from error
    shown = "".join(sign for sign in str(log)[:FAILURE_BYTES] if sign.isprintable() or sign in "\n\t")
    return Failure(from_dict(told, Unavailable), shown)
