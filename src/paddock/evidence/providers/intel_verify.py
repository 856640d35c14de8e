"""The way from a quote to Intel's root and to the state of its platform, for SGX and TDX alike.

The signatures, the state of the platform (TCB) and the identities of Intel's own enclaves are verified by dcap-qvl,
from the root that the policy names. What it leaves open is checked before and after: one form of the quote
(`intel_quote`), which roots, names and time of what Intel publishes (`intel`), and that this is for the very platform.

A debug enclave or TD is refused before the collateral is looked at, as soon as its signatures hold: no state of the
platform could make it acceptable, and whoever reads the refusal learns the reason that matters.

Source: Intel SGX ECDSA QuoteLibReference DCAP API; Intel TDX DCAP Quoting Library API;
docs/spec/attestation.md (A-2, A-5, A-11, A-13, A-14).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from dcap_qvl import QuotePolicy, QuoteVerifier  # type: ignore[import-untyped]  # as in `intel`

from paddock.crypto.digest import sha256
from paddock.crypto.public_key import PublicKey
from paddock.crypto.x509 import Certificate, Chain, verify_chain
from paddock.errors import (
    CertificateRevoked,
    CollateralMissing,
    DebugRefused,
    EvidenceNotTrusted,
    SettingRefused,
    TcbRefused,
)
from paddock.evidence.collateral import INTEL_PCS, Collateral
from paddock.evidence.providers.intel import PlatformId, Published, check_published, platform_id, read_published
from paddock.evidence.providers.intel_quote import Quote
from paddock.evidence.providers.intel_tcb import platform_claims
from paddock.evidence.roots import anchors
from paddock.evidence.trust import VendorTrust

_SGX_TYPES = {0: "standard", 1: "scalable", 2: "scalable-with-integrity"}
_FLAGS = {"dynamic_platform": "dynamic-platform", "cached_keys": "cached-keys", "smt_enabled": "smt"}
# Words by which dcap-qvl refuses a platform's state, or a TD's attributes, and no signature. They choose the refusal,
# nothing else.
_STATE_REASONS = (
    "No matching TCB level",
    "below minimum",
    "is invalid: Revoked",
    "module TCB level",
    "current TDX TCB",
)
_SEPT_VE = "Verification failed: SEPT_VE_DISABLE is not enabled"
_SETTING_REASONS = (
    "service TD",
    "SERVTD_EXT",
    "migration is enabled",
    "SEPT_VE_DISABLE",
    "Reserved bits in TD attributes",
)


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
    trust: VendorTrust,
    collateral: Collateral,
    now: datetime,
    sept_ve: bool = False,
) -> Platform:
    """Verify a quote with the collateral of its platform, and return what Intel says of that platform.

    1. Its root is trusted, its certificates are valid. 2. It is not of a debug environment. 3. Collateral for its platform
    is at hand. 4. It is current, and its signers are Intel's for this purpose. 5. None of the certificates was revoked.
    6. All signatures, the quoting enclave's identity and the platform's state are verified.

    Args:
        quote: as read.
        tee: `sgx` or `tdx`.
        debug: whether the report says that it can be looked into.
        trust: the relying party's section.
        collateral: what is at hand.
        now: the time to judge by.
        sept_ve: whether a TD may lack SEPT_VE_DISABLE, and does not differ from what dcap-qvl takes in anything else.

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
    published = read_published(item.body)
    # 4.
    check_published(published, root, now)
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
        claims = json.loads(found.to_json())
    except ValueError as error:
        if not sept_ve or str(error) != _SEPT_VE:
            _explain(str(error), quote, trust, now)
        # Attributes are the last that it looks at. Nothing is left to its order: all is verified here too.
        check_signatures(quote, trust, now)
        claims = platform_claims(quote, published, root)
    if claims["platform"]["pck"]["pce_id"] != list(published.pce_id):
        raise EvidenceNotTrusted("The collateral is for platforms with another provisioning enclave.")
    return _platform(claims, platform, key, published, root)


def _platform(
    claims: dict[str, Any], platform: PlatformId, key: str, published: Published, root: Certificate
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


def _explain(reason: str, quote: Quote, trust: VendorTrust, now: datetime) -> NoReturn:
    """Raise the refusal that says best why dcap-qvl did not accept the quote."""
    check_signatures(quote, trust, now)
    if any(words in reason for words in _SETTING_REASONS):
        raise SettingRefused(f"No policy can allow this one: {_shortened(reason)}")
    if any(words in reason for words in _STATE_REASONS):
        raise TcbRefused(_shortened(reason))
    raise EvidenceNotTrusted(_shortened(reason))


def _shortened(reason: str) -> str:
    text = reason.removeprefix("Verification failed: ")
    return "".join(ch if ch.isprintable() else " " for ch in text)[:200] + "."
