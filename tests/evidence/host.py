"""The rows of the refusal matrix for hosts' statements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from paddock.errors import SettingRefused, TcbRefused
from tests.evidence import statement
from tests.evidence.matrix import Attempt, Sample
from tests.evidence.statement import REPORT
from tests.fixtures.hosts import OTHER_HOST_KEY, WALLS, host_evidence, host_policy

_NOT_HARDWARE = "software has no firmware of its own, no certificates and no collateral"


def _no_walls(sample: Sample) -> Iterator[Attempt]:
    yield replace(sample.genuine, evidence=host_evidence(REPORT, walls=None))


def _old_walls(sample: Sample) -> Iterator[Attempt]:
    least = host_policy(min_svn={"landlock": 4})
    yield replace(sample.genuine, policy=least, evidence=host_evidence(REPORT, walls={**WALLS, "landlock": 3}))
    yield replace(
        sample.genuine,
        policy=host_policy(min_svn={"landlock": 1}, allow=["no-walls"]),
        evidence=host_evidence(REPORT, walls=None),
    )
    yield replace(sample.genuine, policy=host_policy(min_svn={"kernel": 1}))


SAMPLES = [
    statement.sample(
        "host",
        host_evidence(REPORT),
        host_policy(),
        strangers=host_evidence(REPORT, key=OTHER_HOST_KEY),
        other_root=host_policy(OTHER_HOST_KEY),
        spoilers={"setting": _no_walls, "svn": _old_walls},
    )
]
REFUSALS = {
    **statement.REFUSALS,
    "debug": "a host is open to whoever holds it: nothing is claimed against him",
    "tcb": _NOT_HARDWARE,
    "advisory": _NOT_HARDWARE,
    "svn": (TcbRefused,),
    "setting": (SettingRefused,),
    "revoked": "a host's key has no certificate that could be revoked: it is taken out of the policy",
    "no-collateral": _NOT_HARDWARE,
    "stale-collateral": _NOT_HARDWARE,
    "foreign-chain": _NOT_HARDWARE,
}
