"""Runs: asked for, placed, followed, ended. What an engine reports is kept in a known form; the hub decides states.

Source: docs/spec/contract.md §3 (C-14, C-16).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from paddock.contract.states import FINAL, ContractEvent, ContractState, RunState, next_state
from paddock.contract.terms import read_terms
from paddock.crypto.canonical import canonical, parse
from paddock.crypto.dsse import Envelope
from paddock.crypto.moment import read_moment, write_moment
from paddock.errors import (
    HubRunsUsedUp,
    NotAParty,
    NotFound,
    PaddockError,
    RunCancelled,
    RunInterrupted,
    RunSpokeBadly,
    StateRefused,
)
from paddock.hub import contracts, events
from paddock.hub.journal import record
from paddock.hub.records import record_of
from paddock.hub.requests import accept_request
from paddock.hub.schema import checkpoints, contract_parties, run_events, runs
from paddock.hub.schema import contracts as contracts_table

MAX_LISTED = 500
MAX_EVENTS_AT_ONCE = 500
ENDED = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})
_RESUMABLE = frozenset({RunState.FAILED, RunState.CANCELLED})
KEPT_CHECKPOINTS = 2
"""Should the newest one be damaged, the one before it serves."""
_UNDER_WAY = [RunState.QUEUED.value, RunState.RUNNING.value]
Json = dict[str, Any]


def ask(connection: Connection, envelope: Envelope, now: datetime) -> tuple[str, Json, dict[str, str]]:
    """Accept a signed request for a run.

    Returns:
        The run's id; the contract's envelope; and the keepers' addresses by party fingerprint, as their parties'
        newest records give them.

    Raises:
        NotFound, SenderUnknown, NotAParty, RequestRefused, RequestReplayed: as they say.
        StateRefused: the contract is not in a state in which it may run (C-14).
        HubRunsUsedUp: by the hub's count; the keepers decide.
    """
    members = frozenset({"contract"})
    request = accept_request(connection, envelope, action="run.request", members=members, now=now)
    row = contracts.contract_row(connection, request.body["contract"])
    if not contracts.is_party(connection, row.number, request.by):
        raise NotAParty
    next_state(contracts.state_now(row, now), ContractEvent.RUN_START)  # C-14: also refuses when expired
    if row.succeeded + row.under_way >= row.runs:
        raise HubRunsUsedUp
    run = secrets.token_hex(16)
    connection.execute(
        insert(runs).values(
            id=run,
            contract=row.number,
            state=RunState.QUEUED.value,
            requested_by=request.by,
            requested_at=write_moment(now),
            events=0,
            event_bytes=0,
        )
    )
    _count(connection, row, under_way=1)
    contracts.apply(connection, row.id, ContractEvent.RUN_START, now, "")
    record(connection, "run.queued", run, envelope.to_json(), now)
    contract = Envelope.from_json(row.envelope.encode())
    return run, contract.to_dict(), _keepers_of(connection, contract)


def resume(
    connection: Connection, run: str, envelope: Envelope, now: datetime
) -> tuple[Json, dict[str, str], list[Json]]:
    """Accept a signed request to go on with a run that failed or was cancelled.

    Returns:
        The contract's envelope; the keepers' addresses; and where the run's checkpoints stand, newest first.

    Raises:
        NotFound, SenderUnknown, NotAParty, RequestRefused, RequestReplayed: as they say.
        StateRefused: the run has not ended or succeeded, or the contract is not in a state in which it may run (C-14).
        HubRunsUsedUp: no attempt is left by the hub's count, or no run; the keepers decide.
    """
    found = _row(connection, run)
    request = accept_request(connection, envelope, action="run.resume", members=frozenset({"run"}), now=now)
    if request.body["run"] != run or not contracts.is_party(connection, found.contract, request.by):
        raise NotAParty
    if found.state not in _RESUMABLE:
        raise StateRefused(f"The run is {found.state}; one that failed or was cancelled can be resumed.")
    row = connection.execute(select(contracts_table).where(contracts_table.c.number == found.contract)).one()
    next_state(contracts.state_now(row, now), ContractEvent.RUN_START)  # C-14: also refuses when expired
    contract = Envelope.from_json(row.envelope.encode())
    allowed = read_terms(contract.payload).limits.attempts
    if found.attempt >= allowed:
        raise HubRunsUsedUp(f"{found.attempt} of {allowed} attempts of the run were used.")
    if row.succeeded + row.under_way >= row.runs:
        raise HubRunsUsedUp
    values = {"state": RunState.QUEUED.value, "ended_at": None, "error": None, "attempt": found.attempt + 1}
    connection.execute(update(runs).where(runs.c.number == found.number).values(**values))
    _count(connection, row, under_way=1)
    contracts.apply(connection, row.id, ContractEvent.RUN_START, now, "")
    record(connection, "run.resumed", run, envelope.to_json(), now)
    query = select(checkpoints.c.id, checkpoints.c.asset).where(checkpoints.c.run == found.number)
    hints = connection.execute(query.order_by(checkpoints.c.seq.desc()).limit(KEPT_CHECKPOINTS)).mappings()
    return contract.to_dict(), _keepers_of(connection, contract), [dict(each) for each in hints]


def never_began(connection: Connection, run: str) -> None:
    """Take back the attempt that was counted for a run that nothing could be started for."""
    row = _row(connection, run)
    connection.execute(update(runs).where(runs.c.number == row.number).values(attempt=max(0, row.attempt - 1)))


def may_cancel(connection: Connection, run: str, envelope: Envelope, now: datetime) -> None:
    """Return if a party of the run's contract asks to cancel it and it has not ended; the cancelling is noted.

    Raises:
        NotFound, SenderUnknown, NotAParty, RequestRefused, RequestReplayed, StateRefused: as they say.
    """
    row = _row(connection, run)
    members = frozenset({"run"})
    request = accept_request(connection, envelope, action="run.cancel", members=members, now=now)
    if request.body["run"] != run or not contracts.is_party(connection, row.contract, request.by):
        raise NotAParty
    if row.state in ENDED:
        raise StateRefused(f"The run has {row.state}.")
    finish(connection, run, {"event": "failed", "error": RunCancelled().as_dict()}, now)


def _keepers_of(connection: Connection, contract: Envelope) -> dict[str, str]:
    fingerprints = read_terms(contract.payload).fingerprints().values()
    return {each: record_of(connection, each).keeper.url for each in fingerprints}


def under_way(connection: Connection, contract: str) -> list[str]:
    """Runs of a contract that have not ended."""
    row = contracts.contract_row(connection, contract)
    query = select(runs.c.id).where(runs.c.contract == row.number, runs.c.state.in_(_UNDER_WAY))
    return list(connection.execute(query).scalars())


def started(connection: Connection, run: str, now: datetime) -> None:
    """Note that the engine began."""
    row = _row(connection, run)
    if row.state != RunState.QUEUED:
        return
    values = {"state": RunState.RUNNING.value, "started_at": write_moment(now)}
    connection.execute(update(runs).where(runs.c.number == row.number).values(**values))
    record(connection, "run.running", run, b"", now)


def add_event(connection: Connection, run: str, event: Json) -> None:
    """Keep a phase or progress event, unless it is of another form, too large, or one too many."""
    row = _row(connection, run)
    known = events.read_event(event)
    if row.state in ENDED or known is None or row.events >= events.MAX_EVENTS:
        return
    text = events.write_event(known)
    if text is not None and row.event_bytes + len(text) <= events.MAX_ALL_BYTES:
        _store(connection, row, known["event"], text)


def add_checkpoint(connection: Connection, run: str, event: Json) -> None:
    """Note where a checkpoint stands, unless the event is of another form.

    Also when the run has just been cancelled: a later attempt may go on from it, and else it is deleted.
    """
    row = _row(connection, run)
    known = events.read_checkpoint(event, run)
    if known is None:
        return
    values = {"run": row.number, "id": known.id, "asset": known.asset, "objects": json.dumps(known.objects)}
    connection.execute(insert(checkpoints).values(values))
    if row.state not in ENDED and row.events < events.MAX_EVENTS:
        shown = known.model_dump(mode="json", include={"event", "at", "number", "asset"})
        _store(connection, row, "checkpoint", events.write_event(shown) or "{}")


def stale_checkpoints(connection: Connection, now: datetime) -> dict[int, list[str]]:
    """Checkpoints that nothing will go on from: the objects of each, by its number here.

    All but a run's newest two, and all of a run that succeeded or whose contract is over.
    """
    stale: dict[int, list[str]] = {}
    table = contracts_table
    query = select(checkpoints, runs.c.state.label("run_state"), table.c.state, table.c.expires)
    query = query.join(runs, runs.c.number == checkpoints.c.run).join(table, table.c.number == runs.c.contract)
    kept: dict[int, int] = {}
    for row in connection.execute(query.order_by(checkpoints.c.seq.desc())):
        kept[row.run] = kept.get(row.run, 0) + 1
        over = row.run_state == RunState.SUCCEEDED or (
            row.run_state in ENDED and contracts.state_now(row, now) in FINAL
        )
        if over or kept[row.run] > KEPT_CHECKPOINTS:
            stale[row.seq] = json.loads(row.objects)
    return stale


def forget_checkpoints(connection: Connection, numbers: Iterable[int]) -> None:
    """Drop what was noted of these."""
    for number in numbers:
        connection.execute(delete(checkpoints).where(checkpoints.c.seq == number))


def finish(connection: Connection, run: str, final: Json, now: datetime) -> None:
    """End a run by its final event, once; a second one changes nothing.

    A receipt that comes after the run was cancelled counts all the same, while the contract is in force: the keepers gave
    their last leases before they knew, and no other attempt will ever get keys.
    """
    row = _row(connection, run)
    if row.state in ENDED and not _came_late(connection, row, final):
        return
    contract = connection.execute(select(contracts_table).where(contracts_table.c.number == row.contract)).one()
    receipt = error = None
    if final["event"] == "receipt":
        try:
            receipt = events.read_receipt(final, contract=contract.id, run=run)
            kept = {"event": "receipt"}
        except RunSpokeBadly as refused:
            final = {"event": "failed", "error": refused.as_dict()}
    if receipt is None:
        error, kept = events.read_failure(final)
    state = _state_after(error)
    connection.execute(
        update(runs)
        .where(runs.c.number == row.number)
        .values(
            state=state.value,
            ended_at=write_moment(now),
            error=None if error is None else json.dumps(error.as_dict()),
            receipt=receipt,
        )
    )
    _store(connection, row, kept["event"], events.write_event(kept) or "{}")
    document = receipt.encode() if receipt is not None else canonical(kept)
    record(connection, "run.receipt" if receipt is not None else f"run.{state}", run, document, now)
    _settle(connection, contract, error, now)


def _came_late(connection: Connection, row: Row[Any], final: Json) -> bool:
    """Whether a cancelled run has a receipt after all; then its contract is back where the run is under way."""
    if row.state != RunState.CANCELLED or final["event"] != "receipt":
        return False
    contract = connection.execute(select(contracts_table).where(contracts_table.c.number == row.contract)).one()
    if ContractState(contract.state) in FINAL:
        return False
    try:
        events.read_receipt(final, contract=contract.id, run=row.id)
    except RunSpokeBadly:
        return False
    now = read_moment(row.ended_at)
    _count(connection, contract, under_way=1)
    contracts.apply(connection, contract.id, ContractEvent.RUN_START, now, "")
    return True


def recover(connection: Connection, now: datetime) -> list[str]:
    """End the runs that a crash left under way; their ids. They can be resumed, or asked for again."""
    query = select(runs.c.id).where(runs.c.state.in_(_UNDER_WAY)).order_by(runs.c.number)
    left = list(connection.execute(query).scalars())
    for run in left:
        finish(connection, run, {"event": "failed", "error": RunInterrupted().as_dict()}, now)
    return left


def show(connection: Connection, run: str) -> Json:
    """What the hub knows of a run.

    Raises:
        NotFound: there is none.
    """
    row = _row(connection, run)
    query = select(run_events.c.body).where(run_events.c.run == row.number, run_events.c.event == "phase")
    bodies = connection.execute(query.order_by(run_events.c.seq).limit(MAX_EVENTS_AT_ONCE)).scalars()
    return {**_summary(connection, row), "phases": [json.loads(body) for body in bodies]}


def list_runs(connection: Connection, contract: str | None, party: str | None) -> list[Json]:
    """Runs, newest first."""
    query = select(runs).order_by(runs.c.number.desc()).limit(MAX_LISTED)
    if contract is not None:
        query = query.where(runs.c.contract == contracts.contract_row(connection, contract).number)
    if party is not None:
        query = query.join(contract_parties, contract_parties.c.number == runs.c.contract)
        query = query.where(contract_parties.c.fingerprint == party)
    return [_summary(connection, row) for row in connection.execute(query).all()]


def events_after(connection: Connection, run: str, after: int) -> Json:
    """Events with a number above `after`, oldest first, and the run's state."""
    row = _row(connection, run)
    query = select(run_events.c.seq, run_events.c.body).where(run_events.c.run == row.number, run_events.c.seq > after)
    found = connection.execute(query.order_by(run_events.c.seq).limit(MAX_EVENTS_AT_ONCE)).all()
    return {"events": [{"seq": each.seq, **json.loads(each.body)} for each in found], "state": row.state}


