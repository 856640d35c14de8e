"""AMD's certificates of the keys that sign SEV-SNP reports, and where AMD publishes what belongs to them.

A VCEK is one chip's key, a VLEK a cloud provider's; either is derived for one state of the firmware (TCB). The chain goes
VCEK, ASK, ARK, or VLEK, ASVK, ARK; each line of products has its own. Extensions tell what a key was made for.

Source: AMD 57230 rev. 1.00 (VCEK certificate and KDS interface) §3.1 tables 8 to 13, chapter 4; docs/spec/attestation.md
(A-2, A-14).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from paddock.crypto.x509 import Certificate, Chain, verify_chain
from paddock.errors import CollateralMissing, EvidenceMalformed, EvidenceNotTrusted
from paddock.evidence.collateral import CERTIFICATE, REVOCATION_LIST, CollateralNeed
from paddock.evidence.reading import Reader
from paddock.evidence.roots import Anchors
from paddock.evidence.snp_report import PRODUCTS, VCEK, VLEK, Product, tcb_parts

KDS = "https://kdsintf.amd.com"
KINDS = {VCEK: "vcek", VLEK: "vlek"}

_BASE = "1.3.6.1.4.1.3704.1"
_STRUCTURE, _PRODUCT, _HARDWARE_ID, _PROVIDER_ID = f"{_BASE}.1", f"{_BASE}.2", f"{_BASE}.4", f"{_BASE}.5"
_SPL = f"{_BASE}.3"
# For each byte of a TCB version, the extension that tells it, by the version of the extensions; Turin's has no spl_4.
_LAYOUTS = {0: (1, 2, 4, 5, 6, 7, 3, 8), 1: (9, 1, 2, 3, 5, 6, 7, 8)}
_PRODUCT_NAME = re.compile(r"([A-Z][a-z]{1,15})(-[A-Z][0-9])?")
_INTEGER, _OCTETS, _IA5 = 0x02, 0x04, 0x16
_SUBJECTS = {"CN=SEV-VCEK": VCEK, "CN=SEV-VLEK": VLEK}
_ISSUERS = {VCEK: "SEV-", VLEK: "SEV-VLEK-"}


@dataclass(frozen=True)
class Endorsement:
    """A certificate of a key that signs reports, read but not verified.

    Args:
        kind: `VCEK` or `VLEK`.
        product: the line of processors that it is for.
        product_name: as it says itself, with the stepping where it is told.
        tcb: for which its key was derived, as a report writes it.
        hardware_id: of the chip; empty for a VLEK.
        provider_id: of the cloud provider; empty for a VCEK.
    """

    certificate: Certificate
    kind: int
    product: Product
    product_name: str
    tcb: bytes
    hardware_id: bytes
    provider_id: str


def endorsement_kind(certificate: Certificate) -> int | None:
    """`VCEK` or `VLEK`, by its name; None for every other certificate."""
    names = certificate.subject.split(",")
    return next((kind for name, kind in _SUBJECTS.items() if name in names), None)


def read_endorsement(certificate: Certificate) -> Endorsement:
    """Read what a VCEK's or VLEK's certificate says of its key.

    Raises:
        EvidenceMalformed: it is neither, or an extension is missing, too many, or not well formed.
        EncodingRefused: its extensions cannot be read.
    """
    kind = endorsement_kind(certificate)
    if kind is None:
        raise EvidenceMalformed("A certificate is neither a VCEK's nor a VLEK's.")
    name = _text(certificate, _PRODUCT)
    line = _PRODUCT_NAME.fullmatch(name)
    product = next((each for each in PRODUCTS.values() if line and line[1] in each.names), None)
    if product is None or _number(certificate, _STRUCTURE) != product.structure:
        raise EvidenceMalformed("A certificate is for a product that is not known.")
    tcb = bytes(_number(certificate, f"{_SPL}.{place}") for place in _LAYOUTS[product.structure])
    if kind == VCEK:
        hardware_id, provider_id = _hardware_id(certificate, product), ""
    else:
        hardware_id, provider_id = b"", _text(certificate, _PROVIDER_ID)
    if certificate.extension(_PROVIDER_ID if kind == VCEK else _HARDWARE_ID) is not None:
        raise EvidenceMalformed("A certificate is both a VCEK's and a VLEK's.")
    return Endorsement(certificate, kind, product, name, tcb, hardware_id, provider_id)


def lead_to_root(endorsement: Endorsement, candidates: Iterable[Certificate], trusted: Anchors, now: datetime) -> Chain:
    """Lead a VCEK or VLEK to a root that is trusted, by AMD's names for this line of products.

    Args:
        endorsement: the leaf.
        candidates: certificates from wherever.
        trusted: what the policy names; its intermediates are candidates too.
        now: the time at which all must be valid.

    Raises:
        EvidenceNotTrusted: no root that is trusted is this product's.
        CollateralMissing: the certificate of its issuer is not at hand.
        CertificateRefused: no such chain, or one that breaks a rule of RFC 5280.
    """
    ark = f"CN=ARK-{endorsement.product.name}"
    issuer = f"CN={_ISSUERS[endorsement.kind]}{endorsement.product.name}"
    at_hand = [*candidates, *trusted.intermediates]
    # A root that a policy names by its key alone is one of the candidates; it must have signed itself.
    arks = {each for each in at_hand if ark in each.subject.split(",")}
    by_key = {each for each in arks if trusted.trusts_key(each.public_key()) and each.is_issued_by(each)}
    roots = {each for each in trusted.certificates if ark in each.subject.split(",")} | by_key
    if not roots:
        raise EvidenceNotTrusted(f"The trust policy names no root of {endorsement.product.name}.")
    signers = [each for each in at_hand if issuer in each.subject.split(",") and each not in roots]
    if not signers:
        raise CollateralMissing(f"The certificate of {issuer} is not at hand.")
    chain = verify_chain(endorsement.certificate, signers, roots, now=now)
    # AMD's chains have three certificates. A signer of another line, or a root that issued a leaf, is none of them.
    if len(chain.certificates) != 3:
        raise EvidenceNotTrusted("Its certificate was not issued as AMD issues them.")
    return chain


def certificate_key(product: Product, chip_id: bytes, tcb: bytes) -> str:
    """Under which a VCEK's certificate stands in collateral."""
    return f"amd/vcek/{product.name}/{chip_id[: product.chip_bytes].hex()}/{tcb.hex()}"


