"""What the refusal matrix says of all statements that software signs: hosts' and simulators'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

from paddock.errors import BindingMismatch, EvidenceMalformed, EvidenceNotTrusted, EvidenceStale, PaddockError
from paddock.evidence import Collateral, TrustPolicy, UnverifiedEvidence
from tests.evidence.matrix import Attempt, Sample, Spoiler
from tests.fixtures.cast import NOW

REPORT = bytes(range(64))
REFUSALS: Mapping[str, tuple[type[PaddockError], ...] | str] = {
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
    "self-signed": (EvidenceNotTrusted,),
}


def sample(
    vendor: str,
    genuine: UnverifiedEvidence,
    policy: TrustPolicy,
    *,
    strangers: UnverifiedEvidence,
    other_root: TrustPolicy,
    spoilers: Mapping[str, Spoiler],
) -> Sample:
    """A statement made here.

    Args:
        vendor: the provider's name.
        genuine: a statement about `REPORT` at `NOW`.
        policy: that accepts it.
        strangers: the same by a key that the policy does not name.
        other_root: a policy that names that key alone.
        spoilers: what can be spoilt beside the signature.
    """

    def self_signed(made: Sample) -> Iterator[Attempt]:
        yield replace(made.genuine, evidence=strangers)

    return Sample(
        name="made here",
        vendor=vendor,
        genuine=Attempt(genuine, policy, Collateral(), NOW, REPORT),
        signed=[range(len(genuine.body))],
        signatures=[range(genuine.body.index(b'"sig":"') + 7, len(genuine.body) - 4)],
        other_root=other_root,
        too_early=NOW - timedelta(minutes=2),
        too_late=NOW + timedelta(minutes=6),
        spoilers={**spoilers, "self-signed": self_signed},
        step=7,
    )
