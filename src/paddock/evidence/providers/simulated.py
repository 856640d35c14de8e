"""Simulated evidence: software that stands in for hardware, on machines that have none.

It has a media type of its own, its claims always say `simulated`, and no policy accepts it unless it names the very
key of the simulator. It protects nobody from the machine's operator.

Source: docs/spec/attestation.md §5 (A-2, A-6, A-7, A-8).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import StringConstraints

from paddock.crypto.moment import read_moment
from paddock.errors import EvidenceNotTrusted
from paddock.evidence.claims import Claims
from paddock.evidence.collateral import Collateral
from paddock.evidence.providers.statement import Statement, StatementProvider
from paddock.evidence.trust import SimulatedTrust

MEDIA_TYPE = "application/vnd.paddock.simulated-evidence.v1+json"


class SimulatedStatement(Statement):
    """What a simulator signs."""

    media_type: ClassVar[str] = MEDIA_TYPE
    version: Literal["paddock/simulated-evidence/v1"]
    simulated: Literal[True]
    tee: Annotated[str, StringConstraints(pattern=r"^[a-z-]{1,32}$")]
    debug: bool


class SimulatedProvider(StatementProvider[SimulatedStatement]):
    """Verifies simulated evidence."""

    name = "simulated"
    media_type = MEDIA_TYPE
    simulated = True
    trust_type = SimulatedTrust
    form = SimulatedStatement
    not_one = "It is not a simulator's statement."
    not_named = "It is SIMULATED, and not by a simulator that the trust policy names."

    def verify(self, body: bytes, *, trust: SimulatedTrust, collateral: Collateral, now: datetime) -> Claims:  # noqa: ARG002 - as in `host`
        """See `EvidenceProvider.verify`."""
        if not trust.keys:
            raise EvidenceNotTrusted("It is SIMULATED, and the trust policy names no simulator.")
        statement, signer = self._read(body, trust.keys)
        return Claims(
            provider=self.name,
            tee=statement.tee,
            measurement=statement.measurement,
            report_data=bytes.fromhex(statement.report_data),
            debug=statement.debug,
            simulated=True,
            signer=signer,
            issued=read_moment(statement.issued),
        )
