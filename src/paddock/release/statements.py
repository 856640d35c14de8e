"""What a keeper signs: that it released keys to a run, that the run may go on until a time, what it answered its owner.

Source: docs/spec/release.md §3 and §4 (R-14, R-15, R-18).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from paddock.crypto.canonical import canonical, parse_canonical
from paddock.crypto.digest import sha256_id
from paddock.crypto.dsse import Envelope
from paddock.crypto.identity import PrivateKeys
from paddock.crypto.moment import Moment
from paddock.crypto.signing import VerifyKey
from paddock.errors import CryptoRefused, LeaseRefused, StatementRefused

RELEASE_TYPE = "application/vnd.paddock.release.v1+json"
LEASE_TYPE = "application/vnd.paddock.lease.v1+json"
ANSWER_TYPE = "application/vnd.paddock.answer.v1+json"
PROOF = "proof"
_MAX_BYTES = 1 << 18

_Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
_Fingerprint = Annotated[str, StringConstraints(pattern=r"^[A-Z2-7]{4}(-[A-Z2-7]{4}){12}$")]
_Run = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class ReleaseStatement(BaseModel):
    """Keys of these assets were released, on this evidence and verdict, to this run key."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal["paddock/release/v1"]
    contract: _Digest
    run: _Run
    run_key: _Fingerprint
    keeper: _Fingerprint
    assets: list[_Digest]
    evidence: _Digest | None
    verdict: _Digest | None
    measurement: _Digest | None
    simulated: bool
    attempt: Annotated[int, Field(ge=1)]
    at: Moment
    ledger_index: Annotated[int, Field(ge=0)]

    def to_bytes(self) -> bytes:
        """The canonical bytes that are signed and, without them, logged."""
        return canonical(self.model_dump(mode="json"))

    def sign(self, keys: PrivateKeys) -> Envelope:
        """The statement in an envelope, signed by the keeper."""
        return Envelope.sign(RELEASE_TYPE, self.to_bytes(), keys.sign, self.keeper)


class LeaseStatement(BaseModel):
    """The run with this key may go on until `until`. `nonce` is the asker's, so that no lease is replayed.

    After a `final` one its keeper gives the run no other, nor keys (R-23).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal["paddock/lease/v1"]
    contract: _Digest
    run: _Run
    run_key: _Fingerprint
    keeper: _Fingerprint
    nonce: _Run
    final: bool
    until: Moment

    def sign(self, keys: PrivateKeys) -> Envelope:
        """The statement in an envelope, signed by the keeper."""
        return Envelope.sign(LEASE_TYPE, canonical(self.model_dump(mode="json")), keys.sign, self.keeper)


def read_release(envelope: Envelope, keeper: VerifyKey) -> ReleaseStatement:
    """The statement, if this keeper signed it.

    Raises:
        StatementRefused: another signer, or not well formed (R-14).
    """
    try:
        payload = envelope.verify_by(keeper, RELEASE_TYPE)
        parse_canonical(payload, max_bytes=_MAX_BYTES)
        return ReleaseStatement.model_validate_json(payload)
    except (CryptoRefused, ValidationError) as error:
        raise StatementRefused("A release statement is not signed by the keeper or not well formed.") from error


def read_lease(envelope: Envelope, keeper: VerifyKey) -> LeaseStatement:
    """The lease, if this keeper signed it.

    Raises:
        LeaseRefused: another signer, or not well formed (R-15): whoever stands between cannot prolong a lease.
    """
    try:
        payload = envelope.verify_by(keeper, LEASE_TYPE)
        parse_canonical(payload, max_bytes=_MAX_BYTES)
        return LeaseStatement.model_validate_json(payload)
    except (CryptoRefused, ValidationError) as error:
        raise LeaseRefused("What came back is not a lease signed by the keeper.") from error


def sign_answer(request: Envelope, answer: dict[str, Any], keys: PrivateKeys) -> dict[str, Any]:
    """A keeper's answer to its owner with the member `proof`: signed over the digests of request and answer."""
    proof = Envelope.sign(ANSWER_TYPE, _answered(request, answer), keys.sign, keys.public().fingerprint())
    return {**answer, PROOF: proof.to_dict()}


def read_answer(answer: dict[str, Any], request: Envelope, keeper: VerifyKey) -> dict[str, Any]:
    """The answer without its proof, if this keeper gave it to this very request.

    Raises:
        StatementRefused: it did not (R-18): whoever answers in its place can swallow a revocation.
    """
    said = {name: value for name, value in answer.items() if name != PROOF}
    try:
        signed = Envelope.from_dict(answer.get(PROOF)).verify_by(keeper, ANSWER_TYPE)
        if signed != _answered(request, said):
            raise StatementRefused("The keeper's answer is to another request, or was changed.")
    except CryptoRefused as error:
        raise StatementRefused(
            "The answer is not signed by your keeper: it may not have done what was asked."
        ) from error
    return said


def _answered(request: Envelope, answer: dict[str, Any]) -> bytes:
    return canonical({"answer": sha256_id(canonical(answer)), "request": sha256_id(request.payload)})


def grant_info(contract: str, run: str, keeper: str) -> bytes:
    """The HPKE `info` under which a keeper seals data keys to a run key: no grant fits another run or contract."""
    return b"paddock/grant/v1\0" + canonical({"contract": contract, "keeper": keeper, "run": run})
