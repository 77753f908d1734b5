"""Where the adapter lies from which a job starts."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    # not filled for jobs of before: their init_from may be any address, which workers open no more
    op.add_column("jobs", sa.Column("init_uri", sa.Text()))
