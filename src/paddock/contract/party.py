"""Party records: who I am, and which keeper acts for me; signed by myself.

A record is self-signed: it proves possession of its keys and nothing about the person behind them. Trust comes from
the fingerprint alone, compared out of band (C-11).

Source: docs/spec/contract.md §4 (C-17).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from paddock.contract.terms import Keys
from paddock.crypto.canonical import canonical, parse
from paddock.crypto.canonical import parse_canonical as _parse_canonical
from paddock.crypto.dsse import Envelope
from paddock.crypto.identity import PrivateKeys
from paddock.crypto.moment import Moment
from paddock.errors import CryptoRefused, RecordRefused

PARTY_TYPE = "application/vnd.paddock.party.v1+json"


class KeeperRecord(BaseModel):
    """A keeper's public keys and the address under which it answers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    keys: Keys
    url: Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.\-\[\]:]{1,255}(/[A-Za-z0-9._/-]{0,255})?$")]


class PartyRecord(BaseModel):
    """Name (a suggestion; the reader keeps its own), keys and keeper."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal["paddock/party/v1"]
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
    keys: Keys
    keeper: KeeperRecord
    issued: Moment

    def fingerprint(self) -> str:
        """The fingerprint of the party's own keys."""
        return self.keys.public().fingerprint()

    def sign(self, keys: PrivateKeys) -> Envelope:
        """The record in an envelope, signed by the party itself."""
        if self.fingerprint() != keys.public().fingerprint():
            raise RuntimeError("a party record is signed with the party's own keys only")
        return Envelope.sign(PARTY_TYPE, canonical(self.model_dump(mode="json")), keys.sign, self.fingerprint())


def read_party(envelope: Envelope) -> PartyRecord:
    """The record, if it is signed by the very keys it names.

    Raises:
        RecordRefused: it is not, or is not well formed (C-17).
    """
    try:
        # The keys to verify with are inside: read them first, trust nothing, then verify with them.
        parse(envelope.payload, max_bytes=1 << 16)
        claimed = PartyRecord.model_validate_json(envelope.payload)
        payload = envelope.verify_by(claimed.keys.public().sign, PARTY_TYPE)  # C-17
        _parse_canonical(payload, max_bytes=1 << 16)
        claimed.keeper.keys.public()
    except (CryptoRefused, ValidationError) as error:
        raise RecordRefused("A party record is not signed by the keys it names or not well formed.") from error
    return claimed
