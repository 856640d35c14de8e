"""The provider interface, and the one way from evidence to claims.

A provider reports, the core decides: a provider verifies its vendor's signatures and reads claims out; age, debug, the
platform's state and settings are judged here, level and measurement in `release`.

Source: docs/spec/attestation.md §3 (A-1, A-4, A-5, A-7, A-11 to A-13).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, Protocol

from pydantic import ValidationError

from paddock.errors import (
    CertificateRefused,
    CollateralStale,
    CryptoRefused,
    DebugRefused,
    EvidenceMalformed,
    EvidenceNotTrusted,
    EvidenceRefused,
    EvidenceStale,
    SettingRefused,
    SignatureRefused,
    TcbRefused,
    TrustPolicyInvalid,
)
from paddock.evidence.claims import MAX_EVIDENCE_BYTES, Claims, UnverifiedEvidence
from paddock.evidence.collateral import Collateral, CollateralNeed
from paddock.evidence.trust import ProviderTrust, TrustPolicy

GROUP = "paddock.evidence"
CLOCK_SKEW = timedelta(seconds=60)


class EvidenceProvider(Protocol):
    """One vendor's verifier: pure, without state.

    Args:
        name: its section in a trust policy, and its entry point.
        media_type: of the evidence that it reads.
        simulated: whether software stands in for hardware.
        trust_type: the type of its section.
    """

    name: str
    media_type: str
    simulated: bool
    trust_type: type[ProviderTrust]

    def recognises(self, body: bytes) -> bool:
        """Whether these bytes look like this vendor's evidence: a guess by magic numbers and lengths, no verdict.

        Never raises.
        """

    def needs(self, body: bytes) -> tuple[CollateralNeed, ...]:
        """What collateral this evidence needs beside what it carries, and where the vendor publishes it.

        Raises:
            EvidenceRefused: it cannot be read.
        """

    def verify(self, body: bytes, *, trust: Any, collateral: Collateral, now: datetime) -> Claims:
        """Verify `body` up to a root that `trust` names, and read its claims.

        Args:
            body: the evidence as the attester made it.
            trust: the relying party's section for this provider, of `trust_type`.
            collateral: what the vendor published, from wherever; nothing in it is trusted until its signature holds.
            now: the time to judge by.

        Raises:
            EvidenceRefused, CryptoRefused: no root that is trusted, a signature that does not hold, collateral that is
                missing or out of date, anything malformed.
        """


@cache
def installed_providers() -> Mapping[str, EvidenceProvider]:
    """Providers by name, as entry points offer them; installed is not enabled, and what cannot be loaded is not there."""
    found = {}
    for point in entry_points(group=GROUP):
        try:
            provider: EvidenceProvider = point.load()()
        except Exception:  # noqa: BLE001, S112 - another's plug-in must not stop the others; its evidence is refused
            continue
        if provider.name == point.name:
            found[point.name] = provider
    return MappingProxyType(found)


def provider_for(media_type: str, policy: TrustPolicy) -> EvidenceProvider:
    """The provider that reads this media type, if the policy has a section for it (A-1).

    Raises:
        EvidenceNotTrusted: nobody does, or the policy does not speak of it.
    """
    for name in policy.configured():
        provider = installed_providers().get(name)
        if provider is not None and provider.media_type == media_type:
            return provider
    known = next((each for each in installed_providers().values() if each.media_type == media_type), None)
    if known is not None:
        raise EvidenceNotTrusted(f"It is {known.name} evidence, and the trust policy has no section [{known.name}].")
    raise EvidenceNotTrusted(f"No provider reads {media_type[:80]!r}.")


def verify_evidence(
    evidence: UnverifiedEvidence, *, policy: TrustPolicy, collateral: Collateral, now: datetime
) -> Claims:
    """Return the claims of one piece of genuine, fresh, non-debug evidence of a platform that is accepted.

    1. The policy has a section for its type, and it is bounded. 2. Its provider verifies it up to a root of that
    section. 3. The claims are of the provider that was asked. 4. It is fresh, where it says when it was made. 5. It is
    not of a debug environment. 6. The platform's state, its settings and the age of what is known of it are accepted.

    Args:
        evidence: what was received.
        policy: the relying party's trust policy.
        collateral: what vendors published about the platform.
        now: the relying party's clock, captured once.

    Raises:
        EvidenceRefused, CertificateRefused: one of their kinds, by the step that failed.
    """
    # 1. A-1
    if len(evidence.body) > MAX_EVIDENCE_BYTES:
        raise EvidenceMalformed(f"It has {len(evidence.body)} bytes; at most {MAX_EVIDENCE_BYTES} are read.")
    provider = provider_for(evidence.media_type, policy)
    trust = _section(provider, policy)
    # 2. A-2; a plug-in's own faults become a refusal, never a way through.
    try:
        claims = provider.verify(evidence.body, trust=trust, collateral=collateral, now=now)
    except (EvidenceRefused, CertificateRefused):
        raise
    except SignatureRefused as error:
        raise EvidenceNotTrusted("A signature in it does not hold.") from error
    except CryptoRefused as error:
        raise EvidenceMalformed(error.detail) from error
    except Exception as error:  # the boundary to a plug-in: whatever it raises is a refusal
        raise EvidenceMalformed("Its provider could not read it.") from error
    # 3. A-7: a simulator can never speak as hardware, nor one provider as another.
    if claims.provider != provider.name or claims.simulated != provider.simulated:
        raise EvidenceNotTrusted("Its claims are not those of the provider that verified it.")
    # 4. A-4
    if claims.issued is not None:
        age = now - claims.issued
        if age > timedelta(seconds=policy.max_age_seconds) or age < -CLOCK_SKEW:
            raise EvidenceStale(f"It was made {age.total_seconds():.0f} s ago.")
    # 5. A-5
    if claims.debug:
        raise DebugRefused
    # 6.
    _check_platform(claims, trust)
    _check_collateral(claims, policy, now)
    return claims


def _section(provider: EvidenceProvider, policy: TrustPolicy) -> ProviderTrust:
    section = policy.section(provider.name)
    if isinstance(section, ProviderTrust):
        return section
    try:
        return provider.trust_type.model_validate(section)
    except ValidationError as error:
        row = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, ("plugins", provider.name, *row["loc"])))
        raise TrustPolicyInvalid(f"{place}: {row['msg']}.") from error


def _check_platform(claims: Claims, trust: ProviderTrust) -> None:
    # the state of the firmware, as the vendor sees it and as its version numbers tell.
    if claims.tcb_status is not None and claims.tcb_status not in trust.tcb_statuses:
        advisories = f" ({', '.join(claims.advisories)})" if claims.advisories else ""
        raise TcbRefused(f"The vendor's word for it is {claims.tcb_status}{advisories}.")
    unknown = [each for each in claims.advisories if each not in trust.advisories]
    if unknown:
        raise TcbRefused(f"Advisories apply that are not accepted: {', '.join(unknown)}.")
    for name, least in sorted(trust.min_svn.items()):
        if claims.svns.get(name, -1) < least:
            raise TcbRefused(
                f"Its version number '{name}' is {claims.svns.get(name, 'missing')}; at least {least} is asked."
            )
    #
    refused = sorted(claims.settings - set(trust.allow))
    if refused:
        raise SettingRefused(f"Not allowed: {', '.join(refused)}.")


def _check_collateral(claims: Claims, policy: TrustPolicy, now: datetime) -> None:
    #
    if claims.collateral_issued is None:
        return
    age = now - claims.collateral_issued
    if age > timedelta(seconds=policy.max_collateral_age_seconds) or age < -CLOCK_SKEW:
        raise CollateralStale(f"The vendor issued it {age.total_seconds() / 86_400:.1f} days ago.")
