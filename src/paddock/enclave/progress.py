"""Live progress, sealed to those who will receive the same numbers anyway.

A step's progress goes to the recipients of its `curve` and `metrics` outputs. Every message has one size, is signed by
the run key and sealed with HPKE; the host learns how many there are and when. Sealing happens on a thread of its own,
so that a training step never waits for it.

Source: docs/spec/receipt.md §3 (V-11); docs/spec/contract.md §6 (L-10).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping

from paddock.contract.signing import SignedContract
from paddock.crypto.canonical import canonical
from paddock.crypto.digest import b64
from paddock.crypto.hpke import RecipientKey
from paddock.crypto.identity import PrivateKeys
from paddock.enclave.events import EventWriter, Pace
from paddock.enclave.numbers import NumberControl
from paddock.errors import PaddockError
from paddock.gateway.messages import is_number
from paddock.receipt.progress import MESSAGE_BYTES, progress_info

_WATCHED = frozenset({"curve", "metrics"})


class ProgressSealer:
    """Takes numbers, writes sealed events."""

    def __init__(self, contract: SignedContract, run: str, keys: PrivateKeys, events: EventWriter) -> None:
        self._contract = contract
        self._run = run
        self._keys = keys
        self._events = events
        self._recipients = _recipients(contract)
        self._numbers = NumberControl(contract.terms.level)
        self._queue: queue.SimpleQueue[tuple[str, int, int, Mapping[str, float]] | None] = queue.SimpleQueue()
        self._sequence = 0
        self._pace = Pace()
        self._thread = threading.Thread(target=self._work, name="progress", daemon=True)
        self._thread.start()

    def report(self, step: str, done: int, total: int, values: Mapping[str, float]) -> None:
        """Queue one message, if it is time for one or the step is done; returns at once."""
        if done < total and not self._pace.reached():
            return
        self._pace.told()
        self._queue.put((step, done, total, dict(values)))

    def close(self) -> None:
        """Seal what is queued and stop."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                sealed = self._seal(*item)
            except PaddockError:
                continue  # a number that cannot be written: the next message may be one that can
            if sealed:
                self._events.progress(self._sequence, sealed)
                self._sequence += 1

    def _seal(self, step: str, done: int, total: int, values: Mapping[str, float]) -> list[tuple[str, bytes]]:
        """The message to each recipient; nothing where none is to be sent."""
        recipients = self._recipients.get(step, {})
        if not recipients or not all(map(is_number, values.values())):
            return []
        if (shown := self._numbers.progress(values)) is None:
            return []
        body = {"step": step, "done": done, "total": total, "values": shown, "sequence": self._sequence}
        signed = canonical({"body": body, "contract": self._contract.id, "run": self._run})
        message = canonical({"body": body, "sig": b64(self._keys.sign.sign(signed))})
        if len(message) > MESSAGE_BYTES:
            return []  # too many values for one message: better none than another size
        info = progress_info(self._contract.id, self._run, self._sequence)
        padded = message.ljust(MESSAGE_BYTES)
        return [(to, key.seal(padded, info)) for to, key in recipients.items()]


def _recipients(contract: SignedContract) -> dict[str, dict[str, RecipientKey]]:
    found: dict[str, dict[str, RecipientKey]] = {}
    for output in contract.terms.outputs.values():
        step, _, name = output.source.partition(".")
        if name in _WATCHED:
            for to in output.to:
                keys = contract.terms.parties[to].keys.public()
                found.setdefault(step, {})[keys.fingerprint()] = keys.seal
    return found
