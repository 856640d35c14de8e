"""The form of a receipt: an in-toto statement (v1) whose subjects are the outputs, in a DSSE envelope.

Everything that is needed to verify it offline is inside: the contract with all signatures, the evidence, the binding,
the keepers' statements, and the outputs' data keys wrapped to their recipients.

Source: in-toto attestation framework v1; docs/spec/receipt.md (V-1 to V-10).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from paddock.crypto.canonical import canonical
from paddock.crypto.dsse import Envelope
from paddock.crypto.identity import PrivateKeys
from paddock.crypto.moment import Moment

RECEIPT_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:paddock:receipt:v1"

_Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
_Json = dict[str, Any]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class OutputReceipt(_Strict):
    """One output: its asset id, how many bytes are stored, and its data key wrapped to each recipient's fingerprint."""

    asset: _Digest
    stored_bytes: Annotated[int, Field(ge=0)]
    to: dict[str, str]


class KeeperReceipt(_Strict):
    """One keeper's signed statements: that it released, its verdict on the evidence (an EAR token), the last lease.

    `collateral` is the digest of what the verdict rests on; verdict and collateral are null where the level demanded no
    evidence.
    """

    release: _Json
    lease: _Json
    verdict: Annotated[str, StringConstraints(max_length=1 << 16)] | None
    collateral: _Digest | None


class Receipt(_Strict):
    """What a run did."""

    version: Literal["paddock/receipt/v1"]
    run: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    contract_id: _Digest
    contract: _Json
    binding: _Json
    evidence: list[Any] | dict[str, Any] | None
    collateral: dict[_Digest, str]
    simulated: bool
    measurement: _Digest | None
    keepers: dict[str, KeeperReceipt]
    inputs: dict[str, _Digest]
    outputs: dict[str, OutputReceipt]
    resumed: _Digest | None
    started: Moment
    ended: Moment

    def statement(self) -> bytes:
        """The in-toto statement as canonical JSON."""
        subjects = [
            {"name": name, "digest": {"sha256": output.asset.removeprefix("sha256:")}}
            for name, output in sorted(self.outputs.items())
        ]
        return canonical(
            {
                "_type": STATEMENT_TYPE,
                "subject": subjects,
                "predicateType": PREDICATE_TYPE,
                "predicate": self.model_dump(mode="json"),
            }
        )


def sign_receipt(receipt: Receipt, keys: PrivateKeys) -> Envelope:
    """The receipt in an envelope, signed by the run's attested key."""
    return Envelope.sign(RECEIPT_TYPE, receipt.statement(), keys.sign, keys.public().fingerprint())


def wrap_purpose(contract: str, run: str, output: str) -> str:
    """The purpose under which an output's data key is wrapped: it fits this run's output alone."""
    return f"output/{contract}/{run}/{output}"
