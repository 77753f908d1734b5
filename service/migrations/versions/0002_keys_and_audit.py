"""Roles, expiry and last use of keys; archived projects; the audit."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("projects", sa.Column("archived_at", sa.DateTime(timezone=True)))
    op.add_column("api_keys", sa.Column("name", sa.Text(), server_default="", nullable=False))
    op.add_column("api_keys", sa.Column("cluster", sa.Text()))
    op.add_column("api_keys", sa.Column("last_used_at", sa.DateTime(timezone=True)))
    op.add_column("api_keys", sa.Column("expires_at", sa.DateTime(timezone=True)))
    op.execute("UPDATE api_keys SET cluster = 'local' WHERE role = 'worker'")
    for name in ("workers_have_no_project", "role"):  # 0001's names came out with their prefix twice
        op.drop_constraint(op.f(f"ck_api_keys_ck_api_keys_{name}"), "api_keys")
    for name, rule in (
        ("role", "role IN ('user', 'reader', 'worker', 'tracking', 'admin')"),
        ("parts_have_no_project", "(role IN ('tracking', 'worker')) = (project IS NULL)"),
        ("workers_have_a_cluster", "(role = 'worker') = (cluster IS NOT NULL)"),
    ):
        op.create_check_constraint(op.f(f"ck_api_keys_{name}"), "api_keys", rule)
    op.create_index("ix_api_keys_owner", "api_keys", ["owner"])
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=True),
        sa.Column("detail", JSONB(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("request", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_target", "audit", ["target", "id"])
    op.create_index("ix_audit_actor", "audit", ["actor", "id"])
