"""Chains of vendors' certificates: every rule of the path is broken once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from paddock.crypto.public_key import PublicKey
from paddock.crypto.x509 import MAX_CHAIN, Certificate, Chain, RevocationList, check_revocation, verify_chain
from paddock.errors import (
    CertificateExpired,
    CertificateRefused,
    CertificateRevoked,
    EncodingRefused,
    RevocationUnknown,
    SignatureRefused,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate with its private key."""

    key: Any
    built: x509.Certificate

    @property
    def certificate(self) -> Certificate:
        return Certificate.from_der(self.built.public_bytes(serialization.Encoding.DER))

    def crl(self, *revoked: Issued, issued: datetime = NOW - DAY, until: datetime | None = NOW + DAY) -> RevocationList:
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.built.subject).last_update(issued)
        builder = builder.next_update(until or NOW + 1000 * DAY)
        for each in revoked:
            row = x509.RevokedCertificateBuilder().serial_number(each.built.serial_number).revocation_date(issued)
            builder = builder.add_revoked_certificate(row.build())
        return RevocationList.from_bytes(
            builder.sign(self.key, hashes.SHA384()).public_bytes(serialization.Encoding.DER)
        )


def issue(
    name: str,
    by: Issued | None = None,
    *,
    ca: bool | None = True,
    path: int | None = None,
    cert_sign: bool | None = None,
    start: datetime = NOW - 10 * DAY,
    end: datetime = NOW + 10 * DAY,
    critical: bool = False,
    key: Any = None,
    pss: bool = False,
) -> Issued:
    key = key or ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.built.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, path if ca else None), critical=True)
    if cert_sign is not None:
        flags = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign"), False
        )
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=cert_sign, encipher_only=False, decipher_only=False, **flags
        )
        builder = builder.add_extension(usage, critical=True)
    if critical:
        oid = x509.ObjectIdentifier("1.2.3.4")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, b"\x05\x00"), critical=True)
    signer = by.key if by else key
    scheme = padding.PSS(padding.MGF1(hashes.SHA384()), 48) if pss else None
    return Issued(key, builder.sign(signer, hashes.SHA384(), rsa_padding=scheme))


@pytest.fixture(scope="module")
def root() -> Issued:
    return issue("root")


@pytest.fixture(scope="module")
def middle(root: Issued) -> Issued:
    return issue("middle", root, path=0, cert_sign=True)


@pytest.fixture(scope="module")
def leaf(middle: Issued) -> Issued:
    return issue("leaf", middle, ca=False)


def _verified(leaf: Issued, *between: Issued, roots: list[Issued], now: datetime = NOW) -> Chain:
    return verify_chain(
        leaf.certificate, [each.certificate for each in between], [each.certificate for each in roots], now=now
    )


def test_a_chain_leads_from_the_leaf_to_a_root_that_was_named(root: Issued, middle: Issued, leaf: Issued) -> None:
    chain = _verified(leaf, middle, roots=[root])
    assert [each.subject for each in chain.certificates] == ["CN=leaf", "CN=middle", "CN=root"]
    assert (chain.leaf, chain.root) == (leaf.certificate, root.certificate)
    assert _verified(root, roots=[root]).certificates == (root.certificate,)
    # an order that the peer chose, and more than is needed, change nothing
    assert _verified(leaf, root, issue("stranger"), middle, roots=[root]) == chain


def test_no_root_no_chain(root: Issued, middle: Issued, leaf: Issued) -> None:
    stranger = issue("root")  # the same name, another key
    cases: list[tuple[tuple[Issued, ...], list[Issued]]] = [((middle,), []), ((), [root]), ((middle, root), [stranger])]
    for between, roots in cases:
        with pytest.raises(CertificateRefused):
            _verified(leaf, *between, roots=roots)


@pytest.mark.parametrize("moment", [NOW - 11 * DAY, NOW + 11 * DAY])
def test_every_certificate_must_be_valid_at_the_time(
    root: Issued, middle: Issued, leaf: Issued, moment: datetime
) -> None:
    with pytest.raises(CertificateExpired):
        _verified(leaf, middle, roots=[root], now=moment)
    short = issue("short", root, end=NOW - DAY)
    with pytest.raises(CertificateExpired):
        _verified(issue("leaf", short, ca=False), short, roots=[root])
    old_root = issue("old root", end=NOW - DAY)
    with pytest.raises(CertificateExpired):
        _verified(issue("leaf", old_root, ca=False), roots=[old_root])


