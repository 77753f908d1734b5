"""Counts of jobs that ended lately, by state, come from the index by which they are found."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.drop_index("ix_jobs_ended", "jobs")
    ended = sa.text("ended_at IS NOT NULL")
    op.create_index(
        "ix_jobs_ended", "jobs", ["ended_at"], postgresql_where=ended, postgresql_include=["project", "state"]
    )
