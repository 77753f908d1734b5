"""Deleted jobs are remembered until their files are gone; a reader of all events is one process."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "deleted_jobs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deleted_jobs"),
    )
    op.add_column("cursors", sa.Column("holder", sa.Text()))
    op.add_column("cursors", sa.Column("held_until", sa.DateTime(timezone=True)))
    op.create_index("ix_audit_at", "audit", ["at"])
