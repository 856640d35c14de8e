"""Simulated evidence: software that stands in for hardware, on machines that have none.

It has a media type of its own, its claims always say `simulated`, and no policy accepts it unless it names the very
key of the simulator. It protects nobody from the machine's operator.

Source: docs/spec/attestation.md §5 (A-2, A-6, A-7, A-8).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from paddock.crypto.canonical import canonical, parse_canonical
from paddock.crypto.dsse import Envelope
from paddock.crypto.moment import Moment, read_moment
from paddock.crypto.signing import SigningKey, VerifyKey
from paddock.errors import CryptoRefused, EvidenceMalformed, EvidenceNotTrusted
from paddock.evidence.claims import Claims, UnverifiedEvidence
from paddock.evidence.collateral import Collateral, CollateralNeed
from paddock.evidence.trust import SimulatedTrust

MEDIA_TYPE = "application/vnd.paddock.simulated-evidence.v1+json"


class SimulatedStatement(BaseModel):
    """What a simulator signs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal["paddock/simulated-evidence/v1"]
    simulated: Literal[True]
    tee: Annotated[str, StringConstraints(pattern=r"^[a-z-]{1,32}$")]
    measurement: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    report_data: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]
    debug: bool
    issued: Moment

    def sign(self, key: SigningKey) -> UnverifiedEvidence:
        """The statement as evidence. Only a simulator holds such a key."""
        payload = canonical(self.model_dump(mode="json"))
        envelope = Envelope.sign(MEDIA_TYPE, payload, key, key.verify_key.raw.hex())
        return UnverifiedEvidence(MEDIA_TYPE, envelope.to_json())


class SimulatedProvider:
    """Verifies simulated evidence."""

    name = "simulated"
    media_type = MEDIA_TYPE
    simulated = True
    trust_type = SimulatedTrust

    def recognises(self, body: bytes) -> bool:
        """See `EvidenceProvider.recognises`."""
        return body.startswith(b"{") and MEDIA_TYPE.encode("ascii") in body[: 1 << 16]

    def needs(self, body: bytes) -> tuple[CollateralNeed, ...]:  # noqa: ARG002 - a simulator needs nothing
        """See `EvidenceProvider.needs`."""
        return ()

    def verify(self, body: bytes, *, trust: SimulatedTrust, collateral: Collateral, now: datetime) -> Claims:  # noqa: ARG002 - as above
        """See `EvidenceProvider.verify`."""
        if not trust.keys:
            raise EvidenceNotTrusted("It is SIMULATED, and the trust policy names no simulator.")
        try:
            envelope = Envelope.from_json(body)
            if envelope.to_json() != body or len(envelope.signatures) != 1:  # one form, one signature
                raise EvidenceMalformed("It is not in canonical form.")
            signer = self._signer(envelope, trust.keys)
            if envelope.signatures[0].keyid != signer:  # no byte that the signature does not hold
                raise EvidenceMalformed("Its key id is not its signer.")
            parse_canonical(envelope.payload)
            statement = SimulatedStatement.model_validate_json(envelope.payload)
        except (CryptoRefused, ValidationError) as error:
            raise EvidenceMalformed("It is not a simulator's statement.") from error
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

    def _signer(self, envelope: Envelope, keys: list[str]) -> str:
        for key in keys:
            try:
                envelope.verify_by(VerifyKey(bytes.fromhex(key)), MEDIA_TYPE)
            except CryptoRefused:
                continue
            return key
        raise EvidenceNotTrusted("It is SIMULATED, and not by a simulator that the trust policy names.")
