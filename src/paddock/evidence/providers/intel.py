"""What SGX and TDX share: the way from a quote to Intel's root, and what Intel publishes about platforms.

The signatures, the state of the platform (TCB) and the identities of Intel's own enclaves are verified by dcap-qvl,
from the root that the policy names. What it leaves open is checked here: one form of the quote (`intel_quote`), roots,
names and validity of the signing certificates, age, and that the platform is the one that the collateral is for.

A debug enclave or TD is refused before the collateral is looked at, as soon as its signatures hold: no state of the
platform could make it acceptable, and whoever reads the refusal learns the reason that matters.

Source: Intel SGX ECDSA QuoteLibReference DCAP API; Intel TDX DCAP Quoting Library API; Intel SGX PCK Certificate and
CRL Profile Specification 1.5; Intel SGX and TDX Provisioning Certification Service API v4;
docs/spec/attestation.md (A-2, A-5, A-11, A-13, A-14).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from dcap_qvl import (  # type: ignore[import-untyped]  # it ships its types where mypy does not look
    QuoteCollateralV3,
    QuotePolicy,
    QuoteVerifier,
    parse_pck_extension_from_pem,
)

from paddock.crypto.canonical import canonical, parse
from paddock.crypto.digest import sha256
from paddock.crypto.moment import read_moment
from paddock.crypto.public_key import PublicKey
from paddock.crypto.x509 import Certificate, Chain, RevocationList, verify_chain
from paddock.errors import (
    CertificateRevoked,
    CollateralInvalid,
    CollateralMissing,
    CollateralStale,
    CryptoRefused,
    DebugRefused,
    EvidenceMalformed,
    EvidenceNotTrusted,
    SettingRefused,
    TcbRefused,
)
from paddock.evidence.collateral import INTEL_PCS, Collateral, CollateralNeed
from paddock.evidence.providers.intel_quote import Quote, read_pck_chain
from paddock.evidence.roots import anchors
from paddock.evidence.trust import VendorTrust

PCS = "https://api.trustedservices.intel.com"
ROOT_CRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
TCB, QE_IDENTITY, PCK_CRL, ROOT_CA_CRL = "tcb", "qe_identity", "pck_crl", "root_ca_crl"
MAX_COLLATERAL_JSON_BYTES = 1 << 20

_TEXTS = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "tcb_info", "qe_identity_issuer_chain", "qe_identity")
_BYTES = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")
_COMPANY = "O=Intel Corporation"
_PCK, _SIGNER = "CN=Intel SGX PCK Certificate", "CN=Intel SGX TCB Signing"
_CAS = {"CN=Intel SGX PCK Processor CA": "processor", "CN=Intel SGX PCK Platform CA": "platform"}
_SGX_TYPES = {0: "standard", 1: "scalable", 2: "scalable-with-integrity"}
_FLAGS = {"dynamic_platform": "dynamic-platform", "cached_keys": "cached-keys", "smt_enabled": "smt"}
# Words by which dcap-qvl refuses a platform, and not a signature, for its state. They choose the refusal, nothing else.
_STATE_REASONS = (
    "No matching TCB level",
    "below minimum",
    "is invalid: Revoked",
    "module TCB level",
    "current TDX TCB",
)
_PERCENT = re.compile(r"%([0-9A-Fa-f]{2})")
_SIGNATURE = re.compile(r'\s*,\s*"signature"\s*:\s*"([0-9a-fA-F]{128})"\s*\}\s*')


@dataclass(frozen=True)
class Platform:
    """What verified collateral says of the platform that made a quote.

    Args:
        signer: fingerprint of the root's public key.
        tcb_status: in Intel's words.
        advisories: ids of Intel's advisories that apply.
        svns: `pce_svn`, `qe_svn`, and `tcb_evaluation`, the number of Intel's evaluation that judged.
        settings: of `dynamic-platform`, `cached-keys`, `smt`, those that the PCK certificate says are on.
        collateral: its key.
        issued: when Intel issued the oldest of what it renews every month.
        details: further facts.
    """

    signer: str
    tcb_status: str
    advisories: tuple[str, ...]
    svns: Mapping[str, int]
    settings: frozenset[str]
    collateral: str
    issued: datetime
    details: Mapping[str, str | int | bool]


@dataclass(frozen=True)
class PlatformId:
    """Which of Intel's publications are about a platform: its family (FMSPC) and which CA certified it."""

    fmspc: str
    ca: str

    def key(self, tee: str) -> str:
        """The key of its collateral."""
        return f"intel/{tee}/{self.fmspc}/{self.ca}"


