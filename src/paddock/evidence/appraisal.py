"""From the pieces of evidence of one environment to one verdict.

Verification says what is; appraisal says whether the pieces are those that the policy demands together, whether all
were made for the same question, and what each is worth, as an AR4SI trustworthiness vector.

Source: docs/spec/attestation.md §4, §6 (A-3, A-16, A-17, A-26); draft-ietf-rats-ar4si.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from paddock.errors import CompositionRefused, EvidenceMalformed
from paddock.evidence.binding import check_report_data
from paddock.evidence.claims import ENVIRONMENT, HOST, Claims, EvidenceSet
from paddock.evidence.collateral import Collateral
from paddock.evidence.provider import verify_evidence
from paddock.evidence.runtime_register import RUNTIME_REGISTER, runtime_register
from paddock.evidence.trust import TrustPolicy

_CONFIDENTIAL_VM, _SEALED_VM = "confidential-vm", "sealed-vm"
_SOFTWARE, _MEASURED_HOST, _TPM = "software", "measured-host", "tpm"


@dataclass(frozen=True)
class Verdict:
    """What a set of evidence was found to be. Only `appraise` makes one.

    Args:
        claims: by label; `environment` is always there.
        collateral: what was used, so that a receipt can carry it.
    """

    claims: Mapping[str, Claims]
    collateral: Collateral

    @property
    def environment(self) -> Claims:
        """The claims of the environment itself."""
        return self.claims[ENVIRONMENT]

    @property
    def simulated(self) -> bool:
        """Whether any piece is."""
        return any(claims.simulated for claims in self.claims.values())


def appraise(
    evidence: EvidenceSet,
    *,
    level: str,
    report_data: bytes,
    policy: TrustPolicy,
    collateral: Collateral,
    now: datetime,
) -> Verdict:
    """Return the verdict on the pieces of one environment.

    1. They are those that the policy demands at this level, and no other. 2. Each is genuine and accepted. 3. Each
    carries this report data. 4. A confidential machine counts as sealed if its measurement is one that the policy lists.
    5. A host counts as measured if a TPM's quote beside its statement holds the runtime that the statement names, or if
    its quote is of an image that the policy lists.

    Args:
        evidence: what was received.
        level: the contract's level, as text.
        report_data: the 64 bytes that each piece must carry (A-3).
        policy: the relying party's trust policy.
        collateral: what vendors published.
        now: the relying party's clock, captured once.

    Raises:
        CompositionRefused: a piece is missing or too many (A-16), or a quote says nothing of the runtime (A-26).
        EvidenceRefused, CertificateRefused: a piece does not pass (A-1 to A-13).
    """
    # 1. A-16
    demanded = policy.demanded(level)
    beside = set(evidence.pieces) - {ENVIRONMENT}
    missing, more = set(demanded.require) - beside, beside - {*demanded.require, *demanded.allow}
    if ENVIRONMENT not in evidence.pieces or missing:
        raise CompositionRefused(f"Missing: {', '.join(sorted(missing)) or ENVIRONMENT}.")
    if more:
        raise CompositionRefused(f"Not asked for: {', '.join(sorted(more))}.")
    claims = {}
    for label, piece in sorted(evidence.pieces.items()):
        # 2.
        found = verify_evidence(piece, policy=policy, collateral=collateral, now=now)
        # 3. A-3
        check_report_data(report_data, found.report_data)
        # what a label promises is what the piece is.
        if not _fits(label, found):
            raise CompositionRefused(f"What is called '{label}' is evidence of '{found.tee}'.")
        # 4. A-17: that a machine is sealed is what the policy says of its measurement, never what evidence says of itself.
        if found.tee in {_CONFIDENTIAL_VM, _SEALED_VM}:
            sealed = found.measurement in policy.sealed_images
            found = replace(found, tee=_SEALED_VM if sealed else _CONFIDENTIAL_VM)
        claims[label] = found
    if len({piece.body for piece in evidence.pieces.values()}) != len(evidence.pieces):
        raise EvidenceMalformed("Two pieces are the same bytes.")
    # one GPU that was asked twice is not two GPUs.
    devices = [(found.provider, found.device) for found in claims.values() if found.device is not None]
    if len(set(devices)) != len(devices):
        raise CompositionRefused("Two pieces are of the same device.")
    # 5.
    claims[ENVIRONMENT] = _measured(claims[ENVIRONMENT], claims.get(HOST), policy)
    used = collateral.only(key for found in claims.values() for key in found.collateral)
    return Verdict(claims, used)


def _measured(environment: Claims, host: Claims | None, policy: TrustPolicy) -> Claims:
    """The claims of the environment: of a measured host where it is software's statement and a quote joined to it, or the
    quote of an image that firmware measured whole.
    """
    # as with sealed machines, no evidence says so of itself. A simulator stands in for the whole, and says SIMULATED.
    if environment.tee == _MEASURED_HOST and not environment.simulated:
        environment = replace(environment, tee=_SOFTWARE)
    # that such a quote covers the runtime, too, is what the policy says of its measurement.
    if environment.tee == _TPM and not environment.simulated and environment.measurement in policy.sealed_images:
        return replace(environment, tee=_MEASURED_HOST)
    if environment.tee != _SOFTWARE or host is None:
        return environment
    expected = runtime_register(environment.measurement, environment.signer).hex()
    if host.registers.get(RUNTIME_REGISTER) != expected:
        raise CompositionRefused("The TPM's quote does not hold the runtime and the key of the host's statement.")
    return replace(environment, tee=_MEASURED_HOST)


def _fits(label: str, claims: Claims) -> bool:
    if label.startswith("gpu-"):
        return claims.tee == "gpu"
    if label == "host":
        return claims.tee == "tpm"
    return claims.tee != "gpu"
