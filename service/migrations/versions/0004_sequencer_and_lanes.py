"""Positions of events are drawn after their commit; the queue is read by lanes; tables by an index of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_QUEUED = sa.text("state = 'queued'")


def upgrade() -> None:
    op.create_table(
        "event_log",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("deletions", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event_log"),
    )
    op.add_column("job_events", sa.Column("position", sa.BigInteger(), nullable=True))
    op.execute("UPDATE job_events SET position = id")
    op.execute("INSERT INTO event_log (id, last) SELECT 1, coalesce(max(id), 0) FROM job_events")
    op.create_index(
        "ix_job_events_position",
        "job_events",
        ["position"],
        unique=True,
        postgresql_where=sa.text("position IS NOT NULL"),
    )
    op.create_index("ix_job_events_unnumbered", "job_events", ["id"], postgresql_where=sa.text("position IS NULL"))
    op.create_index(
        "ix_job_events_moves",
        "job_events",
        ["position"],
        postgresql_where=sa.text("type = 'state' AND position IS NOT NULL"),
    )

    op.add_column("jobs", sa.Column("lane", sa.Text(), nullable=True))
    op.execute("UPDATE jobs SET lane = format('[\"%s\", %s]', device, coalesce(memory_bytes, 0))")
    op.alter_column("jobs", "lane", nullable=False)
    op.drop_index("ix_jobs_queue", "jobs")
    op.create_index(
        "ix_jobs_lanes",
        "jobs",
        ["lane", "project", "owner", sa.literal_column("priority DESC"), "id"],
        postgresql_where=_QUEUED,
    )
    op.create_index("ix_jobs_oldest", "jobs", ["lane", "project", "owner", "created_at"], postgresql_where=_QUEUED)

    op.add_column(
        "jobs",
        sa.Column(
            "settings",
            sa.Text(),
            sa.Computed("md5((spec - 'seed' - 'resources')::text)", persisted=True),
            nullable=False,
        ),
    )
    op.add_column("jobs", sa.Column("value", sa.Double[float](), nullable=True))
    op.execute("""
        UPDATE jobs SET value = (
            SELECT (metric->>'value')::float8 FROM jsonb_array_elements(result->'metrics') AS metric
            WHERE metric->>'metric' = 'accuracy'
              AND metric->>'split' = CASE phase WHEN 'final' THEN 'test' ELSE 'val' END
            LIMIT 1
        ) WHERE state = 'succeeded'
    """)
    op.drop_index("ix_jobs_benchmark", "jobs")
    op.create_index(
        "ix_jobs_runs",
        "jobs",
        ["benchmark", "phase", "task", "row", "id"],
        postgresql_include=["project", "state", "reason", "cell", "seed", "settings", "value"],
    )
    op.create_index("ix_jobs_state", "jobs", ["project", "state", "id"])
    op.create_index("ix_jobs_owner", "jobs", ["project", "owner", "id"])
    op.create_index("ix_jobs_retry_of", "jobs", ["retry_of"], postgresql_where=sa.text("retry_of IS NOT NULL"))
    words = (
        "to_tsvector('simple', regexp_replace(name || ' ' || \"row\" || ' ' || task || ' ' || id,"
        " '[^[:alnum:]]+', ' ', 'g'))"
    )
    op.create_index("ix_jobs_words", "jobs", [sa.text(words)], postgresql_using="gin")
