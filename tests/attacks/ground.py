"""What every attack stands on: a level, an empty folder, and honest pieces of a run at that level to tamper with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from paddock.contract import SignedContract
from paddock.contract.levels import Level, Tee
from paddock.crypto.dsse import Envelope
from paddock.evidence import Binding, UnverifiedEvidence
from paddock.release import Grant, KeeperFacts, ReleaseRequest
from tests.fixtures import proof
from tests.fixtures.cast import NAMES, NOW, Change, contract, raw_envelope, signed, terms_dict
from tests.fixtures.receipts import receipt_dict

TEES = {
    Level.L1: Tee.NONE,
    Level.L2: Tee.SOFTWARE,
    Level.L3: Tee.MEASURED_HOST,
    Level.L4: Tee.CONFIDENTIAL_VM,
    Level.L5: Tee.ENCLAVE,
}
"""The least that satisfies each level."""


@dataclass(frozen=True)
class Ground:
    """Where an attack takes place.

    Args:
        level: of the contract that is attacked.
        defended: whether everything stands; else the attack's own defence is taken away.
        folder: empty.
    """

    level: Level
    defended: bool
    folder: Path

    def change(self, more: Change | None = None) -> Change:
        """What makes the usual contract one of this level, and then `more`."""

        def change(value: dict[str, Any]) -> None:
            value["level"] = self.level.value
            if more is not None:
                more(value)

        return change

    def signed(self, more: Change | None = None, signers: tuple[str, ...] = NAMES) -> Envelope:
        """A contract of this level, signed."""
        return signed(self.change(more), signers)

    def raw(self, more: Change) -> Envelope:
        """Any JSON of this level, signed by all as if it were a contract: the parties may not have read it."""
        value = terms_dict()
        self.change(more)(value)
        return raw_envelope(value)

    def contract(self, more: Change | None = None) -> SignedContract:
        """A contract of this level, signed by all and verified."""
        return contract(self.change(more))

    def evidence(self, bound: Binding, **claims: Any) -> UnverifiedEvidence | None:
        """What honest hardware of this level says about a binding; none at L1."""
        if self.level is Level.L1:
            return None
        return proof.evidence(bound.report_data(), **{"tee": TEES[self.level].value, **claims})

    def request(self, more: Change | None = None, **claims: Any) -> ReleaseRequest:
        """What an honest enclave asks a keeper; `claims` change what the hardware says."""
        envelope = self.signed(more)
        bound = proof.binding(self.contract(more))
        return self.asking(envelope, bound, self.evidence(bound, **claims))

    def asking(self, envelope: Envelope, bound: Binding, evidence: UnverifiedEvidence | None) -> ReleaseRequest:
        """A request of these three."""
        from paddock.evidence import EvidenceSet

        return ReleaseRequest(envelope, bound, None if evidence is None else EvidenceSet.single(evidence))

    def receipt(self) -> dict[str, Any]:
        """The receipt of an honest run at this level, as JSON values."""
        with_evidence = self.level is not Level.L1
        return receipt_dict(self.change(), with_evidence=with_evidence, tee=TEES[self.level].value)

    def judge(self, asked: ReleaseRequest | None = None, *, now: datetime = NOW, **facts: Any) -> Grant:
        """A keeper's decision; `facts` change what it knows before."""
        asked = asked or self.request()
        return proof.judge(asked, self.facts(asked, **facts), now=now)

    def facts(self, asked: ReleaseRequest, **facts: Any) -> KeeperFacts:
        """What the keeper of north knows before the run's first release."""
        return proof.facts(asked, **facts)
