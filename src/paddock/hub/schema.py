"""The hub's tables. The migrations create them; a test holds both against each other."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

from paddock.ledger.schema import define_tables

metadata = MetaData()

parties = Table(
    "parties",
    metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("name", String(63), nullable=False, index=True),
    Column("issued", String(20), nullable=False),
    Column("envelope", Text, nullable=False),
)

assets = Table(
    "assets",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("owner", String(64), ForeignKey("parties.fingerprint"), nullable=False),
    Column("name", String(63), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("asset", String(71), nullable=False, index=True),
    Column("envelope", Text, nullable=False),
    UniqueConstraint("owner", "name", "asset", name="one_record_of_an_asset"),
)

contracts = Table(
    "contracts",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String(71), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("title", String(200), nullable=False),
    Column("level", String(2), nullable=False),
    Column("expires", Integer, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("succeeded", Integer, nullable=False),
    Column("under_way", Integer, nullable=False),
    Column("signed", Text, nullable=False),
    Column("missing", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("envelope", Text, nullable=False),
    Index("contracts_by_state", "state", "number"),
)

contract_parties = Table(
    "contract_parties",
    metadata,
    Column("fingerprint", String(64), ForeignKey("parties.fingerprint"), primary_key=True),
    Column("number", Integer, ForeignKey("contracts.number"), primary_key=True),
)

runs = Table(
    "runs",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("contract", Integer, ForeignKey("contracts.number"), nullable=False, index=True),
    Column("state", String(16), nullable=False, index=True),
    Column("requested_by", String(64), nullable=False),
    Column("requested_at", String(20), nullable=False),
    Column("started_at", String(20)),
    Column("ended_at", String(20)),
    Column("error", Text),
    Column("receipt", Text),
    Column("events", Integer, nullable=False),
    Column("event_bytes", Integer, nullable=False),
    Column("attempt", Integer, nullable=False, server_default="1"),
)

run_events = Table(
    "run_events",
    metadata,
    Column("run", Integer, ForeignKey("runs.number"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("event", String(16), nullable=False),
    Column("body", Text, nullable=False),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("run", Integer, ForeignKey("runs.number"), nullable=False, index=True),
    Column("id", String(32), nullable=False),
    Column("asset", String(71), nullable=False),
    Column("objects", Text, nullable=False),
)

requests = Table(
    "requests",
    metadata,
    Column("sender", String(64), primary_key=True),
    Column("nonce", String(128), primary_key=True),
    Column("seen", Integer, nullable=False, index=True),
)

define_tables(metadata)
