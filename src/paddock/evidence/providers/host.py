"""A host's statement: which runtime is installed there and which walls can be built, signed by the host's own key.

It is software's word. It holds against a malicious job, which is kept from the key and from whoever holds it; the host's
operator can sign whatever he likes. So its claims say `software` and never more; with a TPM's quote beside it that holds
the same runtime, appraisal finds a measured host (A-26).

Source: docs/spec/attestation.md §5 (A-2, A-6, A-8, A-12, A-27).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from paddock.crypto.moment import read_moment
from paddock.evidence.claims import Claims
from paddock.evidence.collateral import Collateral
from paddock.evidence.providers.statement import Statement, StatementProvider
from paddock.evidence.trust import HostTrust

MEDIA_TYPE = "application/vnd.paddock.host-statement.v1+json"
NO_WALLS = "no-walls"
_Word = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9. -]{0,31}$")]


class Walls(BaseModel):
    """What the host builds walls of (`paddock.walls.WallsReport`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    bubblewrap: _Word
    seccomp: _Word
    landlock: Annotated[int, Field(ge=1, le=1000)]
    memory: _Word


class HostStatement(Statement):
    """What a host signs. `walls` is null where it cannot build them."""

    media_type: ClassVar[str] = MEDIA_TYPE
    version: Literal["paddock/host-statement/v1"]
    walls: Walls | None


class HostProvider(StatementProvider[HostStatement]):
    """Verifies hosts' statements."""

    name = "host"
    media_type = MEDIA_TYPE
    simulated = False
    trust_type = HostTrust
    form = HostStatement
    not_one = "It is not a host's statement."
    not_named = "It is not signed by a host that the trust policy names."

    def verify(self, body: bytes, *, trust: HostTrust, collateral: Collateral, now: datetime) -> Claims:  # noqa: ARG002 - there is none, and age is judged by the core
        """See `EvidenceProvider.verify`."""
        statement, signer = self._read(body, trust.keys)
        walls = statement.walls
        details: Mapping[str, str | int | bool] = {} if walls is None else walls.model_dump()
        return Claims(
            provider=self.name,
            tee="software",  # never more, whatever it says
            measurement=statement.measurement,
            report_data=bytes.fromhex(statement.report_data),
            debug=False,  # whoever holds the host looks into it without: nothing is claimed against him
            simulated=False,
            signer=signer,
            issued=read_moment(statement.issued),
            settings=frozenset({NO_WALLS} if walls is None else ()),  # refused by A-12 unless a policy allows it
            svns={} if walls is None else {"landlock": walls.landlock},
            details=details,
        )
