"""One's own end of connections: a key, and a certificate over it, both made anew before they age.

Source: docs/spec/attestation.md §8 (A-19, A-22).
"""

from __future__ import annotations

import ssl
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from paddock.crypto.identity import PrivateKeys
from paddock.crypto.tls import TlsKey, certificate_pem
from paddock.evidence.claims import EvidenceSet
from paddock.evidence.tls import Identity, Role, TlsStatement, make_certificate

LIFE = timedelta(seconds=240)
"""How long a certificate is valid: shorter than a verifier takes evidence for fresh unless it is told otherwise."""
BACKDATED = timedelta(seconds=60)
"""How far another end's clock may be behind."""

Attest = Callable[[bytes], EvidenceSet | None]
"""Evidence over 64 bytes of report data; None where there is nothing to attest with."""


def now() -> datetime:
    """The time, in whole seconds as certificates write it."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Credentials:
    """A certificate in DER with its key, as OpenSSL takes them.

    Args:
        certificate: in DER.
        key: PKCS #8 in PEM, encrypted.
        password: of the key.
        renew_at: when half of its validity is over.
    """

    certificate: bytes
    key: bytes
    password: str
    renew_at: datetime

    def load_into(self, context: ssl.SSLContext) -> None:
        """Use them for connections that are made from now on."""
        with tempfile.NamedTemporaryFile(prefix="paddock-tls-") as file:
            # The ssl module takes keys from files alone; whoever reads this one lacks the password, which is nowhere.
            file.write(self.key + certificate_pem(self.certificate))
            file.flush()
            context.load_cert_chain(file.name, password=self.password)


class OwnEnd:
    """Who this end is, and what it shows.

    Safe to use from several threads.

    Args:
        identity: who it is.
        keys: the private half of the identity's keys.
        role: whether it serves or asks.
        attest: evidence of the environment that it runs in; None where it shows none.
    """

    def __init__(self, identity: Identity, keys: PrivateKeys, role: Role, attest: Attest | None = None) -> None:
        self._identity, self._keys, self._role, self._attest = identity, keys, role, attest
        self._made: Credentials | None = None
        self._lock = threading.Lock()

    def credentials(self) -> Credentials:
        """Those of now; a new key, certificate and evidence once half of the validity is over (A-22).

        Raises:
            AttesterUnavailable: the environment's device does not answer.
        """
        with self._lock:
            if self._made is None or now() >= self._made.renew_at:
                self._made = self._make()
            return self._made

    def _make(self) -> Credentials:
        key, started = TlsKey.generate(), now()
        statement = TlsStatement(
            self._identity, key.public.fingerprint(), started - BACKDATED, started + LIFE, self._role
        )
        evidence = None if self._attest is None else self._attest(statement.report_data())
        certificate = make_certificate(key, statement, self._keys, evidence)
        pem, password = key.to_encrypted_pem()
        return Credentials(certificate, pem, password, started + LIFE / 2)
