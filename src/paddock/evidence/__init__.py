"""Evidence in, claims out. Verification is pure; what is acceptable is the relying party's policy, kept apart."""

from paddock.evidence.appraisal import Verdict, appraise
from paddock.evidence.binding import Binding, Challenge
from paddock.evidence.claims import Claims, EvidenceSet, UnverifiedEvidence
from paddock.evidence.collateral import Collateral
from paddock.evidence.provider import EvidenceProvider, verify_evidence
from paddock.evidence.trust import TrustPolicy, read_trust_policy

__all__ = [
    "Binding",
    "Challenge",
    "Claims",
    "Collateral",
    "EvidenceProvider",
    "EvidenceSet",
    "TrustPolicy",
    "UnverifiedEvidence",
    "Verdict",
    "appraise",
    "read_trust_policy",
    "verify_evidence",
]
