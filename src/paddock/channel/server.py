"""The end that serves: shows what a client asks for, and admits only those that its gate knows.

Source: docs/spec/attestation.md §8 (A-20 to A-23).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from paddock.channel.client import EVIDENCE_NAME
from paddock.channel.end import LIFE, Credentials, OwnEnd, now
from paddock.channel.judged import Judged
from paddock.crypto.tls import carrier_certificate
from paddock.evidence.tls import Peer, read_peer

_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which the ssl module has no name for

Gate = Callable[[Peer], None]
"""Returns if this client may go on; raises PeerRefused or what its evidence is refused for."""


class ServerTls:
    """How one application is served over attested TLS; see `paddock.service.serve.Served`.

    Args:
        plain: the end without evidence, for clients that expect none.
        attested: the end with evidence; None where this server has none to show.
        gate: judges clients. None asks them for no certificate: such a server believes nobody because of a connection.
        basis: what the gate judges by, e.g. policy and collateral: while these are the same objects, a client that comes
            back with the same certificate is not judged anew (A-21). None judges everybody anew.
    """

    def __init__(
        self,
        plain: OwnEnd,
        attested: OwnEnd | None = None,
        gate: Gate | None = None,
        basis: Callable[[], tuple[object, ...]] | None = None,
    ) -> None:
        self._gate, self._basis = gate, basis
        self._judged: Judged[Peer] = Judged()
        self._ends = [plain] if attested is None else [plain, attested]
        self._shown: list[tuple[Credentials, ssl.SSLContext]] = []

    def context(self) -> ssl.SSLContext:
        """What connections are accepted with. It never changes: each connection is given what is shown at that moment.

        Raises:
            AttesterUnavailable: evidence of this end cannot be had.
        """
        self.renew()
        context = self._make_context()
        self._shown[0][0].load_into(context)
        context.sni_callback = self._choose
        return context

    def renew(self) -> None:
        """Show credentials that are current; called every `renew_seconds`, never twice at once.

        Raises:
            AttesterUnavailable: evidence cannot be had; what was shown until now is shown on, until it is out of date.
        """
        shown = []
        for place, end in enumerate(self._ends):
            current = end.credentials()
            if place < len(self._shown) and current is self._shown[place][0]:
                shown.append(self._shown[place])
                continue
            # A context of its own: OpenSSL's are not made to change while connections are made with them.
            context = self._make_context()
            current.load_into(context)
            shown.append((current, context))
        self._shown = shown

    @property
    def renew_seconds(self) -> float:
        """How often `renew` must be called."""
        return LIFE.total_seconds() / 4

    @property
    def asks_clients(self) -> bool:
        """Whether a client must show who it is."""
        return self._gate is not None

    def admit(self, certificate: bytes | None) -> Peer:
        """The client, if it may go on.

        Raises:
            PeerRefused: it may not (A-20), or its certificate is not in order.
            EvidenceRefused, CertificateRefused: its evidence does not pass.
        """
        gate, moment = self._gate, now()
        if gate is None:
            raise RuntimeError("this server asks nobody")

        def judge() -> tuple[Peer, datetime]:
            peer = read_peer(certificate, role="client", now=moment)
            gate(peer)
            return replace(peer, evidence=None), peer.not_after  # judged: nothing holds on to it

        if self._basis is None:
            return judge()[0]
        return self._judged.verdict(certificate or b"", self._basis(), moment, judge)

    def is_current(self, peer: Any) -> bool:
        """Whether a client that was admitted is still within its time (A-22)."""
        return isinstance(peer, Peer) and now() <= peer.not_after

    def _make_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0  # a resumed session shows no certificate
        if self._gate is not None:
            # The carrier vouches for nothing: this only makes OpenSSL pass the certificate on to `admit`.
            # A client without one is told so by `admit`.
            context.verify_mode = ssl.CERT_OPTIONAL
            # Likewise time: `admit` judges it, and says what is wrong with it.
            context.verify_flags = ssl.VerifyFlags(_NO_CHECK_TIME)
            context.load_verify_locations(cadata=carrier_certificate())
        return context

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._shown[-1 if name == EVIDENCE_NAME else 0][1]
