"""Confidential machines behind a paravisor, as Azure runs them: a vTPM's quote, and the hardware's report that vouches for it.

The paravisor, which Azure calls HCL, runs inside the confidential machine, below its kernel and more privileged; it holds
the vTPM. At start it asks the hardware for a report over the hash of its run-time data, which name the public part of the
vTPM's attestation key (AK). The hardware's signature so covers the paravisor and the key, the vTPM's quote what booted above and
what was asked.

The hardware's part is judged as that of any other SEV-SNP guest or TD, by this section's roots, states and settings. The
report must be the paravisor's own: one that its guest could ask for would let the guest name a key of its own.

Source: Microsoft, Azure confidential VM guest attestation design (attestation report format, run-time data); Microsoft,
OpenHCL's protocol of attestation (versions, kinds of report and of hash); TCG TPM 2.0 Library, Parts 2 and 3; RFC 7517,
RFC 7518 §6.3 (JWK); docs/spec/attestation.md (A-2, A-3, A-6, A-10, A-12, A-24).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from paddock.crypto.canonical import canonical, parse, parse_canonical
from paddock.crypto.digest import b64, unb64
from paddock.crypto.public_key import PublicKey
from paddock.errors import CryptoRefused, EvidenceMalformed, EvidenceNotTrusted
from paddock.evidence.claims import Claims, registers_digest
from paddock.evidence.collateral import Collateral, CollateralNeed
from paddock.evidence.providers.snp import SnpProvider
from paddock.evidence.providers.tdx import TdxProvider, verify_td
from paddock.evidence.providers.tpm import Pcrs, pcrs_json, verify_quote
from paddock.evidence.reading import Reader
from paddock.evidence.tpm_structures import RSAPSS, RSASSA, AttestationKey, read_signature
from paddock.evidence.trust import VendorTrust

MEDIA_TYPE = "application/vnd.paddock.azure-paravisor.v1+json"
VERSION = "paddock/azure-paravisor/v1"
SNP: Literal["snp"] = "snp"
TDX: Literal["tdx"] = "tdx"
AK_NAME = "HCLAkPub"
MAX_RUNTIME_BYTES = 16 << 10
NO_SECURE_BOOT, INTERACTIVE_CONSOLE = "no-secure-boot", "interactive-console"

_MAGIC, _HEADER_VERSIONS, _AK_REQUEST, _DATA_VERSION = b"HCLA", (1, 2), 2, 1
_HASHES = {1: "sha256", 2: "sha384", 3: "sha512"}
_HEADER_BYTES, _HARDWARE_BYTES, _DATA_HEADER_BYTES, _REPORT_DATA_BYTES = 32, 1184, 20, 64
_KINDS: Mapping[int, Literal["snp", "tdx"]] = {2: SNP, 4: TDX}
_REPORT_BYTES, _REPORT_DATA_AT = {SNP: 1184, TDX: 1024}, {SNP: 0x50, TDX: 128}
_PRIVILEGE_AT = slice(0x30, 0x34)  # the VM privilege level (VMPL) in a report of SEV-SNP
_MAX_FACTS, _MAX_EXPONENT_BYTES = 32, 8


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal["paddock/azure-paravisor/v1"]
    hardware: Literal["snp", "tdx"]
    report: str
    runtime: str
    quote: str
    signature: str
    pcrs: Pcrs
    event_log: str | None


@dataclass(frozen=True)
class HclReport:
    """What the vTPM keeps under NV index 0x01400001, read but not verified.

    Args:
        hardware: `snp` or `tdx`.
        report: the hardware's: an attestation report of SEV-SNP, or a TDREPORT, which becomes a quote elsewhere.
        runtime: the paravisor's run-time data: JSON, byte for byte as it was hashed.
    """

    hardware: Literal["snp", "tdx"]
    report: bytes
    runtime: bytes


def read_hcl_report(data: bytes) -> HclReport:
    """Read what the paravisor put together, all of it; the rest of the NV index is zeros.

    Raises:
        EvidenceMalformed: another form, hardware or hash; a hardware's report that is not over the run-time data.
    """
    reader = Reader(data, "paravisor's report")
    reader.expect(_MAGIC, "signature")
    version, size, request, status = (reader.number(4, "little") for _ in range(4))
    reader.expect(bytes(12), "reserved field")
    if version not in _HEADER_VERSIONS or request != _AK_REQUEST or status:
        raise reader.refuse("it is of a version or a kind that is not known")
    hardware = reader.take(_HARDWARE_BYTES)
    data_size, data_version, kind, hash_kind, length = (reader.number(4, "little") for _ in range(5))
    if data_version != _DATA_VERSION or kind not in _KINDS or hash_kind not in _HASHES:
        raise reader.refuse("its data are of a version, a hardware or a hash that is not known")
    if data_size != _DATA_HEADER_BYTES + length:
        raise reader.refuse("its lengths do not belong together")
    if length > MAX_RUNTIME_BYTES:
        raise reader.refuse(f"its run-time data have {length} bytes; at most {MAX_RUNTIME_BYTES} are read")
    runtime = reader.take(length)
    if size != reader.position:
        raise reader.refuse("its lengths do not belong together")
    if any(reader.rest()):
        raise reader.refuse("something stands behind it")
    name = _KINDS[kind]
    report, padding = hardware[: _REPORT_BYTES[name]], hardware[_REPORT_BYTES[name] :]
    if any(padding):
        raise reader.refuse("something stands behind the hardware's report")
    start = _REPORT_DATA_AT[name]
    if report[start : start + _REPORT_DATA_BYTES] != _over(runtime, _HASHES[hash_kind]):
        raise reader.refuse("the hardware's report is not over its run-time data")
    return HclReport(name, report, runtime)


def _over(runtime: bytes, hash_name: str) -> bytes:
    """What the paravisor lets the hardware sign: a hash of its run-time data, and zeros up to 64 bytes."""
    return hashlib.new(hash_name, runtime).digest().ljust(_REPORT_DATA_BYTES, b"\0")


def azure_body(
    hardware: Literal["snp", "tdx"],
    report: bytes,
    runtime: bytes,
    *,
    quote: bytes,
    signature: bytes,
    pcrs: Mapping[str, Mapping[int, bytes]],
    event_log: bytes | None = None,
) -> bytes:
    """The body of a piece of evidence.

    Args:
        hardware: what the machine is protected by.
        report: as a body of the provider of that name: SNP report and certificate table, or TD quote.
        runtime: the paravisor's run-time data.
        quote: TPMS_ATTEST of the vTPM.
        signature: TPMT_SIGNATURE.
        pcrs: values by bank and number, exactly those that were quoted.
        event_log: as in a TPM's evidence.
    """
    return canonical(
        {
            "version": VERSION,
            "hardware": hardware,
            "report": b64(report),
            "runtime": b64(runtime),
            "quote": b64(quote),
            "signature": b64(signature),
            "pcrs": pcrs_json(pcrs),
            "event_log": None if event_log is None else b64(event_log),
        }
    )


class AzureProvider:
    """Verifies evidence of confidential machines behind a paravisor."""

    name = "azure"
    media_type = MEDIA_TYPE
    simulated = False
    trust_type = VendorTrust

    def recognises(self, body: bytes) -> bool:
        """See `EvidenceProvider.recognises`."""
        return body.startswith(b'{"event_log":') and body.endswith(b'"version":"' + VERSION.encode("ascii") + b'"}')

    def needs(self, body: bytes) -> tuple[CollateralNeed, ...]:
        """What the hardware's part needs; see `EvidenceProvider.needs`."""
        parts = _read(body)
        return _hardware(parts.hardware).needs(_decoded(parts.report))

    def verify(self, body: bytes, *, trust: VendorTrust, collateral: Collateral, now: datetime) -> Claims:
        """Verify a paravisor's evidence; see `EvidenceProvider.verify`.

        1. The hardware's report leads to a root that is trusted. 2. It is the paravisor's own, and over the run-time data.
        3. The attestation key that these name signed the quote. 4. The PCRs are those that were quoted, and the event log
        explains them.
        """
        parts = _read(body)
        # 1.
        report = unb64(parts.report)
        known: dict[str, Any] = {"trust": trust, "collateral": collateral, "now": now}
        if parts.hardware == SNP:
            hardware = SnpProvider().verify(report, **known)
        else:
            hardware = verify_td(report, **known, paravisor=True)
        # 2. What a guest can ask for says a privilege level of its own; no policy can allow that here. A TD has one report
        # alone, and no part of it but its paravisor can ask for that.
        if parts.hardware == SNP and any(report[_PRIVILEGE_AT]):
            raise EvidenceNotTrusted(
                "The hardware's report is not the paravisor's own: its guest could have asked for it."
            )
        runtime = unb64(parts.runtime)
        if not any(hmac.compare_digest(hardware.report_data, _over(runtime, name)) for name in _HASHES.values()):
            raise EvidenceNotTrusted("The hardware's report is not over the paravisor's run-time data.")
        key, facts, settings = _read_runtime(runtime)
        # 3. and 4.
        signature = unb64(parts.signature)
        ak = _attestation_key(key, signature)
        event_log = None if parts.event_log is None else unb64(parts.event_log)
        _, quoted = verify_quote(unb64(parts.quote), signature, ak, parts.pcrs, event_log)
        registers = {**hardware.registers, **quoted.registers}
        return Claims(
            provider=self.name,
            tee="confidential-vm",
            measurement=registers_digest(self.name, registers),
            report_data=quoted.report_data,
            debug=hardware.debug,
            simulated=False,
            signer=hardware.signer,
            issued=None,
            registers=registers,
            tcb_status=hardware.tcb_status,
            advisories=hardware.advisories,
            svns={**quoted.svns, **hardware.svns},
            settings=hardware.settings | quoted.settings | settings,
            collateral=hardware.collateral,
            collateral_issued=hardware.collateral_issued,
            details={
                **facts,
                **{
                    name if name.startswith("event_log") else f"vtpm_{name}": each
                    for name, each in quoted.details.items()
                },
                **hardware.details,
                "hardware": parts.hardware,
                "ak": key.fingerprint(),
            },
        )


