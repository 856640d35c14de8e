"""The state of a platform as Intel publishes it, for TDs that dcap-qvl refuses for one of their attributes alone.

dcap-qvl takes no TD without SEPT_VE_DISABLE, whatever else holds. A paravisor runs without it: it handles the exceptions
that the host can then cause itself, and Azure starts every TD so. For such a TD all that dcap-qvl verifies before it
looks at attributes is verified here once more, by the same rules, and its state is told; what makes it acceptable is
for the policy to say.

Source: Intel SGX and TDX Provisioning Certification Service API v4 (TCB info version 3, enclave identity version 2, how
to find a TCB level); Intel SGX PCK Certificate and CRL Profile Specification 1.5 §1.3.5; docs/spec/attestation.md (A-2,
A-11, A-14).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dcap_qvl import parse_pck_extension_from_pem  # type: ignore[import-untyped]  # as in `intel`

from paddock.crypto.canonical import parse
from paddock.crypto.x509 import Certificate
from paddock.errors import CollateralMissing, CryptoRefused, EvidenceNotTrusted, SignatureRefused, TcbRefused
from paddock.evidence.providers.intel import MAX_COLLATERAL_JSON_BYTES, Published
from paddock.evidence.providers.intel_quote import TD_1_0, Quote

_CONFIGURABLE = {"ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDateConfigurationNeeded"}
_PART_STATUSES = {"UpToDate", "OutOfDate", "Revoked"}
_STATUSES = {*_PART_STATUSES, *_CONFIGURABLE, "SWHardeningNeeded"}
_COMPONENTS, _MODULE_COMPONENTS = 16, 2
_CONFIGURATION = "1.2.840.113741.1.13.1.7"
_FLAGS = {"dynamic_platform": 1, "cached_keys": 2, "smt_enabled": 3}
_TRUTH = {b"\0": "False", b"\x01": "True", b"\xff": "True", None: "Undefined"}
Members = dict[str, Any]


def platform_claims(quote: Quote, published: Published, root: Certificate) -> Members:
    """What dcap-qvl's claims say of a platform, as far as they are used: members by its names.

    The caller (`intel_verify`) verifies the quote's own signatures and certificates, and holds both against time and lists.

    Args:
        quote: of a TD under version 1.0 of the report.
        published: its platform's collateral, current and of the same root.
        root: the root that is trusted.

    Raises:
        EvidenceNotTrusted: what is published was not signed by Intel, or is about another platform or quoting enclave.
        TcbRefused: no level fits, or Intel revoked it.
        CollateralMissing: what is published is not of the form that Intel describes.
    """
    if quote.kind != TD_1_0:
        raise TcbRefused("The state of this kind of TD is told by dcap-qvl alone, which does not take its attributes.")
    _, issuer, _ = quote.chain
    if not (published.root_list.is_by(root) and published.pck_list.is_by(issuer)):
        raise EvidenceNotTrusted("What is published about the platform was not signed by Intel.")
    try:
        tcb_info = _signed(published.whole.tcb_info, published.whole.tcb_info_signature, published, root)
        identity = _signed(published.whole.qe_identity, published.whole.qe_identity_signature, published, root)
        return _claims(quote, tcb_info, identity)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CollateralMissing("What is at hand for this platform is not what Intel publishes.") from error


def _signed(text: str, signature: bytes, published: Published, root: Certificate) -> Members:
    for signer in published.signers:
        try:
            signer.public_key().verify_ecdsa_raw(bytes(signature), text.encode("utf-8"), "sha256")
        except SignatureRefused:
            continue
        if not signer.is_issued_by(root):
            raise EvidenceNotTrusted("What is published about the platform was not signed by Intel.")
        signer.check_extensions()
        try:
            return parse(text.encode("utf-8"), max_bytes=MAX_COLLATERAL_JSON_BYTES)
        except CryptoRefused as error:
            raise ValueError("not JSON") from error
    raise EvidenceNotTrusted("What is published about the platform was not signed by Intel.")


def _claims(quote: Quote, tcb_info: Members, identity: Members) -> Members:
    extension = parse_pck_extension_from_pem(quote.pem.rstrip(b"\0"))
    if tcb_info["id"] != "TDX" or tcb_info["version"] != 3 or identity["id"] != "TD_QE":
        raise EvidenceNotTrusted("What is published is about another kind of platform.")
    if bytes.fromhex(tcb_info["fmspc"]) != bytes(extension.fmspc):
        raise EvidenceNotTrusted("What is published is about another family of platforms.")
    if identity["version"] not in (2, 3):
        raise ValueError("another version")
    _, report = quote.qe_report
    _check_quoting_enclave(identity, report.mrsigner, report.isv_prod_id, report.misc_select, quote.qe_report[0][48:64])
    qe_level = _by_svn(identity["tcbLevels"], report.isv_svn, "quoting enclave")
    tee_tcb_svn = quote.report[:16]
    level = _platform_level(tcb_info, bytes(extension.cpu_svn), extension.pce_svn, tee_tcb_svn)
    module = _module_level(tcb_info, tee_tcb_svn, quote.report[64:112], quote.report[112:120])
    levels = [level, *([module] if module is not None else []), qe_level]
    status = _converged(level["tcbStatus"], {each["tcbStatus"] for each in levels[1:]})
    if status == "Revoked":
        raise TcbRefused("TCB status is invalid: Revoked.")
    return {
        "tcb": {
            "status": status,
            "advisory_ids": list(dict.fromkeys(text for each in levels for text in each.get("advisoryIDs", []))),
            "eval_data_number": tcb_info["tcbEvaluationDataNumber"],
        },
        "platform": {
            "current_tcb_level": None,
            "pck": {
                "pce_svn": extension.pce_svn,
                "cpu_svn": list(extension.cpu_svn),
                "pce_id": list(extension.pce_id),
                "sgx_type": extension.sgx_type,
                **{flag: _TRUTH[extension.get_value(f"{_CONFIGURATION}.{part}")] for flag, part in _FLAGS.items()},
            },
            "tcb_level": {"tcbDate": level["tcbDate"]},
        },
        "qe": {"report": {"isv_svn": report.isv_svn}, "tcb_level": {"tcbStatus": qe_level["tcbStatus"]}},
    }


def _converged(platform: str, parts: set[str]) -> str:
    """The state of a platform, of its TDX module and of its quoting enclave in one of Intel's words."""
    if "Revoked" in {platform, *parts}:
        return "Revoked"
    if "OutOfDate" in parts:
        return "OutOfDateConfigurationNeeded" if platform in _CONFIGURABLE else "OutOfDate"
    return platform


