"""Statements that software signs with a key of its own: one canonical form, one signature, by a key that the policy names.

A host's and a simulator's are such statements; what each is worth is said there.

Source: docs/spec/attestation.md §5 (A-2, A-6).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from paddock.crypto.canonical import canonical, parse_canonical
from paddock.crypto.dsse import Envelope
from paddock.crypto.moment import Moment
from paddock.crypto.signing import SigningKey, VerifyKey
from paddock.errors import CryptoRefused, EvidenceMalformed, EvidenceNotTrusted
from paddock.evidence.claims import UnverifiedEvidence
from paddock.evidence.collateral import CollateralNeed

_HEAD_BYTES = 1 << 16


class Statement(BaseModel):
    """What is signed, as far as all such statements hold it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    media_type: ClassVar[str]
    measurement: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    report_data: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]
    issued: Moment

    def sign(self, key: SigningKey) -> UnverifiedEvidence:
        """The statement as evidence. Only whoever makes such statements holds such a key."""
        payload = canonical(self.model_dump(mode="json"))
        envelope = Envelope.sign(self.media_type, payload, key, key.verify_key.raw.hex())
        return UnverifiedEvidence(self.media_type, envelope.to_json())


S = TypeVar("S", bound=Statement)


class StatementProvider(Generic[S]):
    """What providers of statements have in common; `verify` and its claims are each one's own."""

    form: type[S]
    not_one: str
    """Of what is no such statement."""
    not_named: str
    """Of one that nobody signed whom the trust policy names."""

    def recognises(self, body: bytes) -> bool:
        """See `EvidenceProvider.recognises`."""
        return body.startswith(b"{") and self.form.media_type.encode("ascii") in body[:_HEAD_BYTES]

    def needs(self, body: bytes) -> tuple[CollateralNeed, ...]:  # noqa: ARG002 - a key is named, not certified
        """See `EvidenceProvider.needs`."""
        return ()

    def _read(self, body: bytes, keys: list[str]) -> tuple[S, str]:
        """A statement and the key that signed it.

        Raises:
            EvidenceMalformed: another form (A-6).
            EvidenceNotTrusted: signed by none of these keys (A-2).
        """
        try:
            envelope = Envelope.from_json(body)
            if envelope.to_json() != body or len(envelope.signatures) != 1:  # one form, one signature
                raise EvidenceMalformed("It is not in canonical form.")
            signer = self._signer(envelope, keys)
            if envelope.signatures[0].keyid != signer:  # no byte that the signature does not hold
                raise EvidenceMalformed("Its key id is not its signer.")
            parse_canonical(envelope.payload)
            return self.form.model_validate_json(envelope.payload), signer
        except (CryptoRefused, ValidationError) as error:
            raise EvidenceMalformed(self.not_one) from error

    def _signer(self, envelope: Envelope, keys: list[str]) -> str:
        for key in keys:
            try:
                envelope.verify_by(VerifyKey(bytes.fromhex(key)), self.form.media_type)
            except CryptoRefused:
                continue
            return key
        raise EvidenceNotTrusted(self.not_named)
