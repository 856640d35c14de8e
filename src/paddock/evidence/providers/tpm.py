"""TPM 2.0 quotes: what a machine booted, signed by a key that its TPM uses for nothing else.

A policy names the attestation keys (AK) of its machines, or the authorities that certify such keys. A name in `roots`
that is the SHA-256 of the AK's whole public area (what TPM tools print as the key's name, behind its first four digits)
vouches for the key's attributes too. One that is the SHA-256 of its SubjectPublicKeyInfo, and a certificate, vouch for
the key alone: whoever named or certified it saw that no other software can sign with it.

A log of events may come with the quote; it counts only where it replays to what was quoted. PCRs may be quoted that no
log speaks of.

Source: TCG Trusted Platform Module Library 2.0, Parts 1 to 3; TCG PC Client Platform Firmware Profile 1.06; TCG EK
Credential Profile 2.5 §3.1 (purposes); docs/spec/attestation.md (A-2, A-6, A-10, A-12, A-24).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from paddock.crypto.canonical import canonical, parse_canonical
from paddock.crypto.digest import b64, unb64
from paddock.crypto.x509 import Certificate, check_revocation, verify_chain
from paddock.errors import CertificateRefused, CryptoRefused, EvidenceMalformed, EvidenceNotTrusted
from paddock.evidence.claims import Claims, registers_digest
from paddock.evidence.collateral import Collateral, CollateralNeed
from paddock.evidence.event_log import check_event_log, log_details, read_event_log
from paddock.evidence.roots import anchors
from paddock.evidence.tpm_structures import (
    AttestationKey,
    Quote,
    check_pcrs,
    read_public,
    read_quote,
    read_signature,
)
from paddock.evidence.trust import VendorTrust

MEDIA_TYPE = "application/vnd.paddock.tpm-quote.v1+json"
VERSION = "paddock/tpm-quote/v1"
LISTS = "tpm/crl/"
MAX_CERTIFICATES = 7
ONLY_SHA1, CLOCK_UNSAFE = "sha1-bank", "clock-unsafe"
_ATTESTATION_KEY_PURPOSE = "2.23.133.8.3"  # tcg-kp-AIKCertificate
_ALTERNATIVE_NAME = "2.5.29.17"  # critical where the subject is empty; no name of it is used here

Pcrs = dict[
    Literal["sha1", "sha256", "sha384", "sha512"],
    dict[
        Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]?)$")],
        Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}){20,64}$")],
    ],
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal["paddock/tpm-quote/v1"]
    quote: str
    signature: str
    ak: str
    pcrs: Pcrs
    certificates: Annotated[list[str], Field(max_length=MAX_CERTIFICATES)]
    event_log: str | None


@dataclass(frozen=True)
class QuoteFacts:
    """What a quote says whose signature holds.

    Args:
        report_data: what the caller of the TPM bound into it.
        registers: `bank:number` to hex.
        svns: the two halves of the TPM's firmware version.
        settings: see `Claims`.
        details: see `Claims`.
    """

    report_data: bytes
    registers: Mapping[str, str]
    svns: Mapping[str, int]
    settings: frozenset[str]
    details: Mapping[str, str | int | bool]


def tpm_body(
    quote: bytes,
    signature: bytes,
    ak: bytes,
    pcrs: Mapping[str, Mapping[int, bytes]],
    *,
    certificates: Sequence[bytes] = (),
    event_log: bytes | None = None,
) -> bytes:
    """The body of a piece of evidence.

    Args:
        quote: TPMS_ATTEST.
        signature: TPMT_SIGNATURE.
        ak: TPMT_PUBLIC.
        pcrs: values by bank and number, exactly those that were quoted.
        certificates: in DER, the AK's first; may be none.
        event_log: crypto-agile, without padding; only of PCRs that were quoted.
    """
    return canonical(
        {
            "version": VERSION,
            "quote": b64(quote),
            "signature": b64(signature),
            "ak": b64(ak),
            "pcrs": pcrs_json(pcrs),
            "certificates": [b64(each) for each in certificates],
            "event_log": None if event_log is None else b64(event_log),
        }
    )


def pcrs_json(pcrs: Mapping[str, Mapping[int, bytes]]) -> dict[str, dict[str, str]]:
    """Values of PCRs as they stand in a body: by bank and decimal number, as hex."""
    return {bank: {str(number): value.hex() for number, value in values.items()} for bank, values in pcrs.items()}


def verify_quote(
    quote: bytes, signature: bytes, key: AttestationKey, pcrs: Pcrs, event_log: bytes | None
) -> tuple[Quote, QuoteFacts]:
    """Verify a quote with a key that is trusted already, and read what it says.

    Args:
        quote: TPMS_ATTEST.
        signature: TPMT_SIGNATURE.
        key: the AK.
        pcrs: as in a body.
        event_log: without padding, or None.

    Raises:
        EvidenceRefused, CryptoRefused: the signature does not hold, other PCRs, a log that does not explain them.
    """
    read = read_quote(quote)
    signed = read_signature(signature)
    key.verify(quote, signed)
    values: Mapping[str, Mapping[int, bytes]] = {
        bank: {int(number): bytes.fromhex(text) for number, text in rows.items()} for bank, rows in pcrs.items()
    }
    check_pcrs(read, signed.hash_name, values)
    details: dict[str, str | int | bool] = {
        "clock_ms": str(read.clock_ms),  # 64 bits do not fit into a number of JSON
        "resets": read.resets,
        "restarts": read.restarts,
        "firmware": f"{read.firmware:016x}",
    }
    if event_log is not None:
        log = read_event_log(event_log)
        check_event_log(log, values)
        details |= log_details(log)
    settings = set()
    if "sha1" in values and values["sha1"].keys() - {
        number for bank, rows in values.items() if bank != "sha1" for number in rows
    }:
        settings.add(ONLY_SHA1)  # there are collisions
    if not read.clock_safe:
        settings.add(CLOCK_UNSAFE)
    registers = {f"{bank}:{number:0>2}": text for bank, rows in pcrs.items() for number, text in rows.items()}
    svns = {"firmware_version_1": read.firmware >> 32, "firmware_version_2": read.firmware & 0xFFFFFFFF}
    return read, QuoteFacts(read.extra_data, registers, svns, frozenset(settings), details)


class TpmProvider:
    """Verifies quotes of TPMs 2.0."""

    name = "tpm"
    media_type = MEDIA_TYPE
    simulated = False
    trust_type = VendorTrust

    def recognises(self, body: bytes) -> bool:
        """See `EvidenceProvider.recognises`."""
        return body.startswith(b'{"ak":"') and body.endswith(b'"version":"' + VERSION.encode("ascii") + b'"}')

    def needs(self, body: bytes) -> tuple[CollateralNeed, ...]:
        """Nothing: lists of the authorities that certify AKs are imported, under `tpm/crl/`. Where they are published only
        the evidence says, and no keeper goes where strangers send it.

        Raises:
            EvidenceRefused: it cannot be read.
        """
        _read(body)
        return ()

    def verify(self, body: bytes, *, trust: VendorTrust, collateral: Collateral, now: datetime) -> Claims:
        """Verify a TPM's quote; see `EvidenceProvider.verify`.

        1. The AK is such a key. 2. The policy names it, or an authority that certified it. 3. Its signature over the
        quote holds. 4. The PCRs are those that were quoted, and the event log explains them.
        """
        parts = _read(body)
        # 1.
        key = read_public(unb64(parts.ak))
        # 2. A-2
        certificates = [Certificate.from_der(unb64(each)) for each in parts.certificates]
        signer, used, issued = _trusted(key, certificates, trust, collateral, now)
        # 3. and 4.
        event_log = None if parts.event_log is None else unb64(parts.event_log)
        quote, facts = verify_quote(unb64(parts.quote), unb64(parts.signature), key, parts.pcrs, event_log)
        if quote.signer_hash != key.name_hash:
            raise EvidenceNotTrusted("The quote names a signer of another kind than its attestation key.")
        return Claims(
            provider=self.name,
            tee="tpm",
            measurement=registers_digest(self.name, facts.registers),
            report_data=facts.report_data,
            debug=False,  # the format knows no such state
            simulated=False,
            signer=signer,
            issued=None,  # its clock counts from when the TPM was made
            registers=facts.registers,
            svns=facts.svns,
            settings=facts.settings,
            device=key.key.fingerprint(),
            collateral=used,
            collateral_issued=issued,
            details={**facts.details, "ak_name": key.name},
        )


def _read(body: bytes) -> _Body:
    try:
        return _Body.model_validate(parse_canonical(body))
    except (CryptoRefused, ValidationError) as error:
        raise EvidenceMalformed("It is not a TPM's quote in canonical form.") from error


def _trusted(
    key: AttestationKey, certificates: list[Certificate], trust: VendorTrust, collateral: Collateral, now: datetime
) -> tuple[str, tuple[str, ...], datetime | None]:
    """What vouches for the key, and the collateral that was used for that."""
    trusted = anchors(trust.roots)
    if certificates and certificates[0].public_key() != key.key:
        raise EvidenceNotTrusted("The certificate is of another key than the attestation key.")
    if key.name in trusted.keys:
        return key.name, (), None
    if trusted.trusts_key(key.key):
        return key.key.fingerprint(), (), None
    if not certificates:
        raise EvidenceNotTrusted("The trust policy does not name its attestation key, and nobody certifies it.")
    chain = verify_chain(
        certificates[0],
        [*certificates[1:], *trusted.intermediates],
        trusted.certificates,
        now=now,
        understood=(_ALTERNATIVE_NAME,),
    )
    if certificates != [each for each in chain.certificates if each in certificates]:
        raise CertificateRefused("There are certificates that are no part of its chain, or in another order.")
    chain.leaf.check_use(_ATTESTATION_KEY_PURPOSE)
    lists = collateral.revocation_lists(LISTS)
    issued = check_revocation(chain, [each for _, each in lists], now=now, required=trust.require_revocation)
    used = tuple(name for name, each in lists if any(each.is_by(issuer) for issuer in chain.certificates[1:]))
    return chain.root.public_key().fingerprint(), used, issued
