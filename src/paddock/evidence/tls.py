"""What a certificate of attested TLS says, and whom the other end goes on with.

One extension of the certificate is the canonical JSON of `version`, `identity` and `signature`; another, where evidence is
shown, its wrapper. Signature and evidence are over one value, which names the certificate's own key, its validity and its
role; so neither serves another certificate.

    statement   = {"identity", "key", "not_after", "not_before", "role"}
    report data = SHA-512("paddock/tls/v1" || 0x00 || canonical JSON of the statement)      64 bytes

Source: docs/spec/attestation.md §8 (A-19, A-20, A-22, A-23); docs/adr/0012-attested-tls.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from paddock.crypto.canonical import canonical, parse_canonical
from paddock.crypto.digest import b64, is_digest, unb64
from paddock.crypto.identity import PrivateKeys, PublicKeys
from paddock.crypto.moment import write_moment
from paddock.crypto.tls import EVIDENCE_OID, STATEMENT_OID, TlsKey, read_evidence_extension
from paddock.crypto.x509 import Certificate
from paddock.errors import (
    CertificateExpired,
    CertificateRefused,
    CryptoRefused,
    EvidenceMalformed,
    PeerRefused,
    SignatureRefused,
)
from paddock.evidence.appraisal import Verdict, appraise
from paddock.evidence.claims import EvidenceSet
from paddock.evidence.collateral import Collateral
from paddock.evidence.trust import TrustPolicy

Role = Literal["client", "server"]
Kind = Literal["hub", "keeper", "party", "run"]
VERSION = "paddock/tls/v1"
KINDS = ("hub", "keeper", "party", "run")
MAX_VALIDITY = timedelta(hours=1)
MAX_WRAPPER_BYTES = 90 << 10
"""OpenSSL takes at most 100 KiB of certificates from a peer."""
_LABEL = b"paddock/tls/v1\0"
_MEMBERS = frozenset({"version", "identity", "signature"})
_MAX_BODY_BYTES = 8 << 10
_PLAIN, _RUN = frozenset({"kind", "keys"}), frozenset({"kind", "keys", "contract", "run", "level"})
_LEVELS = frozenset({"L1", "L2", "L3", "L4", "L5"})


@dataclass(frozen=True)
class Identity:
    """Who one end says that it is.

    Args:
        kind: `hub`, `keeper` or `party`, or the execution environment of a `run`.
        keys: its public keys: those of a run live as long as the run.
        contract: of a run, its id; empty for others.
        run: its id, 32 hex digits; empty for others.
        level: the contract's level, as text; empty for others.
    """

    kind: Kind
    keys: PublicKeys
    contract: str = ""
    run: str = ""
    level: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        value: dict[str, Any] = {"kind": self.kind, "keys": self.keys.to_dict()}
        return value | ({"contract": self.contract, "run": self.run, "level": self.level} if self.kind == "run" else {})

    @classmethod
    def from_dict(cls, value: object) -> Identity:
        """Read JSON values strictly.

        Raises:
            EvidenceMalformed: another shape (A-6).
            EncodingRefused: keys that are not well formed.
        """
        if not isinstance(value, dict) or value.get("kind") not in KINDS:
            raise EvidenceMalformed("It does not say who it is.")
        kind = value["kind"]
        if set(value) != (_RUN if kind == "run" else _PLAIN):
            raise EvidenceMalformed("It does not say who it is.")
        keys = PublicKeys.from_dict(value["keys"])
        if kind != "run":
            return cls(kind, keys)
        contract, run, level = value["contract"], value["run"], value["level"]
        hexadecimal = isinstance(run, str) and len(run) == 32 and all(ch in "0123456789abcdef" for ch in run)
        if not is_digest(contract) or not hexadecimal or not isinstance(level, str) or level not in _LEVELS:
            raise EvidenceMalformed("It does not say for which run it is.")
        return cls(kind, keys, contract, run, level)


@dataclass(frozen=True)
class TlsStatement:
    """What an end's signature and evidence are over."""

    identity: Identity
    key: str
    not_before: datetime
    not_after: datetime
    role: Role

    def report_data(self) -> bytes:
        """SHA-512 over the label and the canonical JSON of this statement, 64 bytes (A-19)."""
        value = {
            "identity": self.identity.to_dict(),
            "key": self.key,
            "not_after": write_moment(self.not_after),
            "not_before": write_moment(self.not_before),
            "role": self.role,
        }
        return hashlib.sha512(_LABEL + canonical(value)).digest()