def _check_quoting_enclave(
    identity: Members, mrsigner: bytes, product: int, misc_select: int, attributes: bytes
) -> None:
    masked = [
        (misc_select.to_bytes(4, "little"), identity["miscselect"], identity["miscselectMask"]),
        (attributes, identity["attributes"], identity["attributesMask"]),
    ]
    fits = mrsigner == bytes.fromhex(identity["mrsigner"]) and product == identity["isvprodid"]
    for value, wanted, mask in masked:
        fits &= _masked(value, bytes.fromhex(wanted), bytes.fromhex(mask))
    if not fits or attributes[0] & 2:  # no quoting enclave can be looked into
        raise EvidenceNotTrusted("Its quoting enclave is none of those that Intel names.")


def _masked(value: bytes, wanted: bytes, mask: bytes) -> bool:
    if not len(value) == len(wanted) == len(mask):
        raise ValueError("another length")
    return all(one & bits == other & bits for one, other, bits in zip(value, wanted, mask, strict=True))


def _platform_level(tcb_info: Members, cpu_svn: bytes, pce_svn: int, tee_tcb_svn: bytes) -> Members:
    # The first two components of a TD are the module's version, which has levels of its own since version 1.
    skipped = _MODULE_COMPONENTS if tee_tcb_svn[1] else 0
    for level in sorted(tcb_info["tcbLevels"], key=_order, reverse=True):
        sgx, pce, tdx = _order(level)
        if not len(sgx) == len(tdx) == _COMPONENTS:
            raise ValueError("another number of components")
        reached = zip([*cpu_svn, *tee_tcb_svn[skipped:]], [*sgx, *tdx[skipped:]], strict=True)
        if pce_svn >= pce and all(own >= asked for own, asked in reached):
            return _known(level, _STATUSES)
    raise TcbRefused("No matching TCB level found.")


def _order(level: Mapping[str, Any]) -> tuple[list[int], int, list[int]]:
    tcb = level["tcb"]
    sgx, tdx = ([each["svn"] for each in tcb[name]] for name in ("sgxtcbcomponents", "tdxtcbcomponents"))
    return sgx, tcb["pcesvn"], tdx


def _module_level(tcb_info: Members, tee_tcb_svn: bytes, signer: bytes, attributes: bytes) -> Members | None:
    """The level of the TDX module, which has its own by its major version, from version 1 on."""
    svn, version = tee_tcb_svn[0], tee_tcb_svn[1]
    expected = tcb_info["tdxModule"]
    if expected is None:
        raise ValueError("no module")
    if version:
        wanted = f"TDX_{version:02X}"
        expected = next((each for each in tcb_info["tdxModuleIdentities"] if each["id"].upper() == wanted), None)
        if expected is None:
            raise TcbRefused(f"Intel names no TDX module {wanted}.")
    mask = bytes.fromhex(expected["attributesMask"])
    outside = any(value & ~bits for value, bits in zip(attributes, mask, strict=True))
    if signer != bytes.fromhex(expected["mrsigner"]) or outside:
        raise EvidenceNotTrusted("Its TDX module is none of those that Intel names.")
    if not _masked(attributes, bytes.fromhex(expected["attributes"]), mask):
        raise EvidenceNotTrusted("Its TDX module is none of those that Intel names.")
    return _by_svn(expected["tcbLevels"], svn, "TDX module") if version else None


def _by_svn(levels: Sequence[Members], svn: int, what: str) -> Members:
    for level in levels:
        if svn >= level["tcb"]["isvsvn"]:
            return _known(level, _PART_STATUSES)
    raise TcbRefused(f"The version {svn} of its {what} is below all that Intel names.")


def _known(level: Members, words: set[str]) -> Members:
    if level["tcbStatus"] not in words:
        raise ValueError("an unknown word")
    return level
