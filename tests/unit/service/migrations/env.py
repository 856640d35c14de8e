"""A service's Alembic environment, as small as it can be."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
