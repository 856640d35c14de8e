"""Intel SGX: DCAP quotes of version 3.

Source: Intel SGX ECDSA QuoteLibReference DCAP API, appendix A.4; Intel SDM volume 3D §38.7.1 (ATTRIBUTES), §38.15
(REPORT); docs/spec/attestation.md (A-2, A-5, A-6, A-10 to A-14).
"""

from __future__ import annotations

from datetime import datetime

from paddock.errors import EvidenceNotTrusted
from paddock.evidence.claims import Claims, registers_digest
from paddock.evidence.collateral import Collateral, CollateralNeed
from paddock.evidence.providers.intel import needs
from paddock.evidence.providers.intel_quote import SGX, EnclaveReport, looks_like_quote, read_enclave_report, read_quote
from paddock.evidence.providers.intel_verify import judge
from paddock.evidence.trust import SgxTrust

MEDIA_TYPE = "application/vnd.paddock.sgx-quote.v1"
_DEBUG = 1 << 1
# INIT, MODE64BIT, CET, KSS, AEXNOTIFY: nothing that weakens an enclave.
_HARMLESS = 1 << 0 | 1 << 2 | 1 << 6 | 1 << 7 | 1 << 10
_ATTRIBUTES = {4: "provisioning-key", 5: "launch-key"}


class SgxProvider:
    """Verifies evidence of SGX enclaves."""

    name = SGX
    media_type = MEDIA_TYPE
    simulated = False
    trust_type = SgxTrust

    def recognises(self, body: bytes) -> bool:
        """See `EvidenceProvider.recognises`."""
        return looks_like_quote(body, SGX)

    def needs(self, body: bytes) -> tuple[CollateralNeed, ...]:
        """See `EvidenceProvider.needs`."""
        return needs(read_quote(body, SGX), SGX)

    def verify(self, body: bytes, *, trust: SgxTrust, collateral: Collateral, now: datetime) -> Claims:
        """Verify an enclave's quote; see `EvidenceProvider.verify` and `intel_verify.judge`."""
        quote = read_quote(body, SGX)
        report = read_enclave_report(quote.report)
        platform = judge(
            quote,
            SGX,
            debug=bool(report.attributes & _DEBUG),
            trust=trust,
            collateral=collateral,
            now=now,
        )
        if trust.signers and report.mrsigner.hex() not in trust.signers:
            raise EvidenceNotTrusted(
                f"The enclave was signed by {report.mrsigner.hex()}, whom [sgx] signers does not name."
            )
        registers = {"mrenclave": report.mrenclave.hex()}
        return Claims(
            provider=self.name,
            tee="enclave",
            measurement=registers_digest(self.name, registers),
            report_data=report.report_data,
            debug=False,  # `judge` refused it otherwise
            simulated=False,
            signer=platform.signer,
            issued=None,
            registers=registers,
            tcb_status=platform.tcb_status,
            advisories=platform.advisories,
            svns={**platform.svns, "isv_svn": report.isv_svn, "config_svn": report.config_svn},
            settings=platform.settings | enclave_settings(report),
            collateral=(platform.collateral,),
            collateral_issued=platform.issued,
            details={
                **platform.details,
                "attributes": f"{report.attributes:016x}",
                "config_id": report.config_id.hex(),
                "isv_ext_prod_id": report.isv_ext_prod_id.hex(),
                "isv_family_id": report.isv_family_id.hex(),
                "isv_prod_id": report.isv_prod_id,
                "misc_select": f"{report.misc_select:08x}",
                "mrsigner": report.mrsigner.hex(),
                "xfrm": f"{report.xfrm:016x}",
            },
        )


def enclave_settings(report: EnclaveReport) -> frozenset[str]:
    """What is on that a relying party may not want.

    `provisioning-key` and `launch-key`: the enclave can derive keys that only Intel's own need. `unknown-attribute`: one
    that had no meaning when this was written. `config-id`: whoever started the enclave gave it an identifier that the
    measurement does not hold.
    """
    found = {name for bit, name in _ATTRIBUTES.items() if report.attributes >> bit & 1}
    if report.attributes & ~(_HARMLESS | _DEBUG | sum(1 << bit for bit in _ATTRIBUTES)):
        found.add("unknown-attribute")
    if any(report.config_id) or report.config_svn:
        found.add("config-id")
    return frozenset(found)
