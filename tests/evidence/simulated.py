"""The simulator's rows of the refusal matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from paddock.errors import BindingMismatch, DebugRefused, EvidenceMalformed, EvidenceNotTrusted, EvidenceStale
from paddock.evidence import Collateral, TrustPolicy
from tests.evidence.matrix import Attempt, Sample
from tests.fixtures.cast import NOW, OTHER_SIMULATOR
from tests.fixtures.proof import POLICY, evidence

_REPORT = bytes(range(64))
_GENUINE = Attempt(evidence(_REPORT), POLICY, Collateral(), NOW, _REPORT)
_OTHER = TrustPolicy.model_validate({"simulated": {"keys": [OTHER_SIMULATOR.verify_key.raw.hex()]}})
_NOT_HARDWARE = "a simulator has no firmware, no certificates and no collateral"


def _debug(sample: Sample) -> Iterator[Attempt]:
    yield replace(sample.genuine, evidence=evidence(_REPORT, debug=True))


def _self_signed(sample: Sample) -> Iterator[Attempt]:
    yield replace(sample.genuine, evidence=evidence(_REPORT, key=OTHER_SIMULATOR))


SAMPLES = [
    Sample(
        name="made here",
        vendor="simulated",
        genuine=_GENUINE,
        signed=[range(len(_GENUINE.evidence.body))],
        signatures=[range(_GENUINE.evidence.body.index(b'"sig":"') + 7, len(_GENUINE.evidence.body) - 4)],
        other_root=_OTHER,
        too_early=NOW - timedelta(minutes=2),
        too_late=NOW + timedelta(minutes=6),
        spoilers={"debug": _debug, "self-signed": _self_signed},
        step=7,
    )
]
REFUSALS = {
    "signed-bit": (EvidenceMalformed, EvidenceNotTrusted),
    "signature-bit": (EvidenceMalformed, EvidenceNotTrusted),
    "wrong-root": (EvidenceNotTrusted,),
    "no-section": (EvidenceNotTrusted,),
    "too-early": (EvidenceStale,),
    "too-late": (EvidenceStale,),
    "wrong-nonce": (BindingMismatch,),
    "truncated": (EvidenceMalformed,),
    "trailing": (EvidenceMalformed,),
    "empty": (EvidenceMalformed,),
    "other-type": (EvidenceNotTrusted,),
    "over-long": "its fields are JSON texts without lengths",
    "debug": (DebugRefused,),
    "tcb": _NOT_HARDWARE,
    "advisory": _NOT_HARDWARE,
    "svn": _NOT_HARDWARE,
    "setting": _NOT_HARDWARE,
    "revoked": _NOT_HARDWARE,
    "no-collateral": _NOT_HARDWARE,
    "stale-collateral": _NOT_HARDWARE,
    "foreign-chain": _NOT_HARDWARE,
    "self-signed": (EvidenceNotTrusted,),
}
