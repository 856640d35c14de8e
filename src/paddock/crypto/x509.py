"""Certificates of hardware vendors: reading them, leading a chain to a root, revocation.

Not the web's PKI: names, key kinds and extensions are the vendors' own, roots are those that a relying party names.

Source: RFC 5280 §6 (path validation, as far as vendors' chains use it: signatures, names, validity, basic constraints,
key usage, critical extensions, CRLs).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtensionOID

from paddock.crypto.public_key import PublicKey
from paddock.errors import (
    CertificateExpired,
    CertificateRefused,
    CertificateRevoked,
    EncodingRefused,
    RevocationUnknown,
)

# AMD gives all certificates of chips the serial number 0. RFC 5280 §4.1.2.2 asks its readers to take that gracefully.
warnings.filterwarnings("ignore", "Parsed a serial number which wasn't positive", CryptographyDeprecationWarning)
# A name is read before anybody's signature over it: what is odd about it is no matter for an operator's terminal.
warnings.filterwarnings("ignore", "Attribute's length must be", UserWarning)

MAX_CHAIN = 8
MAX_PEM_BYTES = 1 << 18
_UNDERSTOOD = frozenset({ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE})
_FAULTS = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class Certificate:
    """One X.509 certificate; equal by its DER form."""

    __slots__ = ("_certificate", "der")

    def __init__(self, certificate: x509.Certificate) -> None:
        self._certificate = certificate
        self.der = certificate.public_bytes(serialization.Encoding.DER)

    @classmethod
    def from_der(cls, der: bytes) -> Certificate:
        """Read one certificate, nothing behind it. Raises EncodingRefused."""
        try:
            certificate = cls(x509.load_der_x509_certificate(der))
        except _FAULTS as error:
            raise EncodingRefused("A certificate is not well formed.") from error
        if certificate.der != der or not certificate.has_whole_signature():
            raise EncodingRefused("A certificate has more than one form, or something behind it.")
        return certificate

    @classmethod
    def from_pem(cls, pem: bytes | str) -> tuple[Certificate, ...]:
        """Read one or more certificates in PEM, in order. Raises EncodingRefused."""
        data = pem.encode("utf-8", "replace") if isinstance(pem, str) else pem
        if len(data) > MAX_PEM_BYTES:
            raise EncodingRefused("A file of certificates is too large.")
        try:
            return tuple(cls(each) for each in x509.load_pem_x509_certificates(data))
        except _FAULTS as error:
            raise EncodingRefused("A certificate is not well formed.") from error

    @property
    def subject(self) -> str:
        """The subject as RFC 4514 writes it, printable characters only."""
        return _printable(lambda: self._certificate.subject)

    @property
    def issuer(self) -> str:
        """The issuer as RFC 4514 writes it, printable characters only."""
        return _printable(lambda: self._certificate.issuer)

    @property
    def serial(self) -> int:
        """The serial number."""
        return self._certificate.serial_number

    @property
    def not_before(self) -> datetime:
        """Start of validity, aware."""
        return self._certificate.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        """End of validity, aware."""
        return self._certificate.not_valid_after_utc

    def library_form(self) -> x509.Certificate:
        """As the library has it, for this module alone."""
        return self._certificate

    def public_key(self) -> PublicKey:
        """The key that it certifies. Raises EncodingRefused for kinds that are not used here."""
        try:
            return PublicKey(self._certificate.public_key())
        except _FAULTS as error:
            raise EncodingRefused("A certificate's key is not well formed.") from error

    def extension(self, oid: str) -> bytes | None:
        """The value of the extension with this OID, as DER; None where there is none. Raises EncodingRefused."""
        try:
            found = self._certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid))
        except x509.ExtensionNotFound:
            return None
        except _FAULTS as error:
            raise EncodingRefused("A certificate's extensions are not well formed.") from error
        return found.value.value if isinstance(found.value, x509.UnrecognizedExtension) else found.value.public_bytes()

    def extension_oids(self) -> frozenset[str]:
        """The OIDs of all its extensions. Raises CertificateRefused."""
        return frozenset(extension.oid.dotted_string for extension in self._extensions())

    def is_issued_by(self, issuer: Certificate) -> bool:
        """Whether the issuer's name stands in it and the issuer's key signed it."""
        try:
            self._certificate.verify_directly_issued_by(issuer.library_form())
        except (*_FAULTS, InvalidSignature):
            return False
        return True

    def has_whole_signature(self) -> bool:
        """Whether its signature has no unused bits: they may be said to be there without any change of it."""
        return self.der[: -len(self._certificate.signature)].endswith(b"\0")

    def check_time(self, now: datetime) -> None:
        """Return if it is valid at `now`. Raises CertificateExpired."""
        if not self.not_before <= now <= self.not_after:
            raise CertificateExpired(f"{self.subject}: valid {self.not_before:%Y-%m-%d} to {self.not_after:%Y-%m-%d}.")

    def check_extensions(self, understood: Collection[str] = ()) -> None:
        """Return if no critical extension says what is not understood here. Raises CertificateRefused.

        Args:
            understood: OIDs of further extensions that the caller understands.
        """
        for extension in self._extensions():
            if (
                extension.critical
                and extension.oid not in _UNDERSTOOD
                and extension.oid.dotted_string not in understood
            ):
                raise CertificateRefused(f"{self.subject}: a critical extension is not understood.")

    def check_issuer(self, below: int) -> None:
        """Return if it may issue certificates with `below` further issuers under it. Raises CertificateRefused."""
        constraints = usage = None
        for extension in self._extensions():
            if isinstance(extension.value, x509.BasicConstraints):
                constraints = extension.value
            elif isinstance(extension.value, x509.KeyUsage):
                usage = extension.value
        if constraints is None or not constraints.ca or (usage is not None and not usage.key_cert_sign):
            raise CertificateRefused(f"{self.subject}: it may not issue certificates.")
        if constraints.path_length is not None and below > constraints.path_length:
            raise CertificateRefused(f"{self.subject}: it may not issue so long a chain.")

    def check_use(self, purpose: str) -> None:
        """Return if its key may sign and, where it names purposes, `purpose` is among them. Raises CertificateRefused.

        Args:
            purpose: OID of an extended key usage.
        """
        for extension in self._extensions():
            value = extension.value
            no_signer = isinstance(value, x509.KeyUsage) and not value.digital_signature
            if no_signer or (isinstance(value, x509.ExtendedKeyUsage) and x509.ObjectIdentifier(purpose) not in value):
                raise CertificateRefused(f"{self.subject}: it is not for what it is used for.")

    def _extensions(self) -> x509.Extensions:
        try:
            return self._certificate.extensions
        except _FAULTS as error:
            raise CertificateRefused("A certificate's extensions are not well formed.") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and other.der == self.der

    def __hash__(self) -> int:
        return hash(self.der)

    def __repr__(self) -> str:
        return f"Certificate({self.subject})"


class RevocationList:
    """A certificate revocation list (CRL)."""

    __slots__ = ("_crl", "der")

    def __init__(self, crl: x509.CertificateRevocationList) -> None:
        self._crl = crl
        self.der = crl.public_bytes(serialization.Encoding.DER)

    @classmethod
    def from_bytes(cls, data: bytes) -> RevocationList:
        """Read DER or PEM. Raises EncodingRefused."""
        load = x509.load_pem_x509_crl if data.lstrip().startswith(b"-----BEGIN") else x509.load_der_x509_crl
        try:
            return cls(load(data))
        except _FAULTS as error:
            raise EncodingRefused("A revocation list is not well formed.") from error

    @property
    def issued(self) -> datetime:
        """When the vendor issued it, aware."""
        return self._crl.last_update_utc

    @property
    def next_update(self) -> datetime | None:
        """When the vendor issues the next one at the latest, aware."""
        return self._crl.next_update_utc

    def has_whole_signature(self) -> bool:
        """Whether its signature has no unused bits, as with `Certificate.has_whole_signature`."""
        return self.der[: -len(self._crl.signature)].endswith(b"\0")

    def is_by(self, issuer: Certificate) -> bool:
        """Whether this issuer signed it."""
        try:
            signer: Any = issuer.library_form()
            # Keys of other kinds raise TypeError, caught below.
            return self._crl.issuer == signer.subject and self._crl.is_signature_valid(signer.public_key())
        except _FAULTS:
            return False

    def revokes(self, certificate: Certificate) -> bool:
        """Whether it lists the certificate's serial number. Raises EncodingRefused."""
        try:
            return self._crl.get_revoked_certificate_by_serial_number(certificate.serial) is not None
        except _FAULTS as error:
            raise EncodingRefused("A revocation list is not well formed.") from error


