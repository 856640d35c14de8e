"""Keys and certificates of attested TLS. A certificate carries an extension; its issuer vouches for nothing.

OpenSSL lets a server see a client's certificate only if somebody that it trusts issued it. The **carrier** is that somebody:
its private key is a constant that everybody can compute, so that a certificate by it says nothing. What counts is the
extension, which `paddock.evidence.tls` verifies.

Source: RFC 5280; RFC 8446 §4.4.2; draft-ietf-rats-msg-wrap (id-pe-cmw); docs/spec/attestation.md §8 (A-19); docs/adr/0012-attested-tls.md.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from paddock.crypto.public_key import PublicKey
from paddock.errors import EncodingRefused

STATEMENT_OID = "2.25.180063146152566467919398940030428929589"
"""Of the extension with the statement: a random UUID's (ITU-T X.667), which nobody else has."""
EVIDENCE_OID = "1.3.6.1.5.5.7.1.35"
"""id-pe-cmw, of the extension with evidence: a Conceptual Message Wrapper."""
_CURVE = ec.SECP256R1()
_CARRIER_LABEL = b"paddock/tls/carrier/v1"
_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "paddock")])
_CARRIER_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "paddock carrier, vouches for nothing")])
_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class TlsKey:
    """A private P-256 key of one end of connections, for one certificate. Its `repr` shows nothing of it."""

    __slots__ = ("_key", "public")

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    @classmethod
    def generate(cls) -> TlsKey:
        """A fresh key from the operating system's random source."""
        return cls(ec.generate_private_key(_CURVE))

    def certificate(
        self, statement: bytes, evidence: str | None = None, *, not_before: datetime, not_after: datetime
    ) -> bytes:
        """A certificate for this key with the statement, and where there is some the evidence, in its extensions.

        Args:
            statement: the value of the extension `STATEMENT_OID`.
            evidence: a Conceptual Message Wrapper in JSON, for the extension `EVIDENCE_OID`.
            not_before: start of validity, whole seconds.
            not_after: end of validity, whole seconds.

        Returns:
            The certificate in DER.
        """
        builder = (
            x509.CertificateBuilder()
            .subject_name(_NAME)
            .issuer_name(_CARRIER_NAME)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
        )
        values = {STATEMENT_OID: statement} | ({} if evidence is None else {EVIDENCE_OID: asn1.encode_der(evidence)})
        for oid, value in values.items():
            extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
            # OpenSSL refuses critical extensions that it does not know.
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(_carrier_key(), hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def to_encrypted_pem(self) -> tuple[bytes, str]:
        """The private key as PKCS #8, encrypted under a password that is made for it, and the password.

        For libraries that take keys from files alone: the file is worth nothing to whoever reads it.
        """
        password = secrets.token_hex(32)
        encryption = serialization.BestAvailableEncryption(password.encode("ascii"))
        pem = self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        return pem, password


def read_evidence_extension(value: bytes) -> str:
    """The JSON of a Conceptual Message Wrapper in the extension `EVIDENCE_OID`.

    Raises:
        EncodingRefused: it is not DER of a UTF8String, or something stands behind it.
    """
    try:
        return asn1.decode_der(str, value)
    except ValueError as error:
        raise EncodingRefused("The evidence in a certificate is not well formed.") from error


def certificate_pem(der: bytes) -> bytes:
    """A certificate in PEM."""
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


@cache
def carrier_certificate() -> bytes:
    """The carrier's own certificate in DER, made anew by each process: its name and key are always the same."""
    key = _carrier_key()
    made = (
        x509.CertificateBuilder()
        .subject_name(_CARRIER_NAME)
        .issuer_name(_CARRIER_NAME)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_LONG_AGO)
        .not_valid_after(_LONG_AGO + timedelta(days=365 * 100))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.DER)


@cache
def _carrier_key() -> ec.EllipticCurvePrivateKey:
    # A constant on purpose: whoever takes it for a secret is told otherwise by everything above.
    return ec.derive_private_key(int.from_bytes(hashlib.sha256(_CARRIER_LABEL).digest(), "big"), _CURVE)
