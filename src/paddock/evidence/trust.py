"""A relying party's trust policy: what it accepts, written in TOML. Nothing configured means everything refused.

Source: docs/spec/attestation.md §4 (A-1, A-2).
"""

from __future__ import annotations

import tomllib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from paddock.errors import TrustPolicyInvalid


class SimulatedTrust(BaseModel):
    """Simulators whose evidence is accepted: their Ed25519 public keys as 64 hex digits."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    keys: list[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]]


class TrustPolicy(BaseModel):
    """What evidence a keeper, or whoever verifies a receipt, accepts.

    Args:
        max_age_seconds: evidence older than this is refused.
        simulated: which simulators may stand in for hardware; None: none at all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    max_age_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    simulated: SimulatedTrust | None = None

    def accepts_nothing(self) -> bool:
        """Whether no kind of evidence can pass."""
        return self.simulated is None or not self.simulated.keys


def read_trust_policy(text: str) -> TrustPolicy:
    """Read a policy file's text; an empty one accepts nothing.

    Raises:
        TrustPolicyInvalid: not TOML, a member unknown or ill-typed.
    """
    try:
        return TrustPolicy.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise TrustPolicyInvalid(f"It is not TOML: {error}.") from error
    except ValidationError as error:
        row = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise TrustPolicyInvalid(f"{'.'.join(map(str, row['loc']))}: {row['msg']}.") from error
