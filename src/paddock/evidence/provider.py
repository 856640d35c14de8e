"""The provider interface, and the one way from evidence to claims.

A provider reports, the core decides: a provider verifies its vendor's signatures and reads claims out; age, debug and
simulation are judged here, level and measurement in `release`.

Source: docs/spec/attestation.md §3 (A-1, A-4, A-5, A-7).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Protocol

from paddock.errors import (
    DebugRefused,
    EvidenceMalformed,
    EvidenceNotTrusted,
    EvidenceRefused,
    EvidenceStale,
)
from paddock.evidence.claims import MAX_EVIDENCE_BYTES, Claims, UnverifiedEvidence
from paddock.evidence.trust import TrustPolicy

GROUP = "paddock.evidence"
ENABLED = ("simulated",)
CLOCK_SKEW = timedelta(seconds=60)


class EvidenceProvider(Protocol):
    """One vendor's verifier."""

    name: str
    media_type: str
    simulated: bool

    def verify(self, body: bytes, policy: TrustPolicy) -> Claims:
        """Verify `body` up to a root that `policy` names, and read its claims.

        Args:
            body: the evidence as the attester made it.
            policy: the relying party's roots.

        Raises:
            EvidenceRefused: no root configured, a signature that does not hold, anything malformed.
        """


@cache
def enabled_providers() -> Mapping[str, EvidenceProvider]:
    """Providers by media type: those listed in `ENABLED`, found by entry point; installed is not enabled."""
    found = {point.name: point for point in entry_points(group=GROUP) if point.name in ENABLED}
    providers: list[EvidenceProvider] = [found[name].load()() for name in ENABLED if name in found]
    return MappingProxyType({provider.media_type: provider for provider in providers})


def verify_evidence(evidence: UnverifiedEvidence, *, policy: TrustPolicy, now: datetime) -> Claims:
    """Return the claims of genuine, fresh, non-debug evidence.

    1. Its type is known and bounded. 2. Its provider verifies it up to a root of the policy. 3. The claims are of the
    provider that was asked. 4. It is fresh. 5. It is not of a debug environment.

    Args:
        evidence: what was received.
        policy: the relying party's trust policy.
        now: the relying party's clock, captured once.

    Raises:
        EvidenceRefused: one of its kinds, by the step that failed.
    """
    # 1. A-1
    provider = enabled_providers().get(evidence.media_type)
    if provider is None:
        raise EvidenceNotTrusted(f"No enabled provider reads {evidence.media_type[:80]!r}.")
    if len(evidence.body) > MAX_EVIDENCE_BYTES:
        raise EvidenceMalformed(f"It has {len(evidence.body)} bytes; at most {MAX_EVIDENCE_BYTES} are read.")
    # 2. A-2; a plug-in's own faults become a refusal, never a way through.
    try:
        claims = provider.verify(evidence.body, policy)
    except EvidenceRefused:
        raise
    except Exception as error:  # the boundary to a plug-in: whatever it raises is a refusal
        raise EvidenceMalformed("Its provider could not read it.") from error
    # 3. A-7: a simulator can never speak as hardware, nor one provider as another.
    if claims.provider != provider.name or claims.simulated != provider.simulated:
        raise EvidenceNotTrusted("Its claims are not those of the provider that verified it.")
    # 4. A-4
    age = now - claims.issued
    if age > timedelta(seconds=policy.max_age_seconds) or age < -CLOCK_SKEW:
        raise EvidenceStale(f"It was made {age.total_seconds():.0f} s ago.")
    # 5. A-5
    if claims.debug:
        raise DebugRefused
    return claims
