"""The keeper's database through the versions (Alembic)."""
