"""The end that asks: the server is verified before anything is sent to it.

Source: docs/spec/attestation.md §8 (A-20, A-21, A-22).
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import NoReturn

from paddock.channel.end import LIFE, Credentials, OwnEnd, now
from paddock.channel.judged import Judged
from paddock.evidence.collateral import Collateral
from paddock.evidence.tls import ExpectedServer, Peer, check_server, read_peer

PLAIN_NAME, EVIDENCE_NAME = "identity.paddock.internal", "evidence.paddock.internal"
"""What a client calls the server in its greeting: whether it expects evidence. Nobody resolves these names."""


_NOTHING_KNOWN = Collateral()


class _Context(ssl.SSLContext):
    """A context whose connections are checked before they can be used."""

    check: Callable[[bytes | None], None]


class _CheckedSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        try:
            # whoever holds this socket gets it back from here only if this returns.
            self.context.check(self.getpeercert(binary_form=True))  # type: ignore[attr-defined]  # made by ClientTls
        except BaseException:
            self.close()
            raise


class _NoObject(ssl.SSLObject):
    def do_handshake(self) -> NoReturn:
        raise RuntimeError("attested TLS speaks over sockets alone")


class ClientTls:
    """How to reach one server over attested TLS; see `ServiceClient`.

    Args:
        expected: whom to go on with.
        own: what this end shows where it is asked; None where it is nobody in particular.
        collateral: what is known of platforms, asked for each connection; the same object where nothing changed.
    """

    def __init__(
        self,
        expected: ExpectedServer,
        own: OwnEnd | None = None,
        collateral: Callable[[], Collateral] = lambda: _NOTHING_KNOWN,
    ) -> None:
        self.server_name = PLAIN_NAME if expected.evidence is None else EVIDENCE_NAME
        self._expected, self._own, self._collateral = expected, own, collateral
        self._lock = threading.Lock()
        self._loaded: Credentials | None = None
        self._good_until: datetime | None = None
        self._judged: Judged[Peer] = Judged()

    def context(self) -> ssl.SSLContext:
        """What connections are made with from now on: with this end's credentials of now, which never change in it.

        Raises:
            AttesterUnavailable: evidence of this end cannot be had.
        """
        current = None if self._own is None else self._own.credentials()
        context = self._make_context()
        if current is not None:
            current.load_into(context)
        with self._lock:
            self._loaded, self._good_until = current, None
        return context

    def is_stale(self) -> bool:
        """Whether another context is needed, and connections of before should not be used; asked before each request.

        Raises:
            AttesterUnavailable: evidence of this end cannot be had.
        """
        current = None if self._own is None else self._own.credentials()
        with self._lock:
            return current is not self._loaded or (self._good_until is not None and now() >= self._good_until)

    def _make_context(self) -> ssl.SSLContext:
        context = _Context(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        # Nobody's word is taken but what `check` verifies: the issuer of these certificates vouches for nothing.
        context.verify_mode = ssl.CERT_NONE
        context.check = self._check
        context.sslsocket_class = _CheckedSocket
        context.sslobject_class = _NoObject
        return context

    def _check(self, certificate: bytes | None) -> None:
        moment, collateral = now(), self._collateral()

        def judge() -> tuple[Peer, datetime]:
            peer = read_peer(certificate, role="server", now=moment)
            check_server(peer, self._expected, collateral=collateral, now=moment)
            return replace(peer, evidence=None), peer.not_after  # judged: nothing holds on to it

        peer = self._judged.verdict(certificate or b"", (collateral,), moment, judge)
        until = min(peer.not_after, moment + LIFE / 2)
        with self._lock:
            self._good_until = until if self._good_until is None else min(until, self._good_until)
