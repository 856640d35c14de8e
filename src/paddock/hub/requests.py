"""Signed requests as they arrive: who asks, for what, once.

Source: docs/spec/contract.md §5 (C-16).
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError

from paddock.contract.request import MAX_AGE, Request, claimed_sender, verify_request
from paddock.crypto.dsse import Envelope
from paddock.errors import RequestRefused, RequestReplayed
from paddock.hub.records import keys_of
from paddock.hub.schema import requests

AUDIENCE = "hub"


def accept_request(
    connection: Connection, envelope: Envelope, *, action: str, members: frozenset[str], now: datetime
) -> Request:
    """The request, after these steps: 1. its sender is known here, 2. signed and fresh, 3. well formed, 4. not seen.

    Args:
        connection: in the writing transaction of what is asked for, so that the nonce counts only if that is done.
        envelope: as received.
        action: the one action that this place does.
        members: what its body holds, exactly; all of them texts.
        now: the hub's time.

    Raises:
        SenderUnknown, RequestRefused, RequestReplayed: a step fails.
    """
    sender = claimed_sender(envelope)
    keys = keys_of(connection, sender)  # 1.
    request = verify_request(envelope, keys.sign, action=action, audience=AUDIENCE, sender=sender, now=now)  # 2.
    if set(request.body) != members or not all(isinstance(value, str) for value in request.body.values()):  # 3.
        raise RequestRefused("It is not well formed.")
    seconds = int(now.timestamp())
    connection.execute(delete(requests).where(requests.c.seen < seconds - 2 * int(MAX_AGE.total_seconds())))
    nonces = select(requests.c.nonce).where(requests.c.sender == sender, requests.c.nonce == request.nonce)
    if connection.execute(nonces).first() is not None:  # 4. C-16
        raise RequestReplayed
    try:
        connection.execute(insert(requests).values(sender=sender, nonce=request.nonce, seen=seconds))
    except IntegrityError:
        raise RequestReplayed from None  # a database with several writers: the other one was first
    return request
