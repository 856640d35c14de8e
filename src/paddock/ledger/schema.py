"""The ledger's tables, added to the database of the service that keeps it."""

from __future__ import annotations

from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table

_metadata = MetaData()

head = Table(
    "ledger_head",
    _metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("size", Integer, nullable=False),
)
"""One row. Whoever appends changes it first, so that two writers queue on it in every database."""

leaves = Table(
    "ledger_leaves",
    _metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("leaf", LargeBinary, nullable=False),
)

subtrees = Table(
    "ledger_subtrees",
    _metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary(32), nullable=False),
)


def define_tables(metadata: MetaData) -> None:
    """Add the ledger's tables to a service's metadata; its first migration creates them."""
    for table in (head, leaves, subtrees):
        table.to_metadata(metadata)
