"""A run may have several attempts, and goes on from checkpoints.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Runs that are there had one attempt."""
    op.add_column("runs", sa.Column("attempt", sa.Integer, nullable=False, server_default="1"))
    op.create_table(
        "checkpoints",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("run", sa.Integer, sa.ForeignKey("runs.number"), nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("asset", sa.String(71), nullable=False),
        sa.Column("objects", sa.Text, nullable=False),
    )
    op.create_index("ix_checkpoints_run", "checkpoints", ["run"])
