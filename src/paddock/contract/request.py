"""Signed requests: what a party or a run asks of a hub or a keeper.

Source: docs/spec/contract.md §5 (C-16).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from paddock.crypto.canonical import canonical, parse_canonical
from paddock.crypto.dsse import Envelope
from paddock.crypto.moment import read_moment, write_moment
from paddock.crypto.signing import SigningKey, VerifyKey
from paddock.errors import CryptoRefused, RequestRefused

REQUEST_TYPE = "application/vnd.paddock.request.v1+json"
MAX_AGE = timedelta(minutes=5)


@dataclass(frozen=True)
class Request:
    """What is asked.

    Args:
        action: the one thing asked for, e.g. `run.request`.
        body: its arguments.
        audience: fingerprint of the service it is meant for, or `hub`.
        by: fingerprint of who asks.
        at: when, by the asker's clock.
        nonce: 32 hex digits, never used again.
    """

    action: str
    body: dict[str, Any]
    audience: str
    by: str
    at: datetime
    nonce: str

    def sign(self, key: SigningKey) -> Envelope:
        """The request in an envelope."""
        payload = {
            "action": self.action,
            "at": write_moment(self.at),
            "audience": self.audience,
            "body": self.body,
            "by": self.by,
            "nonce": self.nonce,
        }
        return Envelope.sign(REQUEST_TYPE, canonical(payload), key, self.by)


def claimed_sender(envelope: Envelope) -> str:
    """The fingerprint that the request says it is from: unverified, to look up the key that must verify it.

    Raises:
        RequestRefused: not a request.
    """
    return _read(envelope.payload).by


def verify_request(
    envelope: Envelope, key: VerifyKey, *, action: str, audience: str, sender: str, now: datetime
) -> Request:
    """The request, if `key` signed it, for this action and audience, and it is fresh.

    That a nonce is not used twice is the service's own memory: it must keep `(by, nonce)` for twice `MAX_AGE`.

    Raises:
        RequestRefused: any of these is not so (C-16).
    """
    try:
        payload = envelope.verify_by(key, REQUEST_TYPE)
    except CryptoRefused as error:
        raise RequestRefused("It is not signed by the one who is said to send it.") from error
    request = _read(payload)
    if request.action != action or request.audience != audience or request.by != sender:  # C-16
        raise RequestRefused("It was signed for another action, another service or by another sender.")
    if abs(now - request.at) > MAX_AGE:  # C-16
        raise RequestRefused("It is older or newer than five minutes; compare the clocks of both machines.")
    return request


def _read(payload: bytes) -> Request:
    try:
        value = parse_canonical(payload, max_bytes=1 << 20)
        if set(value) != {"action", "at", "audience", "body", "by", "nonce"} or not isinstance(value["body"], dict):
            raise RequestRefused("It is not well formed.")
        texts = [value[key] for key in ("action", "audience", "by", "nonce")]
        if not all(isinstance(text, str) and 0 < len(text) <= 128 for text in texts):
            raise RequestRefused("It is not well formed.")
        action, audience, by, nonce = texts
        return Request(action, value["body"], audience, by, read_moment(value["at"]), nonce)
    except (CryptoRefused, TypeError, ValueError) as error:
        raise RequestRefused("It is not well formed.") from error