def make_certificate(key: TlsKey, statement: TlsStatement, signer: PrivateKeys, evidence: EvidenceSet | None) -> bytes:
    """The certificate of one end, in DER.

    Args:
        key: its TLS key, the one that the statement names.
        statement: what is certified.
        signer: the private half of the identity's keys.
        evidence: over the statement's report data; None for an end that shows none.

    Raises:
        EvidenceMalformed: the evidence is too large for a certificate.
    """
    body = canonical(
        {
            "version": VERSION,
            "identity": statement.identity.to_dict(),
            "signature": b64(signer.sign.sign(statement.report_data())),
        }
    )
    wrapper = None if evidence is None else _compact(evidence)
    if wrapper is not None and len(wrapper) > MAX_WRAPPER_BYTES:
        raise EvidenceMalformed(f"Its wrapper has {len(wrapper)} bytes; a certificate takes {MAX_WRAPPER_BYTES}.")
    return key.certificate(body, wrapper, not_before=statement.not_before, not_after=statement.not_after)


@dataclass(frozen=True)
class Peer:
    """The other end: holds the keys of the identity, and nothing else is known yet. `read_peer` makes one.

    Args:
        identity: whose signature stands in the certificate.
        report_data: what its evidence must carry.
        not_after: until when it may go on.
        evidence: unverified; None where it shows none.
    """

    identity: Identity
    report_data: bytes
    not_after: datetime
    evidence: EvidenceSet | None = field(repr=False)


def read_peer(certificate: bytes | None, *, role: Role, now: datetime) -> Peer:
    """Read the certificate that the other end proved to hold the key of.

    1. There is one, within its time, which is short. 2. Its extensions have the one form. 3. The identity that it names
    signed for this very key, time and role.

    Args:
        certificate: as TLS gave it, in DER; None if there was none.
        role: what the other end is: `server` or `client`.
        now: this end's clock.

    Raises:
        PeerRefused: whatever is wrong with it (A-19, A-20, A-22, A-23).
    """
    if not certificate:
        raise PeerRefused("It shows no certificate.")
    try:
        read = Certificate.from_der(certificate)
        # 1. A-22
        read.check_time(now)
        if read.not_after - read.not_before > MAX_VALIDITY:
            raise PeerRefused("Its certificate is valid for too long.")
        # 2. A-6
        if not {STATEMENT_OID} <= read.extension_oids() <= {STATEMENT_OID, EVIDENCE_OID}:
            raise EvidenceMalformed("Its extensions are others.")
        body = _body(read.extension(STATEMENT_OID))
        identity = Identity.from_dict(body["identity"])
        evidence = _evidence(read.extension(EVIDENCE_OID))
        # 3.
        key = read.public_key()
        statement = TlsStatement(identity, key.fingerprint(), read.not_before, read.not_after, role)
        report_data = statement.report_data()
        identity.keys.sign.verify(unb64(body["signature"], 64), report_data)
    except CertificateExpired as error:
        raise PeerRefused(f"Its certificate is not valid now. {error.detail}") from error
    except SignatureRefused as error:
        raise PeerRefused("Who it says that it is did not sign for this connection.") from error
    except (CertificateRefused, CryptoRefused, EvidenceMalformed) as error:
        raise PeerRefused(f"Its certificate is not one of attested TLS. {error.detail}") from error
    return Peer(identity, report_data, read.not_after, evidence)