def receipt_of(connection: Connection, run: str) -> Json:
    """The receipt of a run that succeeded: unverified.

    Raises:
        NotFound: there is none.
    """
    row = _row(connection, run)
    if row.receipt is None:
        raise NotFound(f"The run is {row.state} and has no receipt.")
    return {"envelope": parse(row.receipt.encode())}


def _state_after(error: PaddockError | None) -> RunState:
    if error is None:
        return RunState.SUCCEEDED
    return RunState.CANCELLED if isinstance(error, RunCancelled) else RunState.FAILED


def _settle(connection: Connection, contract: Row[Any], error: PaddockError | None, now: datetime) -> None:
    _count(connection, contract, under_way=-1, succeeded=int(error is None))
    if ContractState(contract.state) in FINAL or contract.under_way > 1:
        return  # ended meanwhile, or another run of it goes on: the last one decides
    if error is not None:
        contracts.apply(connection, contract.id, ContractEvent.RUN_FAIL, now, error.summary())
        return
    contracts.apply(connection, contract.id, ContractEvent.RUN_SUCCEED, now, "")
    if contract.succeeded + 1 >= contract.runs:
        contracts.apply(connection, contract.id, ContractEvent.USED_UP, now, "")


def _count(connection: Connection, contract: Row[Any], *, under_way: int, succeeded: int = 0) -> None:
    table = contracts_table
    connection.execute(
        update(table)
        .where(table.c.number == contract.number)
        .values(under_way=table.c.under_way + under_way, succeeded=table.c.succeeded + succeeded)
    )


def _store(connection: Connection, row: Row[Any], name: str, text: str) -> None:
    connection.execute(insert(run_events).values(run=row.number, seq=row.events + 1, event=name, body=text))
    values = {"events": row.events + 1, "event_bytes": row.event_bytes + len(text)}
    connection.execute(update(runs).where(runs.c.number == row.number).values(**values))


def _row(connection: Connection, run: str) -> Row[Any]:
    row = connection.execute(select(runs).where(runs.c.id == run[:64])).first()
    if row is None:
        raise NotFound("There is no such run here.")
    return row


def _summary(connection: Connection, row: Row[Any]) -> Json:
    query = select(contracts_table.c.id).where(contracts_table.c.number == row.contract)
    return {
        "run": row.id,
        "contract": connection.execute(query).scalar_one(),
        "state": row.state,
        "requested_by": row.requested_by,
        "requested_at": row.requested_at,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "error": None if row.error is None else json.loads(row.error),
        "attempt": row.attempt,
    }
