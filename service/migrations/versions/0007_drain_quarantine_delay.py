"""Clusters have one dispatcher, places can be closed, a job waits before it is tried again."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_IN_LINE = sa.text("state = 'queued' AND not_before IS NULL")
_HARD = sa.text("reason IN ('crashed', 'lost', 'storage_failed')")


def upgrade() -> None:
    op.add_column("clusters", sa.Column("dispatcher", sa.Text(), server_default="", nullable=False))
    heard = sa.Column("heard_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
    op.add_column("clusters", heard)
    op.add_column("clusters", sa.Column("proof", sa.Text(), server_default="", nullable=False))
    op.create_table(
        "closures",
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["cluster"], ["clusters.name"], name="fk_closures_cluster", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("cluster", "node", "slot", "kind", name="pk_closures"),
    )
    op.create_table(
        "installation",
        sa.Column("one", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.CheckConstraint("one", name="ck_installation_one"),
        sa.PrimaryKeyConstraint("one", name="pk_installation"),
    )

    op.add_column("heartbeats", sa.Column("cluster", sa.Text(), server_default="", nullable=False))
    # what dispatchers said before is not known to be of any one cluster; they say it again within seconds
    op.execute("DELETE FROM heartbeats WHERE part IN ('dispatcher', 'ray')")
    op.drop_constraint("pk_heartbeats", "heartbeats")
    op.create_primary_key("pk_heartbeats", "heartbeats", ["part", "cluster"])

    op.add_column("jobs", sa.Column("not_before", sa.DateTime(timezone=True), nullable=True))
    op.drop_index("ix_jobs_lanes", "jobs")
    op.drop_index("ix_jobs_oldest", "jobs")
    op.create_index(
        "ix_jobs_lanes",
        "jobs",
        ["lane", "project", "owner", sa.literal_column("priority DESC"), "id"],
        postgresql_where=_IN_LINE,
    )
    op.create_index("ix_jobs_oldest", "jobs", ["lane", "project", "owner", "created_at"], postgresql_where=_IN_LINE)
    waiting = sa.text("not_before IS NOT NULL")
    op.create_index("ix_jobs_not_before", "jobs", ["not_before"], postgresql_where=waiting)

    op.add_column("attempts", sa.Column("evicted", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index("ix_attempts_hard", "attempts", ["cluster", "ended_at"], postgresql_where=_HARD)
    op.create_index("ix_attempts_slot", "attempts", ["cluster", "slot", "ended_at"])
