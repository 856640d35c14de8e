"""Following a run: phases that the host may know, and progress that only its recipients can open.

Source: docs/spec/receipt.md §3 (V-11).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from paddock.crypto.digest import unb64
from paddock.crypto.signing import VerifyKey
from paddock.errors import EncodingRefused, HubAnswerRefused, PaddockError, ProgressRefused, Unavailable, from_dict
from paddock.party.party import Party
from paddock.receipt.failure import open_failure
from paddock.receipt.progress import ProgressMessage, open_progress

_WAIT_SECONDS = 10
ENDED = frozenset({"succeeded", "failed", "cancelled"})


@dataclass
class Followed:
    """What was seen of a run so far."""

    run: str
    contract: str
    state: str = "queued"
    error: PaddockError | None = None
    log: str = ""
    """The end of what a script printed before it failed, if it is this party's to read. Nothing proves it."""
    messages: list[ProgressMessage] = field(default_factory=list)
    unproven: list[ProgressMessage] = field(default_factory=list)
    """Of attempts before the last one, as the host tells where each began: no receipt speaks for them."""
    next_sequence: int = 0

    def verify_messages(self, run_key: VerifyKey) -> None:
        """Return if the attested run key signed every number that was shown.

        Raises:
            ProgressRefused: it did not (V-11).
        """
        for message in self.messages:
            message.verify(run_key)


@dataclass(frozen=True)
class Phase:
    """A phase that the run reached, and public facts about it."""

    name: str
    at: str
    detail: dict[str, Any]


def follow(party: Party, run: str) -> Iterator[tuple[Followed, Phase | ProgressMessage | None]]:
    """Yield what happens until the run ended; `None` when nothing happened for a while.

    Progress is shown as it comes and proves nothing until `Followed.verify_messages` held it against the receipt.

    Raises:
        Unavailable: the hub cannot be reached.
    """
    facts = party.hub.run(run)
    # The hub's word on the contract is taken only for runs that others asked for.
    seen = Followed(run, party.asked_for(run) or str(facts.get("contract")))
    after = 0
    while True:
        answer = party.hub.events(run, after, _WAIT_SECONDS)
        events = answer.get("events")
        if not isinstance(events, list):
            raise HubAnswerRefused
        seen.state = str(answer.get("state"))
        for event in events:
            after = max(after, _number(event))
            item = _item(party, seen, event)
            if item is not None:
                yield seen, item
        if seen.state in ENDED and not events:
            if seen.error is None and seen.state != "succeeded":
                seen.error = from_dict(party.hub.run(run).get("error"), Unavailable)
            yield seen, None
            return
        if not events:
            yield seen, None


def _item(party: Party, seen: Followed, event: dict[str, Any]) -> Phase | ProgressMessage | None:
    kind = event.get("event")
    if kind == "checkpoint":
        return Phase("checkpoint", str(event.get("at")), {"number": event.get("number")})
    if kind == "phase":
        if event.get("phase") == "booted":
            # Another attempt, with a run key of its own: nothing will prove the numbers of the one before it (V-11).
            seen.error, seen.log, seen.next_sequence = None, "", 0
            seen.unproven += seen.messages
            seen.messages.clear()
        detail = event.get("detail")
        return Phase(str(event.get("phase")), str(event.get("at")), detail if isinstance(detail, dict) else {})
    if kind == "failed":
        seen.error = from_dict(event.get("error"), Unavailable)
    sealed = _addressed(party, event)
    if sealed is None:
        return None
    key = party.home.keys.seal
    try:
        if kind == "failed":
            failure = open_failure(sealed, key, contract=seen.contract, run=seen.run)
            seen.error, seen.log = failure.error, failure.log
            return None
        sequence = event.get("sequence")
        if kind != "progress" or not isinstance(sequence, int) or sequence < seen.next_sequence:
            return None  # never the same message twice, never an older one
        message = open_progress(sealed, key, contract=seen.contract, run=seen.run, sequence=sequence)
    except ProgressRefused:
        return None  # not sealed by a run of this contract: nothing is shown
    seen.next_sequence = sequence + 1
    seen.messages.append(message)
    return message


def _addressed(party: Party, event: dict[str, Any]) -> bytes | None:
    rows = event.get("sealed")
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict) and row.get("to") == party.home.fingerprint:
            try:
                return unb64(row.get("data"))
            except EncodingRefused:
                return None
    return None


def _number(event: object) -> int:
    if not isinstance(event, dict) or not isinstance(event.get("seq"), int):
        raise HubAnswerRefused
    return int(event["seq"])