def _hardware(name: str) -> SnpProvider | TdxProvider:
    return SnpProvider() if name == SNP else TdxProvider()


def _read(body: bytes) -> _Body:
    try:
        return _Body.model_validate(parse_canonical(body))
    except (CryptoRefused, ValidationError) as error:
        raise EvidenceMalformed("It is not a paravisor's evidence in canonical form.") from error


def _decoded(text: str) -> bytes:
    try:
        return unb64(text)
    except CryptoRefused as error:
        raise EvidenceMalformed(error.detail) from error


def _attestation_key(key: PublicKey, signature: bytes) -> AttestationKey:
    """The AK as the run-time data name it: an RSA key, whose scheme they leave to the quote.

    That it is restricted the paravisor sees to, which the hardware measured.
    """
    read = read_signature(signature)
    if read.scheme not in {RSASSA, RSAPSS}:
        raise EvidenceNotTrusted("The signature is of another scheme than its attestation key makes.")
    return AttestationKey(key, read.scheme, read.hash_name, 0, "")


def _read_runtime(data: bytes) -> tuple[PublicKey, dict[str, str | int | bool], frozenset[str]]:
    """The AK, facts about the machine for people, and settings that a relying party may not want."""
    members = parse(data, max_bytes=MAX_RUNTIME_BYTES)
    keys, machine = members.get("keys"), members.get("vm-configuration", {})
    if not isinstance(keys, list) or not isinstance(machine, dict) or len(machine) > _MAX_FACTS:
        raise EvidenceMalformed("The run-time data are not a paravisor's.")
    found = [each for each in keys if isinstance(each, dict) and each.get("kid") == AK_NAME]
    if len(found) != 1:
        raise EvidenceMalformed("The run-time data do not name one attestation key.")
    facts: dict[str, str | int | bool] = {}
    for name, value in machine.items():
        if isinstance(value, bool) or (isinstance(value, str) and len(value) <= 200 and value.isprintable()):
            facts[f"vm_{name[:40].replace('-', '_')}"] = value
    settings = set()
    if machine.get("secure-boot") is not True:
        settings.add(NO_SECURE_BOOT)
    if machine.get("interactive-console-enabled", False) is not False:
        settings.add(INTERACTIVE_CONSOLE)
    return _rsa_key(found[0]), facts, frozenset(settings)


def _rsa_key(jwk: Mapping[str, Any]) -> PublicKey:
    if jwk.get("kty") != "RSA" or jwk.get("key_ops") != ["sign"]:
        raise EvidenceMalformed("The attestation key is not an RSA key for signing.")
    modulus, exponent = _base64url(jwk.get("n")), _base64url(jwk.get("e"))
    if len(exponent) > _MAX_EXPONENT_BYTES:
        raise EvidenceMalformed("The attestation key is not well formed.")
    return PublicKey.from_rsa(modulus, int.from_bytes(exponent, "big"))


def _base64url(value: object) -> bytes:
    if not isinstance(value, str):
        raise EvidenceMalformed("The attestation key is not well formed.")
    try:
        data = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise EvidenceMalformed("The attestation key is not well formed.") from error
    return data
