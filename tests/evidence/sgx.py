"""SGX's rows of the refusal matrix: a recorded quote, and quotes made here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.evidence.intel import REFUSALS, REPORT, made_sample, recorded_quote, recorded_sample
from tests.evidence.matrix import Attempt, Sample
from tests.fixtures.vendors.intel import IntelMaker

__all__ = ["MAKER", "REFUSALS", "SAMPLES"]
MAKER = IntelMaker("sgx", 3)
STRANGER = IntelMaker("sgx", 3, "stranger")
RECORDED = {
    "tcb_statuses": ["ConfigurationAndSWHardeningNeeded"],
    "advisories": ["INTEL-SA-00289", "INTEL-SA-00615"],
}


def _setting(maker: IntelMaker, sample: Sample) -> Iterator[Attempt]:
    for fields in (
        {"attributes": 0x15},
        {"attributes": 0x25},
        {"attributes": 0x0D},
        {"attributes": 1 << 63 | 5},
        {"config_id": bytes(63) + b"\1"},
        {"config_svn": 1},
    ):
        evidence = maker.evidence(REPORT, **fields)
        yield replace(sample.genuine, evidence=evidence)


def _svn(maker: IntelMaker, sample: Sample) -> Iterator[Attempt]:
    yield replace(sample.genuine, policy=maker.policy(min_svn={"isv_svn": 4}))


def _recorded_debug(sample: Sample) -> Iterator[Attempt]:
    """A genuine debug enclave; its platform's collateral was not recorded, and does not matter."""
    yield sample.with_body(recorded_quote("sgx/occlum_quote_v3"))


def _recorded_state(sample: Sample) -> Iterator[Attempt]:
    policy = sample.genuine.policy
    section = policy.sgx
    assert section is not None
    yield replace(
        sample.genuine,
        policy=policy.model_copy(update={"sgx": section.model_copy(update={"tcb_statuses": ["UpToDate"]})}),
    )


def _recorded_advisory(sample: Sample) -> Iterator[Attempt]:
    policy = sample.genuine.policy
    section = policy.sgx
    assert section is not None
    for accepted in ([], ["INTEL-SA-00289"]):
        changed = section.model_copy(update={"advisories": accepted})
        yield replace(sample.genuine, policy=policy.model_copy(update={"sgx": changed}))


_RECORDED = recorded_sample("sgx/quote_v3", RECORDED, STRANGER, step=7)
SAMPLES = [
    replace(
        _RECORDED,
        spoilers={
            **_RECORDED.spoilers,
            "debug": _recorded_debug,
            "tcb": _recorded_state,
            "advisory": _recorded_advisory,
        },
    ),
    made_sample(MAKER, {"setting": _setting, "svn": _svn}, step=13),
]