def test_only_an_authority_issues(root: Issued) -> None:
    for between in (
        issue("no authority", root, ca=False),
        issue("says nothing", root, ca=None),
        issue("may not sign certificates", root, cert_sign=False),
    ):
        with pytest.raises(CertificateRefused):
            _verified(issue("leaf", between, ca=False), between, roots=[root])


def test_a_chain_is_no_longer_than_its_authorities_allow(root: Issued, middle: Issued) -> None:
    below = issue("below", middle)
    with pytest.raises(CertificateRefused):
        _verified(issue("leaf", below, ca=False), below, middle, roots=[root])
    long = [root]
    for number in range(MAX_CHAIN):
        long.append(issue(f"number {number}", long[-1]))
    with pytest.raises(CertificateRefused, match="too long"):
        _verified(long[-1], *long[1:-1], roots=[root])


def test_a_circle_comes_to_an_end(root: Issued) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    one = issue("one", key=key)
    other = issue("other", Issued(key, issue("one", key=key).built))
    back = issue("one", other, key=key)
    with pytest.raises(CertificateRefused):
        _verified(issue("leaf", back, ca=False), back, other, one, roots=[root])


def test_a_critical_extension_that_nobody_understands_is_refused(root: Issued) -> None:
    with pytest.raises(CertificateRefused):
        _verified(issue("leaf", root, ca=False, critical=True), roots=[root])


def test_rsa_chains_with_pss_are_read_as_amd_makes_them() -> None:
    top = issue("ark", key=rsa.generate_private_key(65537, 4096), pss=True)
    assert _verified(issue("vcek", top, ca=False, pss=True), roots=[top]).root == top.certificate


def test_what_was_revoked_is_refused_also_by_an_old_list(root: Issued, middle: Issued, leaf: Issued) -> None:
    chain = _verified(leaf, middle, roots=[root])
    both = [root.crl(), middle.crl()]
    assert check_revocation(chain, both, now=NOW, required=True) == NOW - DAY
    assert check_revocation(chain, [], now=NOW, required=False) is None
    for lists in (
        [root.crl(middle), middle.crl()],
        [root.crl(), middle.crl(leaf)],
        [middle.crl(leaf, until=NOW - DAY / 2)],
    ):
        with pytest.raises(CertificateRevoked):
            check_revocation(chain, lists, now=NOW, required=False)


def test_where_lists_are_required_each_must_be_there_current_and_genuine(
    root: Issued, middle: Issued, leaf: Issued
) -> None:
    chain = _verified(leaf, middle, roots=[root])
    forged = Issued(ec.generate_private_key(ec.SECP384R1()), middle.built).crl()
    for lists in (
        [],
        [root.crl()],
        [root.crl(), middle.crl(until=NOW - DAY / 2)],
        [root.crl(), middle.crl(issued=NOW + DAY / 2)],
        [root.crl(), forged],
    ):
        with pytest.raises(RevocationUnknown):
            check_revocation(chain, lists, now=NOW, required=True)


def test_a_certificate_has_one_form_and_nothing_behind_it(leaf: Issued) -> None:
    der = leaf.certificate.der
    for data in (b"", der[:-1], der + b"\0", b"\x30\x80" + der[2:], der[::-1]):
        with pytest.raises(EncodingRefused):
            Certificate.from_der(data)
    for pem in ("", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "x" * (1 << 19)):
        with pytest.raises(EncodingRefused):
            Certificate.from_pem(pem)
    with pytest.raises(EncodingRefused):
        RevocationList.from_bytes(b"-----BEGIN X509 CRL-----\n")


def test_unused_bits_of_a_signature_are_no_second_form(root: Issued) -> None:
    # A signature is a string of bits, and whoever passes it on could say that its last ones, if they are 0, are unused.
    built = next(each.built for each in (issue("any", root) for _ in range(64)) if each.built.signature[-1] % 2 == 0)
    der = bytearray(built.public_bytes(serialization.Encoding.DER))
    der[-len(built.signature) - 1] = 1
    assert x509.load_der_x509_certificate(bytes(der)).signature == built.signature
    with pytest.raises(EncodingRefused):
        Certificate.from_der(bytes(der))


