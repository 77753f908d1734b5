"""Limits of projects, and what they store."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for name, kind in (
        ("max_queued", sa.Integer()),
        ("max_running", sa.Integer()),
        ("highest_priority", sa.Integer()),
        ("default_max_runtime_s", sa.Double[float]()),
        ("max_stored_bytes", sa.BigInteger()),
    ):
        op.add_column("projects", sa.Column(name, kind))
    op.add_column("projects", sa.Column("stored_bytes", sa.BigInteger(), server_default="0", nullable=False))
