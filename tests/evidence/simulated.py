"""The simulator's rows of the refusal matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from paddock.errors import DebugRefused
from paddock.evidence import TrustPolicy
from tests.evidence import statement
from tests.evidence.matrix import Attempt, Sample
from tests.evidence.statement import REPORT
from tests.fixtures.cast import OTHER_SIMULATOR
from tests.fixtures.proof import POLICY, evidence

_NOT_HARDWARE = "a simulator has no firmware, no certificates and no collateral"


def _debug(sample: Sample) -> Iterator[Attempt]:
    yield replace(sample.genuine, evidence=evidence(REPORT, debug=True))


SAMPLES = [
    statement.sample(
        "simulated",
        evidence(REPORT),
        POLICY,
        strangers=evidence(REPORT, key=OTHER_SIMULATOR),
        other_root=TrustPolicy.model_validate({"simulated": {"keys": [OTHER_SIMULATOR.verify_key.raw.hex()]}}),
        spoilers={"debug": _debug},
    )
]
REFUSALS = {
    **statement.REFUSALS,
    "debug": (DebugRefused,),
    **dict.fromkeys(
        ("tcb", "advisory", "svn", "setting", "revoked", "no-collateral", "stale-collateral", "foreign-chain"),
        _NOT_HARDWARE,
    ),
}
