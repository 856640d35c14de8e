"""What Intel publishes about SGX and TDX platforms, and which of it a quote needs.

For a family of platforms (FMSPC): the state of firmware by version (TCB info), the identities of Intel's quoting
enclaves, and the revocation lists of its root and of the CA that certifies platforms. dcap-qvl verifies the signatures;
what it leaves open is checked here: one form, names of the signing certificates, time.

Source: Intel SGX and TDX Provisioning Certification Service API v4; Intel SGX PCK Certificate and CRL Profile
Specification 1.5; docs/spec/attestation.md (A-13, A-14).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from dcap_qvl import (  # type: ignore[import-untyped]  # it ships its types where mypy does not look
    QuoteCollateralV3,
    parse_pck_extension_from_pem,
)

from paddock.crypto.canonical import canonical, parse
from paddock.crypto.moment import read_moment
from paddock.crypto.x509 import Certificate, RevocationList
from paddock.errors import (
    CollateralInvalid,
    CollateralMissing,
    CollateralStale,
    CryptoRefused,
    EvidenceMalformed,
    EvidenceNotTrusted,
)
from paddock.evidence.collateral import INTEL_PCS, CollateralNeed
from paddock.evidence.providers.intel_quote import Quote, read_pck_chain

PCS = "https://api.trustedservices.intel.com"
ROOT_CRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
TCB, QE_IDENTITY, PCK_CRL, ROOT_CA_CRL = "tcb", "qe_identity", "pck_crl", "root_ca_crl"
MAX_COLLATERAL_JSON_BYTES = 1 << 20

_TEXTS = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "tcb_info", "qe_identity_issuer_chain", "qe_identity")
_BYTES = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")
_COMPANY = "O=Intel Corporation"
_PCK, _SIGNER = "CN=Intel SGX PCK Certificate", "CN=Intel SGX TCB Signing"
_CAS = {"CN=Intel SGX PCK Processor CA": "processor", "CN=Intel SGX PCK Platform CA": "platform"}
_PERCENT = re.compile(r"%([0-9A-Fa-f]{2})")
_SIGNATURE = re.compile(r'\s*,\s*"signature"\s*:\s*"([0-9a-fA-F]{128})"\s*\}\s*')


@dataclass(frozen=True)
class PlatformId:
    """Which of Intel's publications are about a platform: its family (FMSPC) and which CA certified it."""

    fmspc: str
    ca: str

    def key(self, tee: str) -> str:
        """The key of its collateral."""
        return f"intel/{tee}/{self.fmspc}/{self.ca}"


@dataclass(frozen=True)
class Published:
    """Collateral of one platform, read but not verified.

    Args:
        whole: as dcap-qvl reads it.
        signers: certificates that signed TCB info and QE identity.
        roots: what stands behind them.
        root_list: the root's revocation list.
        pck_list: of the CA that certifies platforms.
        pce_id: of the provisioning enclave of these platforms.
        issued: when Intel issued the oldest of what it renews every month.
        begin: when the last of all was issued.
        end: when Intel renews the first of all.
    """

    whole: QuoteCollateralV3
    signers: tuple[Certificate, ...]
    roots: frozenset[Certificate]
    root_list: RevocationList
    pck_list: RevocationList
    pce_id: bytes
    issued: datetime
    begin: datetime
    end: datetime


def platform_id(quote: Quote) -> PlatformId:
    """The platform that a quote's PCK certificate names. Raises EvidenceMalformed: it names none."""
    return _platform_id(quote.pem)


@lru_cache(maxsize=64)
def _platform_id(pem: bytes) -> PlatformId:
    leaf, issuer, root = read_pck_chain(pem)
    if (
        leaf.issuer != issuer.subject or issuer.issuer != root.subject
    ):  # none of the three stands there for nothing
        raise EvidenceMalformed("The quote's certificates do not belong together.")
    cas = [name for common, name in _CAS.items() if _is_named(issuer, common)]
    if not cas or not _is_named(leaf, _PCK):
        raise EvidenceMalformed("The quote's certificates are not those of a platform.")
    try:
        extension = parse_pck_extension_from_pem(pem.rstrip(b"\0"))
    except ValueError as error:
        raise EvidenceMalformed("The platform's certificate says nothing about the platform.") from error
    return PlatformId(bytes(extension.fmspc).hex().upper(), cas[0])


def needs(quote: Quote, tee: str) -> tuple[CollateralNeed, ...]:
    """What Intel publishes about the platform, and where. Raises EvidenceMalformed."""
    platform = platform_id(quote)
    urls = {
        TCB: f"{PCS}/{tee}/certification/v4/tcb?fmspc={platform.fmspc}",
        QE_IDENTITY: f"{PCS}/{tee}/certification/v4/qe/identity",
        PCK_CRL: f"{PCS}/sgx/certification/v4/pckcrl?ca={platform.ca}&encoding=der",
        ROOT_CA_CRL: ROOT_CRL,
    }
    return (CollateralNeed(INTEL_PCS, platform.key(tee), urls),)


