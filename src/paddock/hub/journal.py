"""What the hub writes to its ledger: that a thing was accepted, by digest.

Source: docs/spec/ledger.md §6 (G-6).
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from paddock.crypto.canonical import canonical
from paddock.crypto.digest import sha256_id
from paddock.crypto.moment import write_moment
from paddock.ledger import log


def record(connection: Connection, event: str, subject: str, document: bytes, now: datetime) -> None:
    """Append one entry, in the transaction of the change itself (G-6).

    Args:
        connection: in that transaction.
        event: what happened, e.g. `contract.signed`.
        subject: id of the contract or run.
        document: what was accepted; only its digest is written.
        now: the hub's time.
    """
    entry = {"at": write_moment(now), "digest": sha256_id(document), "event": event, "subject": subject}
    log.append(connection, canonical(entry))