@dataclass(frozen=True)
class _Published:
    """Collateral of one platform, read but not verified."""

    whole: QuoteCollateralV3
    signers: tuple[Certificate, ...]
    roots: frozenset[Certificate]
    root_list: RevocationList
    pck_list: RevocationList
    pce_id: str
    issued: datetime
    begin: datetime
    end: datetime


def platform_id(quote: Quote) -> PlatformId:
    """The platform that a quote's PCK certificate names. Raises EvidenceMalformed: it names none."""
    return _platform_id(quote.pem)


@lru_cache(maxsize=64)
def _platform_id(pem: bytes) -> PlatformId:
    leaf, issuer, _ = read_pck_chain(pem)
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


def check_signatures(quote: Quote, trust: VendorTrust, now: datetime) -> Chain:
    """Return the chain if every signature of the quote holds up to a root that is trusted. Says nothing of the platform.

    1. Its certificates lead to a root that is trusted, in the order in which they stand. 2. The platform's key signed the
    quoting enclave's report. 3. That report binds the attestation key. 4. The attestation key signed header and report.

    Args:
        quote: as read.
        trust: the relying party's section.
        now: the time at which the certificates must be valid.

    Raises:
        EvidenceNotTrusted: no such root, or the attestation key is another one.
        CertificateRefused, SignatureRefused: the chain or a signature does not hold.
    """
    # 1. A-2
    root = _trusted_root(quote, trust)
    chain = verify_chain(quote.chain[0], quote.chain[1:2], [root], now=now)
    if chain.certificates != quote.chain or not root.is_issued_by(root):
        raise EvidenceNotTrusted("Its certificates do not belong together.")
    # 2.
    report, read = quote.qe_report
    chain.leaf.public_key().verify_ecdsa_raw(quote.qe_report_signature, report, "sha256")
    # 3.
    _check_attestation_key(quote, read.report_data)
    # 4.
    key = quote.attestation_key
    PublicKey.from_point("P-256", key[:32], key[32:]).verify_ecdsa_raw(quote.signature, quote.signed, "sha256")
    return chain


def judge(
    quote: Quote,
    tee: str,
    *,
    debug: bool,
    fatal: Collection[str],
    trust: VendorTrust,
    collateral: Collateral,
    now: datetime,
) -> Platform:
    """Verify a quote with the collateral of its platform, and return what Intel says of that platform.

    1. Its root is trusted, its certificates are valid. 2. It is not of a debug environment. 3. Collateral for its platform
    is at hand. 4. It is current, and its signers are Intel's for this purpose. 5. None of the certificates was revoked.
    6. All signatures, the quoting enclave's identity and the platform's state are verified.

    Args:
        quote: as read.
        tee: `sgx` or `tdx`.
        debug: whether the report says that it can be looked into.
        fatal: settings that are on and that dcap-qvl refuses.
        trust: the relying party's section.
        collateral: what is at hand.
        now: the time to judge by.

    Raises:
        EvidenceRefused, CryptoRefused: the first of these that does not hold.
    """
    # 1. A-2
    root = _trusted_root(quote, trust)
    for certificate in quote.chain:
        certificate.check_time(now)
    platform = platform_id(quote)
    # 2. A-5
    if debug:
        check_signatures(quote, trust, now)
        raise DebugRefused
    # 3. A-13
    key = platform.key(tee)
    item = collateral.get(key)
    if item is None or item.kind != INTEL_PCS:
        check_signatures(quote, trust, now)
        raise CollateralMissing(f"It needs {key}.")
    published = _read_published(item.body)
    # 4.
    _check_published(published, root, now)
    # 5.
    leaf, issuer, _ = quote.chain
    under_root = {issuer, root, *published.signers}
    if published.pck_list.revokes(leaf) or any(published.root_list.revokes(each) for each in under_root):
        raise CertificateRevoked("Intel revoked a certificate of the platform, or of what was published about it.")
    # 6.
    _check_attestation_key(quote, quote.qe_report[1].report_data)
    seconds = int(now.timestamp())
    try:
        verifier = QuoteVerifier(root.der)
        found = verifier.verify_with_policy(quote.data, published.whole, seconds, QuotePolicy.claims_only(seconds))
    except ValueError as error:
        _explain(str(error), quote, fatal, trust, now)
    claims = json.loads(found.to_json())
    if claims["platform"]["pck"]["pce_id"] != list(bytes.fromhex(published.pce_id)):
        raise EvidenceNotTrusted("The collateral is for platforms with another provisioning enclave.")
    return _platform(claims, platform, key, published, root)


