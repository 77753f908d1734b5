"""Jobs in the order of what they measured."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.create_index("ix_jobs_value", "jobs", ["value", "id"], postgresql_where=sa.text("value IS NOT NULL"))
