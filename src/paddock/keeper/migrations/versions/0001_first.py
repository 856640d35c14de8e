"""The first schema. Written out, not taken from today's tables: it must stay what it was.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

from paddock.ledger.log import start

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table of version 0.1."""
    op.create_table(
        "deposits",
        sa.Column("asset", sa.String(71), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.Column("deposited", sa.String(20), nullable=False),
    )
    op.create_table(
        "challenges",
        sa.Column("nonce", sa.String(64), primary_key=True),
        sa.Column("contract", sa.String(71), nullable=False),
        sa.Column("run", sa.String(32), nullable=False),
        sa.Column("expires", sa.String(20), nullable=False),
        sa.Column("used", sa.Boolean, nullable=False),
    )
    op.create_index("challenges_by_expiry", "challenges", ["expires"])
    op.create_table(
        "released",
        sa.Column("contract", sa.String(71), primary_key=True),
        sa.Column("run", sa.String(32), primary_key=True),
        sa.Column("run_key", sa.String(64), nullable=False),
        sa.Column("run_sign_key", sa.LargeBinary, nullable=False),
        sa.Column("expires", sa.String(20), nullable=False),
        sa.Column("lease_seconds", sa.Integer, nullable=False),
        sa.Column("statement", sa.Text, nullable=False),
    )
    op.create_index("released_by_run_key", "released", ["run_key"])
    op.create_table(
        "revocations",
        sa.Column("subject", sa.String(71), primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.String(20), nullable=False),
    )
    op.create_table(
        "requests",
        sa.Column("by", sa.String(64), primary_key=True),
        sa.Column("nonce", sa.String(128), primary_key=True),
        sa.Column("at", sa.String(20), nullable=False),
    )
    op.create_index("requests_by_time", "requests", ["at"])
    op.create_table(
        "ledger_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("size", sa.Integer, nullable=False),
    )
    op.create_table(
        "ledger_leaves",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "ledger_subtrees",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
    )
    start(op.get_bind())
