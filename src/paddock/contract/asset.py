"""Asset records: an owner's signed statement of what it sealed. Public facts only.

Source: docs/spec/contract.md §4 (C-18).
"""

from __future__ import annotations

import enum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from paddock.crypto.canonical import canonical, parse_canonical
from paddock.crypto.digest import is_digest
from paddock.crypto.dsse import Envelope
from paddock.crypto.identity import PrivateKeys, PublicKeys
from paddock.crypto.moment import Moment
from paddock.errors import CryptoRefused, RecordRefused

ASSET_TYPE = "application/vnd.paddock.asset.v1+json"


class AssetKind(enum.StrEnum):
    """What a sealed volume holds."""

    DATASET = "dataset"
    PROGRAM = "program"
    WEIGHTS = "weights"
    SCRIPT = "script"


class AssetRecord(BaseModel):
    """One sealed volume under a name that its owner chose. The name is public."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal["paddock/asset/v1"]
    owner: Annotated[str, StringConstraints(pattern=r"^[A-Z2-7]{4}(-[A-Z2-7]{4}){12}$")]
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
    kind: AssetKind
    asset: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    stored_bytes: Annotated[int, Field(ge=0, le=1 << 53)]
    sealed: Moment

    def sign(self, keys: PrivateKeys) -> Envelope:
        """The record in an envelope, signed by its owner."""
        if self.owner != keys.public().fingerprint():
            raise RuntimeError("an asset record is signed by its owner only")
        return Envelope.sign(ASSET_TYPE, canonical(self.model_dump(mode="json")), keys.sign, self.owner)


def read_asset(envelope: Envelope, owner: PublicKeys) -> AssetRecord:
    """The record, if its owner signed it.

    Args:
        envelope: what the hub passed on.
        owner: the owner's keys, from the reader's own address book.

    Raises:
        RecordRefused: another signer, another owner, or not well formed (C-18).
    """
    try:
        payload = envelope.verify_by(owner.sign, ASSET_TYPE)
        parse_canonical(payload, max_bytes=1 << 16)
        record = AssetRecord.model_validate_json(payload)
    except (CryptoRefused, ValidationError) as error:
        raise RecordRefused("An asset record is not signed by its owner or not well formed.") from error
    if record.owner != owner.fingerprint() or not is_digest(record.asset):  # C-18
        raise RecordRefused("An asset record names another owner than the one who signed it.")
    return record
