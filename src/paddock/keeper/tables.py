"""The keeper's durable state."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

from paddock.ledger.schema import define_tables

metadata = MetaData()

deposits = Table(
    "deposits",
    metadata,
    Column("asset", String(71), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("deposited", String(20), nullable=False),
)
challenges = Table(
    "challenges",
    metadata,
    Column("nonce", String(64), primary_key=True),
    Column("contract", String(71), nullable=False),
    Column("run", String(32), nullable=False),
    Column("expires", String(20), nullable=False),
    Column("used", Boolean, nullable=False),
    Index("challenges_by_expiry", "expires"),
)
released = Table(
    "released",
    metadata,
    Column("contract", String(71), primary_key=True),
    Column("run", String(32), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("run_key", String(64), nullable=False),
    Column("run_sign_key", LargeBinary, nullable=False),
    Column("expires", String(20), nullable=False),
    Column("lease_seconds", Integer, nullable=False),
    Column("statement", Text, nullable=False),
    Column("verdict", Text, nullable=True),
    Column("collateral", LargeBinary, nullable=True),
    Column("finished", Boolean, nullable=False),
    Index("released_by_run_key", "run_key"),
)
checkpoint_secrets = Table(
    "checkpoint_secrets",
    metadata,
    Column("contract", String(71), primary_key=True),
    Column("run", String(32), primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("expires", String(20), nullable=False),
)
revocations = Table(
    "revocations",
    metadata,
    Column("subject", String(71), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("at", String(20), nullable=False),
)
requests = Table(
    "requests",
    metadata,
    Column("by", String(64), primary_key=True),
    Column("nonce", String(128), primary_key=True),
    Column("at", String(20), nullable=False),
    Index("requests_by_time", "at"),
)
define_tables(metadata)
