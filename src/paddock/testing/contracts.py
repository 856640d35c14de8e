"""Made-up participants and contracts, for tests and benchmarks of what passes contracts on."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from paddock.contract import PartyRecord, Request, Terms, propose
from paddock.contract.asset import AssetKind, AssetRecord
from paddock.contract.party import KeeperRecord
from paddock.contract.terms import VERSION, Keys
from paddock.crypto.digest import sha256_id
from paddock.crypto.dsse import Envelope
from paddock.crypto.identity import PrivateKeys, PublicKeys
from paddock.crypto.moment import write_moment


@dataclass(frozen=True)
class Participant:
    """A party with its keys and those of its keeper."""

    name: str
    keys: PrivateKeys
    keeper: PrivateKeys

    @classmethod
    def generate(cls, name: str) -> Participant:
        """A new one."""
        return cls(name, PrivateKeys.generate(), PrivateKeys.generate())

    @property
    def fingerprint(self) -> str:
        """Of its own keys."""
        return self.keys.public().fingerprint()

    def record(self, *, issued: datetime | None = None, url: str = "http://127.0.0.1:1") -> Envelope:
        """Its signed record."""
        return PartyRecord(
            version="paddock/party/v1",
            name=self.name,
            keys=_keys(self.keys.public()),
            keeper=KeeperRecord(keys=_keys(self.keeper.public()), url=url),
            issued=write_moment(issued or datetime.now(UTC)),
        ).sign(self.keys)

    def asset(self, name: str, kind: AssetKind = AssetKind.DATASET) -> Envelope:
        """A signed asset record under this name."""
        return AssetRecord(
            version="paddock/asset/v1",
            owner=self.fingerprint,
            name=name,
            kind=kind,
            asset=sha256_id(name.encode()),
            stored_bytes=1,
            sealed=write_moment(datetime.now(UTC)),
        ).sign(self.keys)

    def sign(self, contract: Envelope) -> Envelope:
        """The contract with this party's signature added, unchecked."""
        return contract.with_signature(self.keys.sign, self.fingerprint)

    def request(
        self, action: str, body: dict[str, Any], *, at: datetime | None = None, audience: str = "hub"
    ) -> Envelope:
        """A signed request."""
        moment = at or datetime.now(UTC)
        return Request(action, body, audience, self.fingerprint, moment, secrets.token_hex(16)).sign(self.keys.sign)


def proposal(participants: Sequence[Participant], changes: Mapping[str, Any] | None = None) -> Envelope:
    """A contract between these, signed by nobody: the first owns a program and data, all receive the weights.

    Args:
        participants: at least one.
        changes: members of the terms to put in place of the usual ones.
    """
    now = datetime.now(UTC)
    owner = participants[0].name
    names = [each.name for each in participants]
    terms = {
        "version": VERSION,
        "title": "A contract for a test",
        "nonce": secrets.token_hex(16),
        "road": "enclave",
        "level": "L5",
        "created": write_moment(now - timedelta(minutes=1)),
        "expires": write_moment(now + timedelta(days=1)),
        "runs": 2,
        "parties": {
            each.name: {
                "keys": each.keys.public().to_dict(),
                "keeper": each.keeper.public().to_dict(),
            }
            for each in participants
        },
        "inputs": {
            "network": {"owner": owner, "asset": sha256_id(b"network"), "kind": "program", "view": "auto"},
            "records": {"owner": owner, "asset": sha256_id(b"records"), "kind": "dataset", "view": "auto"},
        },
        "steps": [
            {
                "name": "training",
                "kind": "train",
                "inputs": {"program": ["network"], "data": ["records"]},
                "parameters": {},
            }
        ],
        "outputs": {
            "weights": {"source": "training.weights", "to": names, "type": "weights", "max_bytes": 1 << 20},
        },
        "environment": {"measurements": [sha256_id(b"runtime")], "simulated": True},
        "limits": {
            "memory_bytes": 1 << 30,
            "lease_seconds": 30,
            "attempts": 2,
            "checkpoint_seconds": 60,
            "run_seconds": 3600,
            "processes": 64,
            "scratch_bytes": 1 << 20,
            "output_bytes": 1 << 20,
        },
        **(changes or {}),
    }
    return propose(Terms.model_validate(terms, strict=False))


def _keys(public: PublicKeys) -> Keys:
    return Keys(**public.to_dict())