@dataclass(frozen=True)
class ExpectedEvidence:
    """What the other end must be: exactly these pieces, by this policy, of one of these measurements.

    Args:
        policy: what evidence is accepted.
        level: whose pieces the policy demands, as text.
        measurements: of the environment; at least one.
    """

    policy: TrustPolicy
    level: str
    measurements: frozenset[str]

    def __post_init__(self) -> None:
        if not self.measurements:
            raise PeerRefused("No measurement is expected, so that nobody could be accepted.")


@dataclass(frozen=True)
class ExpectedServer:
    """Whom a client goes on with, and nobody else.

    Args:
        kind: what it is.
        fingerprint: of its keys.
        evidence: what it must show; None: nothing, and then evidence is one thing too many.
    """

    kind: Kind
    fingerprint: str
    evidence: ExpectedEvidence | None = None


def check_server(peer: Peer, expected: ExpectedServer, *, collateral: Collateral, now: datetime) -> Verdict | None:
    """Return if it is the expected one, with the verdict on its evidence where some is expected.

    Raises:
        PeerRefused: it is another, or shows another set of evidence (A-20).
        EvidenceRefused, CertificateRefused: its evidence does not pass.
    """
    found = (peer.identity.kind, peer.identity.keys.fingerprint())
    if found != (expected.kind, expected.fingerprint):
        raise PeerRefused(f"It is the {found[0]} {found[1]}; expected is the {expected.kind} {expected.fingerprint}.")
    if expected.evidence is None:
        check_no_evidence(peer)
        return None
    asked = expected.evidence
    verdict = check_evidence(peer, level=asked.level, policy=asked.policy, collateral=collateral, now=now)
    check_measurement(verdict, asked.measurements)
    return verdict


def check_no_evidence(peer: Peer) -> None:
    """Return if it shows no evidence. Raises PeerRefused: what nobody expects is not passed over in silence (A-20)."""
    if peer.evidence is not None:
        raise PeerRefused("It shows evidence that nobody asked for.")


def check_evidence(peer: Peer, *, level: str, policy: TrustPolicy, collateral: Collateral, now: datetime) -> Verdict:
    """Return the verdict on the other end's evidence.

    Raises:
        PeerRefused: there is none (A-20).
        EvidenceRefused, CertificateRefused: it does not pass, or is for another certificate (A-19).
    """
    if peer.evidence is None:
        raise PeerRefused("It shows no evidence.")
    return appraise(
        peer.evidence, level=level, report_data=peer.report_data, policy=policy, collateral=collateral, now=now
    )


def check_measurement(verdict: Verdict, measurements: Collection[str]) -> None:
    """Return if the environment is one of those expected. Raises PeerRefused (A-20)."""
    if verdict.environment.measurement not in measurements:
        raise PeerRefused(f"Its measurement is {verdict.environment.measurement}, which is not one that is expected.")


def _body(value: bytes | None) -> dict[str, Any]:
    if value is None or len(value) > _MAX_BODY_BYTES:
        raise EvidenceMalformed("Its extension is missing or too large.")
    body = parse_canonical(value)
    if set(body) != _MEMBERS or body["version"] != VERSION or not isinstance(body["signature"], str):
        raise EvidenceMalformed("Its extension has another form.")
    return body


def _compact(evidence: EvidenceSet) -> str:
    """The one form of a wrapper in a certificate: ASCII, members in order, no white space."""
    return json.dumps(evidence.to_wrapper(), separators=(",", ":"), sort_keys=True)


def _evidence(value: bytes | None) -> EvidenceSet | None:
    if value is None:
        return None
    if len(value) > MAX_WRAPPER_BYTES + 16:
        raise EvidenceMalformed("Its evidence is too large for a certificate.")
    text = read_evidence_extension(value)
    try:
        evidence = EvidenceSet.from_wrapper(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise EvidenceMalformed("Its evidence is not JSON.") from error
    if _compact(evidence) != text:
        raise EvidenceMalformed("Its evidence is not in its one form.")
    return evidence
