"""Alembic environment of the hub: `paddock.service.database` opens the connection."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
