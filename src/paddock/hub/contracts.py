"""Contracts: proposed, signed, ended. States are for everybody's convenience; no key depends on them.

Source: docs/spec/contract.md §3 (C-4, C-14).
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, insert, or_, select, update

from paddock.contract.signing import Proposal, open_proposal
from paddock.contract.states import FINAL, ContractEvent, ContractState, next_state
from paddock.crypto.canonical import parse
from paddock.crypto.digest import is_digest
from paddock.crypto.dsse import Envelope
from paddock.crypto.moment import read_moment, write_moment
from paddock.errors import (
    AlreadyThere,
    ContractSignatureRefused,
    MessageRefused,
    NobodySigned,
    NotAParty,
    NotFound,
    SenderUnknown,
    StateRefused,
)
from paddock.hub.journal import record
from paddock.hub.requests import accept_request
from paddock.hub.schema import contract_parties, contracts, parties, runs

MAX_REASON_CHARACTERS = 500
MAX_PAGE = 200
_OPEN = [state.value for state in ContractState if state not in FINAL]
_SUMMARY = [c for c in contracts.c if c.name != "envelope"]
Json = dict[str, Any]


def propose(connection: Connection, envelope: Envelope, now: datetime) -> Json:
    """Keep a proposed contract, signed by at least one of its parties, all of whom are known here.

    Raises:
        TermsRefused, ContractSignatureRefused: see `open_proposal`.
        NobodySigned, SenderUnknown, AlreadyThere: as they say.
        StateRefused: it has expired.
    """
    proposal = open_proposal(envelope)
    if not proposal.signed:
        raise NobodySigned
    _check_known(connection, proposal)
    if read_moment(proposal.terms.expires) <= now:
        raise StateRefused("It has expired.")
    if connection.execute(select(contracts.c.number).where(contracts.c.id == proposal.id)).first() is not None:
        raise AlreadyThere
    number = connection.execute(
        insert(contracts).values(
            id=proposal.id,
            state=ContractState.PROPOSED.value,
            title=proposal.terms.title,
            level=proposal.terms.level.value,
            expires=int(read_moment(proposal.terms.expires).timestamp()),
            runs=proposal.terms.runs,
            succeeded=0,
            under_way=0,
            reason="",
            **_signatures(proposal),
        )
    ).inserted_primary_key
    if number is None:
        raise RuntimeError("the database gave no number")
    rows = [{"fingerprint": each, "number": number[0]} for each in proposal.terms.fingerprints().values()]
    connection.execute(insert(contract_parties), rows)
    record(connection, "contract.proposed", proposal.id, envelope.to_json(), now)
    _activate_if_complete(connection, proposal, now)
    return show(connection, proposal.id, now)


def add_signatures(connection: Connection, contract: str, envelope: Envelope, now: datetime) -> Json:
    """Merge further signatures over the same bytes.

    Raises:
        NotFound, AlreadyThere: no such contract; nothing new in it.
        ContractSignatureRefused: other bytes, or a signature by nobody among the parties (C-4).
        StateRefused: it is no longer proposed (C-14).
    """
    row = _row(connection, contract)
    held = Envelope.from_json(row.envelope.encode())
    if envelope.payload != held.payload or envelope.payload_type != held.payload_type:
        raise ContractSignatureRefused("The signatures are over other terms.")
    merged = held.merge(envelope.signatures)
    if merged == held:
        raise AlreadyThere("That signature is on the contract.")
    if state_now(row, now) is not ContractState.PROPOSED:
        raise StateRefused(f"The contract is {state_now(row, now)}; it can no longer be signed.")
    proposal = open_proposal(merged)  # C-4
    connection.execute(update(contracts).where(contracts.c.number == row.number).values(**_signatures(proposal)))
    record(connection, "contract.signed", contract, merged.to_json(), now)
    _activate_if_complete(connection, proposal, now)
    return show(connection, contract, now)


def reject(connection: Connection, contract: str, envelope: Envelope, now: datetime) -> Json:
    """Refuse to sign, by a party, with a reason. Raises as `cancel`."""
    return _end(connection, contract, envelope, now, action="contract.reject", event=ContractEvent.REJECT)


def cancel(connection: Connection, contract: str, envelope: Envelope, now: datetime) -> Json:
    """End a contract, by a party, with a reason.

    Raises:
        NotFound, SenderUnknown, NotAParty, RequestRefused, RequestReplayed: as they say.
        StateRefused: it has ended (C-14).
    """
    return _end(connection, contract, envelope, now, action="contract.cancel", event=ContractEvent.CANCEL)


def show(connection: Connection, contract: str, now: datetime) -> Json:
    """Everything the hub holds of a contract.

    Raises:
        NotFound: there is none.
    """
    row = _row(connection, contract)
    query = select(runs.c.id).where(runs.c.contract == row.number).order_by(runs.c.number.desc()).limit(MAX_PAGE)
    return {
        **_summary(row, now),
        "envelope": parse(row.envelope.encode()),
        "runs": list(connection.execute(query).scalars()),
    }


def page(
    connection: Connection, *, party: str | None, state: str | None, after: int | None, limit: int, now: datetime
) -> Json:
    """Contracts, newest first, and where the next page begins.

    Raises:
        MessageRefused: no such state.
    """
    number = contracts.c.number
    query = select(*_SUMMARY)
    if party is not None:
        # By the link's own number, whose index begins with the fingerprint: a page costs its length, not all there is.
        number = contract_parties.c.number
        query = query.join(contract_parties, number == contracts.c.number)
        query = query.where(contract_parties.c.fingerprint == party)
    query = query.order_by(number.desc()).limit(max(1, min(limit, MAX_PAGE)))
    if after is not None:
        query = query.where(number < after)
    if state is not None:
        query = _in_state(query, state, now)
    rows = connection.execute(query).all()
    following = str(rows[-1].number) if len(rows) == min(limit, MAX_PAGE) else None
    return {"contracts": [_summary(row, now) for row in rows], "next": following}


def apply(connection: Connection, contract: str, event: ContractEvent, now: datetime, reason: str) -> ContractState:
    """Change a contract's state by an event and write it to the ledger.

    Raises:
        StateRefused: the event cannot happen in its state (C-14).
    """
    row = _row(connection, contract)
    state = next_state(ContractState(row.state), event)  # C-14
    connection.execute(
        update(contracts).where(contracts.c.number == row.number).values(state=state.value, reason=reason)
    )
    if state.value != row.state:
        record(connection, f"contract.{state}", contract, reason.encode(), now)
    return state


def state_now(row: Row[Any], now: datetime) -> ContractState:
    """The state that is shown: what is stored, or expired. Informational; keepers judge by their own clocks."""
    state = ContractState(row.state)
    if state in FINAL or now.timestamp() < row.expires:
        return state
    return next_state(state, ContractEvent.EXPIRE)


def is_party(connection: Connection, number: int, fingerprint: str) -> bool:
    """Whether the contract lists this fingerprint."""
    query = select(contract_parties.c.number).where(
        contract_parties.c.fingerprint == fingerprint, contract_parties.c.number == number
    )
    return connection.execute(query).first() is not None


def contract_row(connection: Connection, contract: str) -> Row[Any]:
    """The row of a contract. Raises NotFound."""
    return _row(connection, contract)


def _end(
    connection: Connection, contract: str, envelope: Envelope, now: datetime, *, action: str, event: ContractEvent
) -> Json:
    row = _row(connection, contract)
    members = frozenset({"contract", "reason"})
    request = accept_request(connection, envelope, action=action, members=members, now=now)
    if request.body["contract"] != contract or not is_party(connection, row.number, request.by):
        raise NotAParty
    next_state(state_now(row, now), event)  # C-14: what is shown as expired has ended
    apply(connection, contract, event, now, printable(request.body["reason"]))
    return show(connection, contract, now)


def printable(text: str) -> str:
    """A party's words as they are shown: one line of bounded length."""
    return "".join(ch for ch in text[:MAX_REASON_CHARACTERS] if ch.isprintable())


