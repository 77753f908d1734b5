"""Indexes by which a claim looks at so many lanes of each owner only, and lists and retention by time."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    in_line = sa.text("state = 'queued' AND not_before IS NULL")
    # ix_jobs_lanes is what the version before goes by; the next one drops it
    first = ["project", "owner", sa.text("priority DESC"), "id"]
    op.create_index("ix_jobs_first", "jobs", first, postgresql_where=in_line)
    lines = ["project", "owner", sa.text("md5(lane)"), sa.text("priority DESC"), "id"]
    op.create_index("ix_jobs_lines", "jobs", lines, postgresql_where=in_line)
    op.create_index("ix_jobs_created", "jobs", ["created_at"])
    op.create_index("ix_jobs_ended", "jobs", ["ended_at"], postgresql_where=sa.text("ended_at IS NOT NULL"))
