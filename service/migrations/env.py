"""Runs migrations on the connection that `service.migrate` opened (Alembic loads this file)."""

from alembic import context

from service.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
