"""Alembic migrations, run by `service.migrate` when the service starts."""