def chip_need(product: Product, chip_id: bytes, tcb: bytes) -> CollateralNeed:
    """The certificate of a chip's VCEK for one TCB.

    Raises:
        EvidenceMalformed: a reserved byte of the TCB version is not zero.
    """
    parts = tcb_parts(product, tcb)
    names = {"fmc": "fmcSPL", "bl": "blSPL", "tee": "teeSPL", "snp": "snpSPL", "microcode": "ucodeSPL"}
    query = "&".join(f"{wire}={parts[name]:02}" for name, wire in names.items() if name in parts)
    url = f"{KDS}/vcek/v1/{product.name}/{chip_id[: product.chip_bytes].hex()}?{query}"
    return CollateralNeed(CERTIFICATE, certificate_key(product, chip_id, tcb), {"body": url})


def chain_need(product: Product, kind: int) -> CollateralNeed:
    """ASK or ASVK, and the ARK."""
    url = f"{KDS}/{KINDS[kind]}/v1/{product.name}/cert_chain"
    return CollateralNeed(CERTIFICATE, f"amd/{KINDS[kind]}/{product.name}/cert_chain", {"body": url})


def list_need(product: Product, kind: int) -> CollateralNeed:
    """The ARK's revocation list."""
    url = f"{KDS}/{KINDS[kind]}/v1/{product.name}/crl"
    return CollateralNeed(REVOCATION_LIST, f"amd/{KINDS[kind]}/{product.name}/crl", {"body": url})


def _value(certificate: Certificate, oid: str, tag: int) -> bytes:
    reader = Reader(certificate.extension(oid) or b"", f"certificate's extension {oid}")
    if reader.number(1, "big") != tag:
        raise reader.refuse("it is of another type")
    value = reader.take(reader.number(1, "big"))
    reader.end()
    return value


def _number(certificate: Certificate, oid: str) -> int:
    value = _value(certificate, oid, _INTEGER)
    number = int.from_bytes(value, "big", signed=True)
    if not value or number not in range(256) or len(value) != 1 + (number >> 7):
        raise EvidenceMalformed("A number in a certificate does not fit into a byte.")
    return number


def _text(certificate: Certificate, oid: str) -> str:
    value = _value(certificate, oid, _IA5)
    if not value or not all(byte in range(0x20, 0x7F) for byte in value):
        raise EvidenceMalformed("A text in a certificate has other characters.")
    return value.decode("ascii")


def _hardware_id(certificate: Certificate, product: Product) -> bytes:
    # AMD writes the octets as they are; 57230 calls it an OCTET STRING, so that form is read as well.
    value = certificate.extension(_HARDWARE_ID) or b""
    if len(value) != product.chip_bytes:
        value = _value(certificate, _HARDWARE_ID, _OCTETS)
    if len(value) != product.chip_bytes:
        raise EvidenceMalformed("A chip's id in a certificate has another length.")
    return value
