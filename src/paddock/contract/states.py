"""States of a contract and of a run, as explicit tables.

The hub keeps these states for everybody's convenience. No key depends on them: a keeper judges signatures, expiry and
runs by itself.

Source: docs/spec/contract.md §3 (C-14).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from paddock.errors import StateRefused


class ContractState(enum.StrEnum):
    """Where a contract stands."""

    PROPOSED = "proposed"
    ACTIVE = "active"
    RUNNING = "running"
    FULFILLED = "fulfilled"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class ContractEvent(enum.StrEnum):
    """What can happen to a contract."""

    ALL_SIGNED = "all_signed"
    REJECT = "reject"
    RUN_START = "run_start"
    RUN_SUCCEED = "run_succeed"
    RUN_FAIL = "run_fail"
    USED_UP = "used_up"
    CANCEL = "cancel"
    EXPIRE = "expire"


class RunState(enum.StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


S, E = ContractState, ContractEvent
TRANSITIONS: Mapping[tuple[ContractState, ContractEvent], ContractState] = MappingProxyType(
    {
        (S.PROPOSED, E.ALL_SIGNED): S.ACTIVE,
        (S.PROPOSED, E.REJECT): S.CANCELLED,
        (S.PROPOSED, E.CANCEL): S.CANCELLED,
        (S.PROPOSED, E.EXPIRE): S.EXPIRED,
        (S.ACTIVE, E.RUN_START): S.RUNNING,
        (S.ACTIVE, E.USED_UP): S.FULFILLED,
        (S.ACTIVE, E.CANCEL): S.CANCELLED,
        (S.ACTIVE, E.EXPIRE): S.EXPIRED,
        (S.RUNNING, E.RUN_START): S.RUNNING,
        (S.RUNNING, E.RUN_SUCCEED): S.ACTIVE,
        (S.RUNNING, E.RUN_FAIL): S.FAILED,
        (S.RUNNING, E.CANCEL): S.CANCELLED,
        (S.RUNNING, E.EXPIRE): S.EXPIRED,
        (S.FAILED, E.RUN_START): S.RUNNING,
        (S.FAILED, E.CANCEL): S.CANCELLED,
        (S.FAILED, E.EXPIRE): S.EXPIRED,
    }
)
FINAL = frozenset({S.FULFILLED, S.CANCELLED, S.EXPIRED})


def next_state(state: ContractState, event: ContractEvent) -> ContractState:
    """The state after `event`.

    Raises:
        StateRefused: the event cannot happen in this state (C-14).
    """
    try:
        return TRANSITIONS[state, event]  # C-14
    except KeyError:
        raise StateRefused(f"The contract is {state}; '{event}' is not possible in that state.") from None
