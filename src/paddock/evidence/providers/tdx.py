"""Intel TDX: DCAP quotes of versions 4 and 5, of TDs under module 1.0 and 1.5.

Source: Intel TDX DCAP Quoting Library API, appendix A.3; Intel TDX Module ABI specification, TDREPORT_STRUCT and
ATTRIBUTES; docs/spec/attestation.md (A-2, A-5, A-6, A-10 to A-14).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from paddock.evidence.claims import Claims, registers_digest
from paddock.evidence.collateral import Collateral, CollateralNeed
from paddock.evidence.providers.intel import needs
from paddock.evidence.providers.intel_quote import TD_1_5, TDX, looks_like_quote, read_quote
from paddock.evidence.providers.intel_verify import judge
from paddock.evidence.reading import Reader
from paddock.evidence.trust import VendorTrust

MEDIA_TYPE = "application/vnd.paddock.tdx-quote.v1"
SEPT_VE = "sept-ve"
_DEBUG = 0xFF  # the whole group "TD under debug": with any of it, Intel says, the TD is not to be trusted
_SEPT_VE_DISABLE = 28
# ICSSD and LASS harden a TD.
_HARMLESS = 1 << 16 | 1 << 27 | 1 << _SEPT_VE_DISABLE
_ATTRIBUTES = {
    17: "service-td",
    29: "migration",
    30: "protection-keys",
    31: "key-locker",
    62: "provisioning-agent",
    63: "perfmon",
}


@dataclass(frozen=True)
class TdReport:
    """A TD's report, read but not verified.

    Args:
        fields: hash values and other bytes by name, as `_FIELDS` lists them.
        attributes: of the TD, as a number.
        xfam: extended features that it may use.
    """

    fields: Mapping[str, bytes]
    attributes: int
    xfam: int

    @property
    def registers(self) -> dict[str, str]:
        """Those that are measurements, as hex (A-10)."""
        return {name: self.fields[name].hex() for name in _REGISTERS if name in self.fields}


_REGISTERS = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_config_id", "mr_service_td")
_HASHES = ("mrtd", "mr_config_id", "mr_owner", "mr_owner_config", "rtmr0", "rtmr1", "rtmr2", "rtmr3")


class TdxProvider:
    """Verifies evidence of TDs."""

    name = TDX
    media_type = MEDIA_TYPE
    simulated = False
    trust_type = VendorTrust

    def recognises(self, body: bytes) -> bool:
        """See `EvidenceProvider.recognises`."""
        return looks_like_quote(body, TDX)

    def needs(self, body: bytes) -> tuple[CollateralNeed, ...]:
        """See `EvidenceProvider.needs`."""
        return needs(read_quote(body, TDX), TDX)

    def verify(self, body: bytes, *, trust: VendorTrust, collateral: Collateral, now: datetime) -> Claims:
        """Verify a TD's quote; see `EvidenceProvider.verify` and `intel_verify.judge`."""
        return verify_td(body, trust=trust, collateral=collateral, now=now)


def verify_td(
    body: bytes, *, trust: VendorTrust, collateral: Collateral, now: datetime, paravisor: bool = False
) -> Claims:
    """Verify a TD's quote; see `EvidenceProvider.verify` and `intel_verify.judge`.

    Args:
        body: the quote.
        trust: the relying party's section.
        collateral: what is at hand.
        now: the time to judge by.
        paravisor: whether one runs in the TD, below its guest. Then SEPT_VE_DISABLE may be off, where nothing else is
            unusual; the setting `sept-ve` says so.

    Raises:
        EvidenceRefused, CryptoRefused: see `EvidenceProvider.verify`.
    """
    quote = read_quote(body, TDX)
    report = read_td_report(quote.report, quote.kind)
    settings = td_settings(report)
    platform = judge(
        quote,
        TDX,
        debug=bool(report.attributes & _DEBUG),
        trust=trust,
        collateral=collateral,
        now=now,
        sept_ve=paravisor and settings == {SEPT_VE},
    )
    fields, registers = report.fields, report.registers
    more = {"tee_tcb_svn2": fields["tee_tcb_svn2"].hex()} if quote.kind == TD_1_5 else {}
    return Claims(
        provider=TDX,
        tee="confidential-vm",
        measurement=registers_digest(TDX, registers),
        report_data=fields["report_data"],
        debug=False,  # `judge` refused it otherwise
        simulated=False,
        signer=platform.signer,
        issued=None,
        registers=registers,
        tcb_status=platform.tcb_status,
        advisories=platform.advisories,
        svns={**platform.svns, **_svns(fields["tee_tcb_svn"])},
        settings=platform.settings | settings,
        collateral=(platform.collateral,),
        collateral_issued=platform.issued,
        details={
            **platform.details,
            "attributes": f"{report.attributes:016x}",
            "mr_owner": fields["mr_owner"].hex(),
            "mr_owner_config": fields["mr_owner_config"].hex(),
            "mr_seam": fields["mr_seam"].hex(),
            "mr_signer_seam": fields["mr_signer_seam"].hex(),
            "quote_version": quote.version,
            "tee_tcb_svn": fields["tee_tcb_svn"].hex(),
            "xfam": f"{report.xfam:016x}",
            **more,
        },
    )


def read_td_report(data: bytes, kind: int) -> TdReport:
    """Read a TD's report of 584 bytes (`TD_1_0`) or 648 (`TD_1_5`). Raises EvidenceMalformed (A-6)."""
    reader = Reader(data, "TD's report")
    fields = {"tee_tcb_svn": reader.take(16), "mr_seam": reader.take(48), "mr_signer_seam": reader.take(48)}
    reader.expect(bytes(8), "SEAM attributes")
    attributes, xfam = reader.number(8, "little"), reader.number(8, "little")
    fields |= {name: reader.take(48) for name in _HASHES}
    fields["report_data"] = reader.take(64)
    if kind == TD_1_5:
        fields |= {"tee_tcb_svn2": reader.take(16), "mr_service_td": reader.take(48)}
    reader.end()
    return TdReport(fields, attributes, xfam)


def td_settings(report: TdReport) -> frozenset[str]:
    """What is on that a relying party may not want.

    `service-td`, `migration`: another TD takes part in its life, and can move it to another machine. `sept-ve`: the host
    can make it take an exception on any page. `perfmon`, `key-locker`, `protection-keys`, `provisioning-agent`: it may use
    features that Intel lists as touching a TD's security or its devices. `unknown-attribute`: one that had no meaning when
    this was written. dcap-qvl refuses `service-td`, `migration`, `sept-ve` and `unknown-attribute` whatever a policy says;
    `sept-ve` can be allowed where a paravisor runs.
    """
    found = {name for bit, name in _ATTRIBUTES.items() if report.attributes >> bit & 1}
    if not report.attributes >> _SEPT_VE_DISABLE & 1:
        found.add(SEPT_VE)
    if any(report.fields.get("mr_service_td", b"")):
        found.add("service-td")
    if report.attributes & ~(_HARMLESS | _DEBUG | sum(1 << bit for bit in _ATTRIBUTES)):
        found.add("unknown-attribute")
    return frozenset(found)


def _svns(tee_tcb_svn: bytes) -> dict[str, int]:
    return {"tdx_module": tee_tcb_svn[0], "tdx_module_version": tee_tcb_svn[1], "seam": tee_tcb_svn[2]}
