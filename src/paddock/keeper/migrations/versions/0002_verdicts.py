"""A release is stored with the keeper's verdict on the evidence and the collateral that it rests on.

Revision ID: 0002
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; earlier releases had no verdict and say so."""
    op.add_column("released", sa.Column("verdict", sa.Text, nullable=True))
    op.add_column("released", sa.Column("collateral", sa.LargeBinary, nullable=True))
    released = sa.table("released", sa.column("contract"), sa.column("run"), sa.column("statement"))
    connection = op.get_bind()
    for row in connection.execute(sa.select(released)).all():
        statement = {**json.loads(row.statement), "verdict": None}
        connection.execute(
            sa.update(released)
            .where(released.c.contract == row.contract, released.c.run == row.run)
            .values(statement=json.dumps(statement, sort_keys=True, separators=(",", ":")))
        )