def test_what_the_library_finds_wrong_late_or_in_its_own_words_is_a_refusal_too(root: Issued) -> None:
    der = root.certificate.der
    with pytest.raises(EncodingRefused):
        Certificate.from_der(der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x2c", 1))
    with pytest.raises(EncodingRefused):
        RevocationList.from_bytes(root.crl().der.replace(b"\x02\x01\x01", b"\x02\x01\x0a", 1))
    name = root.built.subject.public_bytes()
    odd = Certificate.from_der(der.replace(name, name.replace(b"\x0c", b"\x25")))  # a name is read when it is asked for
    assert odd.subject == odd.issuer == "a name that cannot be read"
    assert not odd.is_issued_by(odd)


def test_keys_of_kinds_that_are_not_used_are_refused(root: Issued) -> None:
    curve, short = ec.generate_private_key(ec.SECP256K1()), rsa.generate_private_key(65537, 1024)
    for key in (curve.public_key(), short.public_key()):
        with pytest.raises(EncodingRefused):
            PublicKey(key)
    with pytest.raises(EncodingRefused):
        PublicKey(object())
    with pytest.raises(EncodingRefused):
        PublicKey.from_point("P-256", b"\1", b"\1")
    with pytest.raises(EncodingRefused):
        PublicKey.from_point("P-224", b"\1", b"\1")
    with pytest.raises(EncodingRefused):
        PublicKey.from_rsa(b"\x01" * 256, 3)
    with pytest.raises(EncodingRefused):
        root.certificate.public_key().rsa_modulus()
    for data in (b"", b"\0", root.certificate.der):
        with pytest.raises(EncodingRefused):
            PublicKey.from_der(data)


def test_signatures_hold_for_their_key_message_hash_and_scheme_alone() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = PublicKey(key.public_key())
    signature = key.sign(b"message", ec.ECDSA(hashes.SHA256()))
    public.verify_ecdsa(signature, b"message", "sha256")
    numbers = key.public_key().public_numbers()
    same = PublicKey.from_point("P-256", numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big"))
    assert same == public == PublicKey.from_der(public.der)
    r_and_s = b"".join(part.to_bytes(32, "big") for part in decode_dss_signature(signature))
    public.verify_ecdsa_raw(r_and_s, b"message", "sha256")
    for call in (
        lambda: public.verify_ecdsa(signature, b"other", "sha256"),
        lambda: public.verify_ecdsa(signature, b"message", "sha384"),
        lambda: public.verify_ecdsa(signature[:-1], b"message", "sha256"),
        lambda: public.verify_ecdsa_raw(r_and_s[:-1], b"message", "sha256"),
        lambda: public.verify_ecdsa_raw(bytes(64), b"message", "sha256"),
        lambda: public.verify_rsa_pkcs1(signature, b"message", "sha256"),
        lambda: public.verify_rsa_pss(signature, b"message", "sha256"),
    ):
        with pytest.raises(SignatureRefused):
            call()
    rsa_key = rsa.generate_private_key(65537, 2048)
    rsa_public = PublicKey(rsa_key.public_key())
    pkcs1 = rsa_key.sign(b"message", padding.PKCS1v15(), hashes.SHA256())
    pss = rsa_key.sign(b"message", padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    rsa_public.verify_rsa_pkcs1(pkcs1, b"message", "sha256")
    rsa_public.verify_rsa_pss(pss, b"message", "sha256")
    rsa_public.verify_rsa_pss(pss, b"message", "sha256", 32)
    for call in (
        lambda: rsa_public.verify_rsa_pkcs1(pss, b"message", "sha256"),
        lambda: rsa_public.verify_rsa_pss(pkcs1, b"message", "sha256"),
        lambda: rsa_public.verify_rsa_pss(pss, b"message", "sha256", 20),
        lambda: rsa_public.verify_ecdsa(pkcs1, b"message", "sha256"),
    ):
        with pytest.raises(SignatureRefused):
            call()
