"""Uploaded data sets."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    now, at = sa.text("now()"), sa.DateTime(timezone=True)
    op.create_table(
        "datasets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("job", sa.Text()),
        sa.Column("completed_at", at),
        sa.Column("created_at", at, server_default=now, nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.name"], name="fk_datasets_project"),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_datasets_job", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_datasets"),
        sa.UniqueConstraint("project", "name", name="uq_datasets_name"),
    )
