"""The node of a cluster that is kept for a large job."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("clusters", sa.Column("reserved", JSONB))
