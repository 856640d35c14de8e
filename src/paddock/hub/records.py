"""Records of parties and assets, passed on as they were signed."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, insert, select, update

from paddock.contract.asset import AssetRecord, read_asset
from paddock.contract.party import PartyRecord, read_party
from paddock.crypto.canonical import parse
from paddock.crypto.dsse import Envelope
from paddock.crypto.identity import PublicKeys
from paddock.errors import EncodingRefused, NotFound, RecordOutdated, RecordRefused, SenderUnknown
from paddock.hub.schema import assets, parties

MAX_LISTED = 1000
Json = dict[str, Any]


def put_party(connection: Connection, envelope: Envelope) -> str:
    """Keep a party's record, in place of an older one of the same keys; its fingerprint.

    Raises:
        RecordRefused: not signed by the keys it names.
        RecordOutdated: a newer one is here.
    """
    record = read_party(envelope)
    fingerprint, written = record.fingerprint(), envelope.to_json().decode()
    row = connection.execute(select(parties).where(parties.c.fingerprint == fingerprint)).first()
    values = {"name": record.name, "issued": record.issued, "envelope": written}
    if row is None:
        connection.execute(insert(parties).values(fingerprint=fingerprint, **values))
    elif row.envelope != written:
        if record.issued < row.issued:
            raise RecordOutdated
        connection.execute(update(parties).where(parties.c.fingerprint == fingerprint).values(**values))
    return fingerprint


def party_envelope(connection: Connection, fingerprint: str) -> Json:
    """A party's record.

    Raises:
        NotFound: there is none.
    """
    row = connection.execute(select(parties.c.envelope).where(parties.c.fingerprint == fingerprint)).first()
    if row is None:
        raise NotFound("No party with that fingerprint has published its record.")
    return {"envelope": parse(row.envelope.encode())}


def list_parties(connection: Connection, name: str | None) -> list[Json]:
    """Records by suggested name; several parties may suggest the same."""
    query = select(parties.c.envelope).order_by(parties.c.issued.desc()).limit(MAX_LISTED)
    if name is not None:
        query = query.where(parties.c.name == name)
    return [{"envelope": parse(text.encode())} for text in connection.execute(query).scalars()]


def keys_of(connection: Connection, fingerprint: str) -> PublicKeys:
    """The keys behind a fingerprint.

    Raises:
        SenderUnknown: they were never published here.
    """
    return record_of(connection, fingerprint).keys.public()


def record_of(connection: Connection, fingerprint: str) -> PartyRecord:
    """The record behind a fingerprint. It was verified when it came.

    Raises:
        SenderUnknown: it was never published here.
    """
    row = connection.execute(select(parties.c.envelope).where(parties.c.fingerprint == fingerprint)).first()
    if row is None:
        raise SenderUnknown
    return PartyRecord.model_validate_json(Envelope.from_json(row.envelope.encode()).payload)


def put_asset(connection: Connection, envelope: Envelope) -> str:
    """Keep an asset's record; the asset's id.

    Raises:
        SenderUnknown: its owner has not published its own record.
        RecordRefused: not signed by the owner it names.
    """
    try:
        claimed = AssetRecord.model_validate_json(envelope.payload)
    except ValidationError as error:
        raise RecordRefused("An asset record is not well formed.") from error
    record = read_asset(envelope, keys_of(connection, claimed.owner))
    known = select(assets.c.number).where(
        assets.c.owner == record.owner, assets.c.name == record.name, assets.c.asset == record.asset
    )
    if connection.execute(known).first() is None:
        connection.execute(
            insert(assets).values(
                owner=record.owner,
                name=record.name,
                kind=record.kind.value,
                asset=record.asset,
                envelope=envelope.to_json().decode(),
            )
        )
    return record.asset


def list_assets(
    connection: Connection, owner: str | None, name: str | None, kind: str | None, asset: str | None
) -> list[Json]:
    """Asset records that fit, newest first."""
    query = select(assets.c.envelope).order_by(assets.c.number.desc()).limit(MAX_LISTED)
    for column, value in (
        (assets.c.owner, owner),
        (assets.c.name, name),
        (assets.c.kind, kind),
        (assets.c.asset, asset),
    ):
        if value is not None:
            query = query.where(column == value)
    return [{"envelope": parse(text.encode())} for text in connection.execute(query).scalars()]


def read_envelope(body: bytes, max_bytes: int) -> Envelope:
    """The envelope in a message's body.

    Raises:
        EncodingRefused: not an envelope.
    """
    if not body:
        raise EncodingRefused("The message is empty; a DSSE envelope was expected.")
    return Envelope.from_json(body, max_bytes=max_bytes)
