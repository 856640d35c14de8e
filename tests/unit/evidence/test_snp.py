"""Reports of SEV-SNP: what recorded ones say, and every branch that refuses one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from paddock.evidence import Collateral, UnverifiedEvidence, read_trust_policy, verify_evidence
from paddock.evidence.collateral import certificate_item
from paddock.evidence.providers.snp import MEDIA_TYPE

VECTORS = Path(__file__).resolve().parents[2] / "evidence" / "vectors" / "snp"


def test_a_recorded_report_of_milan_is_read_as_it_is() -> None:
    policy = read_trust_policy('[snp]\nroots = ["amd-milan"]\nallow = ["smt"]\n')
    collateral = Collateral([certificate_item((VECTORS / "vcek_milan.der").read_bytes(), "2026-01-01T00:00:00Z")])
    evidence = UnverifiedEvidence(MEDIA_TYPE, (VECTORS / "report_milan.bin").read_bytes())
    now = datetime(2026, 1, 1, tzinfo=UTC)
    claims = verify_evidence(evidence, policy=policy, collateral=collateral, now=now)
    assert claims.settings == {"smt"}
    assert claims.svns["snp"] == 8
