"""The rows of the refusal matrix for hosts' statements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from paddock.errors import (
    BindingMismatch,
    EvidenceMalformed,
    EvidenceNotTrusted,
    EvidenceStale,
    SettingRefused,
    TcbRefused,
)
from paddock.evidence import Collateral
from tests.evidence.matrix import Attempt, Sample
from tests.fixtures.cast import NOW
from tests.fixtures.hosts import OTHER_HOST_KEY, WALLS, host_evidence, host_policy

_REPORT = bytes(range(64))
_GENUINE = Attempt(host_evidence(_REPORT), host_policy(), Collateral(), NOW, _REPORT)
_NOT_HARDWARE = "software has no firmware of its own, no certificates and no collateral"


def _no_walls(sample: Sample) -> Iterator[Attempt]:
    yield replace(sample.genuine, evidence=host_evidence(_REPORT, walls=None))


def _old_walls(sample: Sample) -> Iterator[Attempt]:
    least = host_policy(min_svn={"landlock": 4})
    yield replace(sample.genuine, policy=least, evidence=host_evidence(_REPORT, walls={**WALLS, "landlock": 3}))
    yield replace(
        sample.genuine,
        policy=host_policy(min_svn={"landlock": 1}, allow=["no-walls"]),
        evidence=host_evidence(_REPORT, walls=None),
    )
    yield replace(sample.genuine, policy=host_policy(min_svn={"kernel": 1}))


def _self_signed(sample: Sample) -> Iterator[Attempt]:
    yield replace(sample.genuine, evidence=host_evidence(_REPORT, key=OTHER_HOST_KEY))


SAMPLES = [
    Sample(
        name="made here",
        vendor="host",
        genuine=_GENUINE,
        signed=[range(len(_GENUINE.evidence.body))],
        signatures=[range(_GENUINE.evidence.body.index(b'"sig":"') + 7, len(_GENUINE.evidence.body) - 4)],
        other_root=host_policy(OTHER_HOST_KEY),
        too_early=NOW - timedelta(minutes=2),
        too_late=NOW + timedelta(minutes=6),
        spoilers={"setting": _no_walls, "svn": _old_walls, "self-signed": _self_signed},
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
    "debug": "a host is open to whoever holds it: nothing is claimed against him",
    "tcb": _NOT_HARDWARE,
    "advisory": _NOT_HARDWARE,
    "svn": (TcbRefused,),
    "setting": (SettingRefused,),
    "revoked": "a host's key has no certificate that could be revoked: it is taken out of the policy",
    "no-collateral": _NOT_HARDWARE,
    "stale-collateral": _NOT_HARDWARE,
    "foreign-chain": _NOT_HARDWARE,
    "self-signed": (EvidenceNotTrusted,),
}
