"""Attempts know the hash of their lease's token."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # no token has the empty hash: what runs while this is done is leased anew
    op.add_column("attempts", sa.Column("token_hash", sa.Text(), server_default="", nullable=False))
