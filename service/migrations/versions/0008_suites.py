"""Suites and their runs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    now, at = sa.text("now()"), sa.DateTime(timezone=True)
    op.create_table(
        "suites",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("benchmark", sa.Text()),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("request", JSONB(none_as_null=True), nullable=False),
        sa.Column("max_parallel", sa.Integer()),
        sa.Column("stop_after", sa.Integer()),
        sa.Column("counted_from", at, server_default=now, nullable=False),
        sa.Column("stopped", sa.Text()),
        sa.Column("cancel_requested_at", at),
        sa.Column("mlflow_url", sa.Text()),
        sa.Column("created_at", at, server_default=now, nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.name"], name="fk_suites_project"),
        sa.PrimaryKeyConstraint("id", name="pk_suites"),
    )
    op.create_index("ix_suites_project", "suites", ["project", "id"])
    op.create_table(
        "suite_runs",
        sa.Column("suite", sa.Text(), nullable=False),
        sa.Column("row", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("job", sa.Text()),
        sa.Column("reused", sa.Boolean(), nullable=False),
        sa.Column("refused", sa.Text()),
        sa.Column("seconds", sa.Double[float]()),
        sa.CheckConstraint("refused IS NULL OR job IS NULL", name="refused_has_no_job"),
        sa.ForeignKeyConstraint(["suite"], ["suites.id"], name="fk_suite_runs_suite", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_suite_runs_job", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("suite", "row", "task", "seed", name="pk_suite_runs"),
    )
    op.create_index("ix_suite_runs_job", "suite_runs", ["job"])
    op.add_column("jobs", sa.Column("suite", sa.Text()))
    op.create_foreign_key("fk_jobs_suite", "jobs", "suites", ["suite"], ["id"], ondelete="SET NULL")
    op.create_index("ix_jobs_suite", "jobs", ["suite", "ended_at"], postgresql_where=sa.text("suite IS NOT NULL"))
    op.create_index("ix_jobs_settings", "jobs", ["settings", "seed"])
