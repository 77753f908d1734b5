"""Studies, their trials and rungs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    at = sa.DateTime(timezone=True)
    json = JSONB(none_as_null=True)
    op.create_table(
        "studies",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("id", "project", "owner", "name")),
        sa.Column("benchmark", sa.Text()),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("task", "row")),
        *(sa.Column(name, json, nullable=False) for name in ("request", "base")),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("trials", "epochs")),
        *(sa.Column(name, sa.Text()) for name in ("cluster", "token_hash")),
        sa.Column("lease_expires_at", at),
        sa.Column("drivers", sa.Integer(), nullable=False),
        sa.Column("searched_at", at),
        sa.Column("failed", sa.Text()),
        *(sa.Column(name, at) for name in ("paused_at", "cancelled_at")),
        sa.Column("suite", sa.Text()),
        sa.Column("created_at", at, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.name"], name="fk_studies_project"),
        sa.ForeignKeyConstraint(["suite"], ["suites.id"], name="fk_studies_suite", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_studies"),
    )
    op.create_index("ix_studies_project", "studies", ["project", "id"])
    op.create_table(
        "study_trials",
        sa.Column("study", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("config", json, nullable=False),
        sa.Column("stopped_at", sa.Integer()),
        sa.Column("refused", sa.Text()),
        sa.ForeignKeyConstraint(["study"], ["studies.id"], name="fk_study_trials_study", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study", "number", name="pk_study_trials"),
        sa.UniqueConstraint("study", "key", name="uq_study_trials_study_key"),
    )
    op.create_table(
        "study_rungs",
        sa.Column("study", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("trial", "rung", "epochs")),
        sa.Column("job", sa.Text()),
        sa.Column("value", sa.Double[float]()),
        sa.ForeignKeyConstraint(["study"], ["studies.id"], name="fk_study_rungs_study", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_study_rungs_job", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("study", "trial", "rung", name="pk_study_rungs"),
    )
    op.create_index("ix_study_rungs_job", "study_rungs", ["job"])
    op.add_column("jobs", sa.Column("study", sa.Text()))
    op.create_foreign_key("fk_jobs_study", "jobs", "studies", ["study"], ["id"], ondelete="SET NULL")
    op.create_index("ix_jobs_study", "jobs", ["study"], postgresql_where=sa.text("study IS NOT NULL"))
