"""Whether an environment is good enough for a contract: asked by keepers before release and by whoever verifies a receipt.

Source: docs/spec/release.md (R-8, R-9); docs/spec/contract.md §6 (L-1).
"""

from __future__ import annotations

from paddock.contract.levels import LEVELS, check_evidence_allowed
from paddock.contract.terms import Terms
from paddock.errors import MeasurementRefused, SimulatedRefused
from paddock.evidence.appraisal import Verdict


def check_environment(terms: Terms, verdict: Verdict) -> None:
    """Return if the environment satisfies the contract's level, its word on simulation, and its measurements.

    Raises:
        LevelRefused: the kind of environment is not enough for the level (R-8, L-1).
        SimulatedRefused: simulated, and the parties did not sign that (R-8).
        MeasurementRefused: the measurement of a piece is not one that the parties signed (R-9).
    """
    check_evidence_allowed(terms.level, verdict.environment.tee)  # R-8, L-1
    if verdict.simulated and not terms.environment.simulated:
        raise SimulatedRefused
    if not LEVELS[terms.level].needs_measurement:
        return
    for label, claims in sorted(verdict.claims.items()):
        if claims.measurement not in terms.environment.measurements:
            raise MeasurementRefused(f"What is called '{label}' was measured as {claims.measurement}.")
