"""The index of each owner's first jobs has their lanes in it; the one that nobody goes by any more is dropped."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_IN_LINE = sa.text("state = 'queued' AND not_before IS NULL")


def upgrade() -> None:
    op.drop_index("ix_jobs_lanes", "jobs")
    op.drop_index("ix_jobs_first", "jobs")
    columns = ["project", "owner", sa.text("priority DESC"), "id"]
    op.create_index("ix_jobs_first", "jobs", columns, postgresql_include=["lane"], postgresql_where=_IN_LINE)
