"""Evidence in the JSON that other tools write, as the body that a provider reads. Nothing is verified here.

Known are the forms of confidential-containers' attesters for Azure's confidential machines and for TPMs. The first holds
what the paravisor keeps in its vTPM; the second tells an attestation key alone, without the public area that it has in
its TPM: the attributes of any such key are put in its place, so that a policy must name the very key. Of NVIDIA's GPUs, a
report with its certificates apart, and the JSON of the vendor's tools.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Mapping
from typing import Any

from paddock.crypto.canonical import parse
from paddock.crypto.digest import unb64
from paddock.crypto.public_key import PublicKey
from paddock.crypto.x509 import Certificate
from paddock.errors import CryptoRefused, EvidenceMalformed
from paddock.evidence.claims import MAX_EVIDENCE_BYTES, UnverifiedEvidence
from paddock.evidence.providers.azure import MEDIA_TYPE as AZURE
from paddock.evidence.providers.azure import azure_body, read_hcl_report
from paddock.evidence.providers.nvidia import MEDIA_TYPE as NVIDIA
from paddock.evidence.providers.nvidia import Architecture, gpu_body
from paddock.evidence.providers.tpm import MEDIA_TYPE as TPM
from paddock.evidence.providers.tpm import tpm_body
from paddock.evidence.snp_report import TABLE_VCEK, write_table
from paddock.evidence.tpm_structures import read_signature

_GPU = re.compile(r"CN=G([HB])[0-9][0-9A-Z]{2} ")
_GPU_TOOL = {"arch", "certificate", "evidence", "nonce"}
_QUOTE = {"message", "pcrs", "signature"}
_RSASSA_SHA256 = bytes.fromhex("0014000b")
_ATTESTATION_KEY = 0x00050072  # fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign


def translated(data: bytes) -> UnverifiedEvidence | None:
    """The evidence, or None where it is of no form that is known here.

    Raises:
        EvidenceMalformed: it is of such a form, and not well formed.
    """
    if data.lstrip().startswith(b"["):
        return _gpu_tool(data)
    try:
        members = parse(data, max_bytes=MAX_EVIDENCE_BYTES)
    except CryptoRefused:
        return None
    quote = members.get("tpm_quote")
    if not isinstance(quote, dict) or set(quote) != _QUOTE:
        return None
    try:
        match sorted(set(members) - {"tpm_quote", "version"}):
            case ["hcl_report", "vcek"] | ["hcl_report", "td_quote"]:
                return UnverifiedEvidence(AZURE, _azure(members, quote))
            case ["ak_public"]:
                return UnverifiedEvidence(TPM, _tpm(members, quote))
    except (CryptoRefused, ValueError, TypeError, AttributeError, struct.error) as error:
        raise EvidenceMalformed("It is not well formed as evidence of a TPM.") from error
    return None


def gpu_report(report: bytes, certificates: bytes) -> UnverifiedEvidence:
    """A GPU's report with its certificates.

    Args:
        report: SPDM request and response.
        certificates: in PEM, leaf first, the root last.

    Raises:
        EvidenceMalformed: these are not a GPU's certificates.
    """
    try:
        chain = Certificate.from_pem(certificates)
    except CryptoRefused as error:
        raise EvidenceMalformed("The certificates are not well formed.") from error
    found = _GPU.search(chain[0].subject) if chain else None
    if found is None:
        raise EvidenceMalformed("The certificates are not those of a GPU that is known.")
    architecture: Architecture = "hopper" if found[1] == "H" else "blackwell"
    return UnverifiedEvidence(NVIDIA, gpu_body(architecture, report, [each.der for each in chain]))


def _gpu_tool(data: bytes) -> UnverifiedEvidence | None:
    try:
        (row,) = parse(b'{"it":' + data + b"}", max_bytes=MAX_EVIDENCE_BYTES)["it"]
        if set(row) != _GPU_TOOL:
            return None
        return gpu_report(base64.b64decode(row["evidence"]), base64.b64decode(row["certificate"]))
    except (CryptoRefused, ValueError, TypeError):
        return None


def _azure(members: Mapping[str, Any], quote: Mapping[str, Any]) -> bytes:
    found = read_hcl_report(_base64url(members["hcl_report"]))
    if "vcek" in members:
        report = found.report + write_table({TABLE_VCEK: _base64url(members["vcek"])})
    else:
        report = _base64url(members["td_quote"])
    signature = bytes.fromhex(quote["signature"])
    return azure_body(
        found.hardware,
        report,
        found.runtime,
        quote=bytes.fromhex(quote["message"]),
        signature=_RSASSA_SHA256 + struct.pack(">H", len(signature)) + signature,
        pcrs=_pcrs(quote),
    )


def _tpm(members: Mapping[str, Any], quote: Mapping[str, Any]) -> bytes:
    message, signature = unb64(quote["message"]), unb64(quote["signature"])
    read_signature(signature)
    modulus = PublicKey.from_der(unb64(members["ak_public"])).rsa_modulus()
    area = struct.pack(">HHIHH", 0x0001, 0x000B, _ATTESTATION_KEY, 0, 0x0010) + signature[:4]
    area += struct.pack(">HIH", len(modulus) * 8, 0, len(modulus)) + modulus
    return tpm_body(message, signature, area, _pcrs(quote))


def _pcrs(quote: Mapping[str, Any]) -> dict[str, dict[int, bytes]]:
    return {"sha256": {number: bytes.fromhex(text) for number, text in enumerate(quote["pcrs"])}}


def _base64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
