"""When something of an upload last came: by which the abandoned ones are known."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    touched = sa.Column("touched_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
    op.add_column("datasets", touched)