def assemble_pcs(parts: Mapping[str, tuple[Mapping[str, str], bytes]]) -> bytes:
    """One item of collateral from Intel's answers.

    Args:
        parts: by the names in `CollateralNeed.urls`: headers of the answer, body. Names of headers in any case; their
            chains are URL-encoded PEM.

    Returns:
        JSON of nine members, as dcap-qvl calls them.

    Raises:
        CollateralInvalid: a part or a header is missing, or is not what Intel answers.
    """
    try:
        tcb_info, tcb_signature = _signed_member(parts[TCB][1], "tcbInfo")
        identity, identity_signature = _signed_member(parts[QE_IDENTITY][1], "enclaveIdentity")
        return canonical(
            {
                "pck_crl": RevocationList.from_bytes(parts[PCK_CRL][1]).der.hex(),
                "pck_crl_issuer_chain": _header(parts[PCK_CRL][0], "SGX-PCK-CRL-Issuer-Chain"),
                "qe_identity": identity,
                "qe_identity_issuer_chain": _header(parts[QE_IDENTITY][0], "SGX-Enclave-Identity-Issuer-Chain"),
                "qe_identity_signature": identity_signature,
                "root_ca_crl": RevocationList.from_bytes(parts[ROOT_CA_CRL][1]).der.hex(),
                "tcb_info": tcb_info,
                "tcb_info_issuer_chain": _header(parts[TCB][0], "TCB-Info-Issuer-Chain"),
                "tcb_info_signature": tcb_signature,
            }
        )
    except (KeyError, ValueError, RecursionError, CryptoRefused) as error:
        raise CollateralInvalid("Intel's answers are not of the form that its service describes.") from error


@lru_cache(maxsize=16)
def read_published(body: bytes) -> Published:
    """Read collateral; the last ones are remembered, since one platform asks many times.

    Raises:
        CollateralMissing: it is not of the form that `assemble_pcs` writes, or names another signer.
    """
    try:
        return _published(body)
    except (CryptoRefused, KeyError, TypeError, ValueError) as error:
        raise CollateralMissing("What is at hand for this platform is not what Intel publishes.") from error


def _published(body: bytes) -> Published:
    members = parse(body, max_bytes=MAX_COLLATERAL_JSON_BYTES)
    if set(members) != {*_TEXTS, *_BYTES} or not all(isinstance(each, str) for each in members.values()):
        raise ValueError("other members")
    octets = {name: bytes.fromhex(members[name]) for name in _BYTES}
    tcb, identity = (parse(members[name].encode("utf-8")) for name in ("tcb_info", "qe_identity"))
    root_list, pck_list = (RevocationList.from_bytes(octets[name]) for name in ("root_ca_crl", "pck_crl"))
    if root_list.next_update is None or pck_list.next_update is None:
        raise ValueError("a list without an end")
    issued = [read_moment(each["issueDate"]) for each in (tcb, identity)] + [pck_list.issued]
    ends = [read_moment(each["nextUpdate"]) for each in (tcb, identity)] + [pck_list.next_update, root_list.next_update]
    chains = {Certificate.from_pem(members[f"{name}_issuer_chain"]) for name in ("tcb_info", "qe_identity")}
    # dcap-qvl takes any certificate under the root for these signatures; only one of this name is meant for them, and
    # where nothing but the root stands behind it, the root itself issued it.
    if not all(len(chain) == 2 and _is_named(chain[0], _SIGNER) for chain in chains):
        raise ValueError("another signer")
    return Published(
        whole=QuoteCollateralV3(**{name: members[name] for name in _TEXTS}, **octets),
        signers=tuple(chain[0] for chain in chains),
        roots=frozenset(chain[1] for chain in chains),
        root_list=root_list,
        pck_list=pck_list,
        pce_id=bytes.fromhex(tcb["pceId"]),
        # Intel renews its root's list once a year, all else monthly: the list's own end says until when it is good.
        issued=min(issued),
        begin=max(*issued, root_list.issued),
        end=min(ends),
    )


def check_published(published: Published, root: Certificate, now: datetime) -> None:
    """Return if it is current at `now`, and ends in this root.

    Raises:
        CollateralStale: Intel has issued newer, or has not yet issued it (A-13).
        EvidenceNotTrusted: another root (A-14).
        CertificateExpired: of its signers.
    """
    if not published.begin <= now < published.end:
        raise CollateralStale(f"Intel issued it for {published.begin:%Y-%m-%d} to {published.end:%Y-%m-%d}.")
    if published.roots != {root}:
        raise EvidenceNotTrusted("The collateral ends in another root.")
    for signer in published.signers:
        signer.check_time(now)


def _is_named(certificate: Certificate, common: str) -> bool:
    return {common, _COMPANY} <= set(re.split(r"(?<!\\),", certificate.subject))


def _signed_member(body: bytes, name: str) -> tuple[str, str]:
    # What Intel signed is the member's own text, byte for byte; it must not be written anew.
    text = body.decode("utf-8")
    parse(body, max_bytes=MAX_COLLATERAL_JSON_BYTES)
    start = re.match(r'\s*\{\s*"' + name + r'"\s*:\s*', text)
    if start is None:
        raise ValueError("another member first")
    _, end = json.JSONDecoder().raw_decode(text, start.end())
    signature = _SIGNATURE.fullmatch(text, end)
    if signature is None:
        raise ValueError("no signature")
    return text[start.end() : end], signature[1].lower()


def _header(headers: Mapping[str, str], name: str) -> str:
    (value,) = (value for key, value in headers.items() if key.lower() == name.lower())
    # RFC 3986 §2.1; in Intel's headers line breaks and all that is no letter or digit are written so.
    chain = _PERCENT.sub(lambda found: chr(int(found[1], 16)), value)
    Certificate.from_pem(chain)
    return chain
