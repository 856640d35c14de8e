"""TDX's rows of the refusal matrix: a recorded quote, and quotes of both versions made here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.evidence.intel import REFUSALS, REPORT, made_sample, recorded_sample
from tests.evidence.matrix import Attempt, Sample
from tests.fixtures.vendors.intel import SEPT_VE_DISABLE, TEE_TCB_SVN, IntelMaker

__all__ = ["MAKER", "MAKER_4", "REFUSALS", "SAMPLES"]
MAKER, MAKER_4 = IntelMaker("tdx", 5), IntelMaker("tdx", 4)
STRANGER = IntelMaker("tdx", 4, "stranger")
RECORDED = {"allow": ["cached-keys", "dynamic-platform", "smt"]}  # a server with two processors


def _debug(maker: IntelMaker, sample: Sample) -> Iterator[Attempt]:
    for bit in range(8):
        yield replace(sample.genuine, evidence=maker.evidence(REPORT, attributes=SEPT_VE_DISABLE | 1 << bit))


def _setting(maker: IntelMaker, sample: Sample) -> Iterator[Attempt]:
    for bit in (8, 15, 17, 18, 26, 29, 30, 31, 32, 61, 62, 63):
        yield replace(sample.genuine, evidence=maker.evidence(REPORT, attributes=SEPT_VE_DISABLE | 1 << bit))
    yield replace(sample.genuine, evidence=maker.evidence(REPORT, attributes=0))
    # No policy can allow what dcap-qvl refuses.
    allowed = maker.policy(allow=["migration", "sept-ve", "service-td", "unknown-attribute"])
    for attributes in (0, SEPT_VE_DISABLE | 1 << 29, SEPT_VE_DISABLE | 1 << 17, SEPT_VE_DISABLE | 1 << 8):
        yield replace(sample.genuine, evidence=maker.evidence(REPORT, attributes=attributes), policy=allowed)
    if maker.version == 5:
        yield replace(sample.genuine, evidence=maker.evidence(REPORT, mr_service_td=bytes(47) + b"\1"))


def _tcb(maker: IntelMaker, sample: Sample) -> Iterator[Attempt]:
    """A module that is too old, and in version 5 one that was renewed under a running TD."""
    yield replace(sample.genuine, evidence=maker.evidence(REPORT, tee_tcb_svn=b"\3" + TEE_TCB_SVN[1:]))
    yield replace(sample.genuine, evidence=maker.evidence(REPORT, tee_tcb_svn=TEE_TCB_SVN[:2] + bytes(14)))
    if maker.version == 5:
        yield replace(sample.genuine, evidence=maker.evidence(REPORT, tee_tcb_svn2=b"\3" + TEE_TCB_SVN[1:]))


def _svn(maker: IntelMaker, sample: Sample) -> Iterator[Attempt]:
    for least in ({"tdx_module": 6}, {"tdx_module_version": 2}, {"seam": 4}):
        yield replace(sample.genuine, policy=maker.policy(min_svn=least))


_MORE = {"debug": _debug, "setting": _setting, "tcb": _tcb, "svn": _svn}
SAMPLES = [
    recorded_sample("tdx/quote_v4", RECORDED, STRANGER, step=11),
    made_sample(MAKER_4, _MORE, step=23),
    made_sample(MAKER, _MORE, step=23),
]
