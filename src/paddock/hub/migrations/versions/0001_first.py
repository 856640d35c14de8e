"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "parties",
        sa.Column("fingerprint", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("issued", sa.String(20), nullable=False),
        sa.Column("envelope", sa.Text, nullable=False),
    )
    op.create_index("ix_parties_name", "parties", ["name"])
    op.create_table(
        "assets",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("owner", sa.String(64), sa.ForeignKey("parties.fingerprint"), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("asset", sa.String(71), nullable=False),
        sa.Column("envelope", sa.Text, nullable=False),
        sa.UniqueConstraint("owner", "name", "asset", name="one_record_of_an_asset"),
    )
    op.create_index("ix_assets_asset", "assets", ["asset"])
    op.create_table(
        "contracts",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(71), nullable=False, unique=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("level", sa.String(2), nullable=False),
        sa.Column("expires", sa.Integer, nullable=False),
        sa.Column("runs", sa.Integer, nullable=False),
        sa.Column("succeeded", sa.Integer, nullable=False),
        sa.Column("under_way", sa.Integer, nullable=False),
        sa.Column("signed", sa.Text, nullable=False),
        sa.Column("missing", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("envelope", sa.Text, nullable=False),
    )
    op.create_index("contracts_by_state", "contracts", ["state", "number"])
    op.create_table(
        "contract_parties",
        sa.Column("fingerprint", sa.String(64), sa.ForeignKey("parties.fingerprint"), primary_key=True),
        sa.Column("number", sa.Integer, sa.ForeignKey("contracts.number"), primary_key=True),
    )
    op.create_table(
        "runs",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("contract", sa.Integer, sa.ForeignKey("contracts.number"), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("requested_by", sa.String(64), nullable=False),
        sa.Column("requested_at", sa.String(20), nullable=False),
        sa.Column("started_at", sa.String(20)),
        sa.Column("ended_at", sa.String(20)),
        sa.Column("error", sa.Text),
        sa.Column("receipt", sa.Text),
        sa.Column("events", sa.Integer, nullable=False),
        sa.Column("event_bytes", sa.Integer, nullable=False),
    )
    op.create_index("ix_runs_contract", "runs", ["contract"])
    op.create_index("ix_runs_state", "runs", ["state"])
    op.create_table(
        "run_events",
        sa.Column("run", sa.Integer, sa.ForeignKey("runs.number"), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "requests",
        sa.Column("sender", sa.String(64), primary_key=True),
        sa.Column("nonce", sa.String(128), primary_key=True),
        sa.Column("seen", sa.Integer, nullable=False),
    )
    op.create_index("ix_requests_seen", "requests", ["seen"])
    head = op.create_table(
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
    op.bulk_insert(head, [{"id": 1, "size": 0}])
