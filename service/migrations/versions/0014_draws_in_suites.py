"""Draws of training images, each a run of its own in a suite."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("suite_runs", sa.Column("draw", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.drop_constraint("pk_suite_runs", "suite_runs", type_="primary")
    op.create_primary_key("pk_suite_runs", "suite_runs", ["suite", "row", "task", "seed", "draw"])
