"""A host's statement: which runtime is installed there and which walls can be built, signed by the host's own key.

It is software's word. It holds against a malicious job, which is kept from the key and from whoever holds it; the host's
operator can sign whatever he likes. So its claims say `software` and never more; with a TPM's quote beside it that holds
the same runtime, appraisal finds a measured host (A-26).

Source: docs/spec/attestation.md §5 (A-2, A-6, A-8, A-12, A-27).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from paddock.crypto.canonical import canonical, parse_canonical
from paddock.crypto.dsse import Envelope
from paddock.crypto.moment import Moment, read_moment
from paddock.crypto.signing import SigningKey, VerifyKey
from paddock.errors import CryptoRefused, EvidenceMalformed, EvidenceNotTrusted
from paddock.evidence.claims import Claims, UnverifiedEvidence
from paddock.evidence.collateral import Collateral, CollateralNeed
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


class HostStatement(BaseModel):
    """What a host signs. `walls` is null where it cannot build them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal["paddock/host-statement/v1"]
    measurement: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    report_data: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]
    walls: Walls | None
    issued: Moment

    def sign(self, key: SigningKey) -> UnverifiedEvidence:
        """The statement as evidence. Only a host's attester holds such a key."""
        payload = canonical(self.model_dump(mode="json"))
        envelope = Envelope.sign(MEDIA_TYPE, payload, key, key.verify_key.raw.hex())
        return UnverifiedEvidence(MEDIA_TYPE, envelope.to_json())


class HostProvider:
    """Verifies hosts' statements."""

    name = "host"
    media_type = MEDIA_TYPE
    simulated = False
    trust_type = HostTrust

    def recognises(self, body: bytes) -> bool:
        """See `EvidenceProvider.recognises`."""
        return body.startswith(b"{") and MEDIA_TYPE.encode("ascii") in body[: 1 << 16]

    def needs(self, body: bytes) -> tuple[CollateralNeed, ...]:  # noqa: ARG002 - a host's key is named, not certified
        """See `EvidenceProvider.needs`."""
        return ()

    def verify(self, body: bytes, *, trust: HostTrust, collateral: Collateral, now: datetime) -> Claims:  # noqa: ARG002 - as above
        """See `EvidenceProvider.verify`."""
        try:
            envelope = Envelope.from_json(body)
            if envelope.to_json() != body or len(envelope.signatures) != 1:  # one form, one signature
                raise EvidenceMalformed("It is not in canonical form.")
            signer = _signer(envelope, trust.keys)
            if envelope.signatures[0].keyid != signer:  # no byte that the signature does not hold
                raise EvidenceMalformed("Its key id is not its signer.")
            parse_canonical(envelope.payload)
            statement = HostStatement.model_validate_json(envelope.payload)
        except (CryptoRefused, ValidationError) as error:
            raise EvidenceMalformed("It is not a host's statement.") from error
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


def _signer(envelope: Envelope, keys: list[str]) -> str:
    for key in keys:
        try:
            envelope.verify_by(VerifyKey(bytes.fromhex(key)), MEDIA_TYPE)
        except CryptoRefused:
            continue
        return key
    raise EvidenceNotTrusted("It is not signed by a host that the trust policy names.")