def _platform(
    claims: dict[str, Any], platform: PlatformId, key: str, published: _Published, root: Certificate
) -> Platform:
    tcb, pck, qe = claims["tcb"], claims["platform"]["pck"], claims["qe"]
    current = claims["platform"]["current_tcb_level"] or {"advisoryIDs": []}
    return Platform(
        signer=root.public_key().fingerprint(),
        tcb_status=tcb["status"],
        advisories=tuple(sorted({*tcb["advisory_ids"], *current["advisoryIDs"]})),
        svns={
            "pce_svn": pck["pce_svn"],
            "qe_svn": qe["report"]["isv_svn"],
            "tcb_evaluation": tcb["eval_data_number"],
        },
        settings=frozenset(name for flag, name in _FLAGS.items() if pck[flag] == "True"),
        collateral=key,
        issued=published.issued,
        details={
            "ca": platform.ca,
            "cpu_svn": bytes(pck["cpu_svn"]).hex(),
            "fmspc": platform.fmspc,
            "pce_id": bytes(pck["pce_id"]).hex(),
            "qe_tcb_status": qe["tcb_level"]["tcbStatus"],
            "root_list_issued": f"{published.root_list.issued:%Y-%m-%dT%H:%M:%SZ}",
            "sgx_type": _SGX_TYPES.get(pck["sgx_type"], "unknown"),
            "smt": {"True": "on", "False": "off"}.get(pck["smt_enabled"], "not stated"),
            "tcb_date": claims["platform"]["tcb_level"]["tcbDate"],
        },
    )


def _trusted_root(quote: Quote, trust: VendorTrust) -> Certificate:
    # the very root that the policy names, or one with the very key that it names.
    root = quote.chain[-1]
    trusted = anchors(trust.roots)
    if root in trusted.certificates:
        return root
    if not trusted.trusts_key(root.public_key()) or not root.is_issued_by(root):
        raise EvidenceNotTrusted("Its certificates end in no root that the trust policy names.")
    return root


def _check_attestation_key(quote: Quote, bound: bytes) -> None:
    # The quoting enclave binds 32 bytes; what stands behind them in its report data is zero.
    if sha256(quote.attestation_key + quote.qe_authentication) + bytes(32) != bound:
        raise EvidenceNotTrusted("The quoting enclave vouches for another attestation key.")


def _explain(reason: str, quote: Quote, fatal: Collection[str], trust: VendorTrust, now: datetime) -> None:
    """Raise the refusal that says best why dcap-qvl did not accept the quote. It always raises."""
    check_signatures(quote, trust, now)
    if fatal:
        raise SettingRefused(f"Not possible to allow: {', '.join(sorted(fatal))}.")
    if any(words in reason for words in _STATE_REASONS):
        raise TcbRefused(_shortened(reason))
    raise EvidenceNotTrusted(_shortened(reason))


def _shortened(reason: str) -> str:
    text = reason.removeprefix("Verification failed: ")
    return "".join(ch if ch.isprintable() else " " for ch in text)[:200] + "."


@lru_cache(maxsize=16)
def _read_published(body: bytes) -> _Published:
    """Read collateral; the last ones are remembered, since one platform asks many times."""
    try:
        return _published(body)
    except (CryptoRefused, KeyError, TypeError, ValueError) as error:
        raise CollateralMissing("What is at hand for this platform is not what Intel publishes.") from error


def _published(body: bytes) -> _Published:
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
    return _Published(
        whole=QuoteCollateralV3(**{name: members[name] for name in _TEXTS}, **octets),
        signers=tuple(chain[0] for chain in chains),
        roots=frozenset(chain[1] for chain in chains),
        root_list=root_list,
        pck_list=pck_list,
        pce_id=tcb["pceId"],
        # Intel renews its root's list once a year, all else monthly: the list's own end says until when it is good.
        issued=min(issued),
        begin=max(*issued, root_list.issued),
        end=min(ends),
    )


def _check_published(published: _Published, root: Certificate, now: datetime) -> None:
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