def _check_known(connection: Connection, proposal: Proposal) -> None:
    fingerprints = proposal.terms.fingerprints()
    query = select(parties.c.fingerprint).where(parties.c.fingerprint.in_(fingerprints.values()))
    known = set(connection.execute(query).scalars())
    unknown = sorted(name for name, fingerprint in fingerprints.items() if fingerprint not in known)
    if unknown:
        raise SenderUnknown(f"Parties of the contract without a record here: {', '.join(unknown)}.")


def _activate_if_complete(connection: Connection, proposal: Proposal, now: datetime) -> None:
    if not proposal.missing():
        apply(connection, proposal.id, ContractEvent.ALL_SIGNED, now, "")


def _signatures(proposal: Proposal) -> dict[str, str]:
    return {
        "signed": json.dumps(sorted(proposal.signed)),
        "missing": json.dumps(proposal.missing()),
        "envelope": proposal.envelope.to_json().decode(),
    }


def _row(connection: Connection, contract: str) -> Row[Any]:
    row = None
    if is_digest(contract):
        row = connection.execute(select(contracts).where(contracts.c.id == contract)).first()
    if row is None:
        raise NotFound("There is no such contract here.")
    return row


def _in_state(query: Select[Any], state: str, now: datetime) -> Select[Any]:
    if state not in set(ContractState):
        raise MessageRefused("There is no such state of a contract.")
    seconds = int(now.timestamp())
    if state == ContractState.EXPIRED:
        late = and_(contracts.c.state.in_(_OPEN), contracts.c.expires <= seconds)
        return query.where(or_(contracts.c.state == state, late))
    query = query.where(contracts.c.state == state)
    return query.where(contracts.c.expires > seconds) if state in _OPEN else query


def _summary(row: Row[Any], now: datetime) -> Json:
    return {
        "contract": row.id,
        "state": state_now(row, now).value,
        "title": row.title,
        "level": row.level,
        "expires": write_moment(datetime.fromtimestamp(row.expires, now.tzinfo)),
        "runs_allowed": row.runs,
        "runs_succeeded": row.succeeded,
        "runs_under_way": row.under_way,
        "signed": json.loads(row.signed),
        "missing": json.loads(row.missing),
        "reason": row.reason,
    }