@dataclass(frozen=True)
class Chain:
    """A verified chain, leaf first, root last."""

    certificates: tuple[Certificate, ...]

    @property
    def leaf(self) -> Certificate:
        """The certificate that was asked about."""
        return self.certificates[0]

    @property
    def root(self) -> Certificate:
        """The root that it leads to: one of those that were given."""
        return self.certificates[-1]


def verify_chain(
    leaf: Certificate,
    intermediates: Iterable[Certificate],
    roots: Collection[Certificate],
    *,
    now: datetime,
    understood: Collection[str] = (),
) -> Chain:
    """Lead `leaf` to one of `roots`.

    Args:
        leaf: an end certificate.
        intermediates: candidates in any order; those that are not needed are not looked at.
        roots: what the relying party trusts.
        now: the time at which all of them must be valid.
        understood: OIDs of further extensions of the leaf that the caller understands, should they be critical.

    Raises:
        CertificateRefused: no such chain, or one that breaks a rule of RFC 5280.
        CertificateExpired: one of it is not valid at `now`.
    """
    candidates = list(intermediates)[: 4 * MAX_CHAIN]
    chain = [leaf]
    while chain[-1] not in roots:
        if len(chain) >= MAX_CHAIN:
            raise CertificateRefused("The chain is too long.")
        issuer = _issuer(chain[-1], roots) or _issuer(chain[-1], [each for each in candidates if each not in chain])
        if issuer is None:
            raise CertificateRefused(f"{chain[-1].subject}: nobody who is trusted issued it.")
        chain.append(issuer)
    for place, certificate in enumerate(chain):
        certificate.check_time(now)
        certificate.check_extensions(() if place else understood)
        if place:
            certificate.check_issuer(place - 1)
    return Chain(tuple(chain))


