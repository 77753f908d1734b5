"""Studies of a suite's rows, what matters in a study, and whether the tracking has it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    for name in ("parent", "mlflow_url"):
        op.add_column("studies", sa.Column(name, sa.Text()))
    op.add_column("studies", sa.Column("importance", JSONB(none_as_null=True)))
    op.add_column("studies", sa.Column("tracked", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_foreign_key("fk_studies_parent", "studies", "suites", ["parent"], ["id"], ondelete="SET NULL")
    op.create_index("ix_studies_parent", "studies", ["parent"], postgresql_where=sa.text("parent IS NOT NULL"))
    untracked = sa.text("searched_at IS NOT NULL AND NOT tracked")
    op.create_index("ix_studies_untracked", "studies", ["id"], postgresql_where=untracked)
    op.add_column("suite_runs", sa.Column("study", sa.Text()))
    op.create_foreign_key("fk_suite_runs_study", "suite_runs", "studies", ["study"], ["id"], ondelete="SET NULL")
    op.create_index("ix_suite_runs_study", "suite_runs", ["study"], postgresql_where=sa.text("study IS NOT NULL"))
