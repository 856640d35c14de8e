"""A run may have several attempts; the secret that its checkpoints are sealed under is kept until it has ended.

Revision ID: 0003
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What was released before was each run's first attempt, and whether it ended is not known."""
    op.rename_table("released", "released_before")
    op.drop_index("released_by_run_key", "released_before")
    released = op.create_table(
        "released",
        sa.Column("contract", sa.String(71), primary_key=True),
        sa.Column("run", sa.String(32), primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("run_key", sa.String(64), nullable=False),
        sa.Column("run_sign_key", sa.LargeBinary, nullable=False),
        sa.Column("expires", sa.String(20), nullable=False),
        sa.Column("lease_seconds", sa.Integer, nullable=False),
        sa.Column("statement", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=True),
        sa.Column("collateral", sa.LargeBinary, nullable=True),
        sa.Column("finished", sa.Boolean, nullable=False),
    )
    before = sa.table(
        "released_before",
        *(sa.column(column.name) for column in released.columns if column.name not in ("attempt", "finished")),
    )
    connection = op.get_bind()
    for row in connection.execute(sa.select(before)).mappings().all():
        statement = json.dumps({**json.loads(row["statement"]), "attempt": 1}, sort_keys=True, separators=(",", ":"))
        values = {**row, "statement": statement, "attempt": 1, "finished": False}
        connection.execute(sa.insert(released).values(values))
    op.drop_table("released_before")
    op.create_index("released_by_run_key", "released", ["run_key"])
    op.create_table(
        "checkpoint_secrets",
        sa.Column("contract", sa.String(71), primary_key=True),
        sa.Column("run", sa.String(32), primary_key=True),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.Column("expires", sa.String(20), nullable=False),
    )