def check_revocation(
    chain: Chain, lists: Sequence[RevocationList], *, now: datetime, required: bool
) -> datetime | None:
    """Return the issuing time of the oldest list that was used, if no certificate of the chain was revoked.

    Args:
        chain: as `verify_chain` returned it.
        lists: revocation lists, in any order; those that are not by an issuer of the chain are ignored.
        now: the time at which lists must be current.
        required: whether every certificate below the root must be covered by a current list.

    Raises:
        CertificateRevoked: one was.
        RevocationUnknown: required, and there is no current list for one of them.
    """
    used = []
    for certificate, issuer in zip(chain.certificates, chain.certificates[1:], strict=False):
        own = [each for each in lists if each.is_by(issuer)]
        if any(each.revokes(certificate) for each in own):  # also by a list that is out of date
            raise CertificateRevoked(f"{certificate.subject}.")
        current = [each for each in own if each.issued <= now and (each.next_update is None or now < each.next_update)]
        if current:
            used.append(max(each.issued for each in current))
        elif required:
            raise RevocationUnknown(f"There is no current revocation list by {issuer.subject}.")
    return min(used, default=None)


def _issuer(certificate: Certificate, candidates: Iterable[Certificate]) -> Certificate | None:
    return next((each for each in candidates if certificate.is_issued_by(each)), None)


def _printable(name: Callable[[], x509.Name]) -> str:
    try:
        text = name().rfc4514_string()  # a name is read when it is asked for
    except _FAULTS:
        return "a name that cannot be read"
    return "".join(ch for ch in text if ch.isprintable())[:200]
