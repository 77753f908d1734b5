"""Table of API keys."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base
from service.keys.roles import Role


class ApiKey(Base):
    """One key; its secret is shown once, when it is made."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint(f"role IN ({', '.join(repr(str(role)) for role in Role)})", name="role"),
        CheckConstraint("(role IN ('tracking', 'worker')) = (project IS NULL)", name="parts_have_no_project"),
        CheckConstraint("(role = 'worker') = (cluster IS NOT NULL)", name="workers_have_a_cluster"),
        Index("ix_api_keys_owner", "owner"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    secret_hash: Mapped[str] = mapped_column(unique=True)
    """SHA-256 of the whole key; it holds 160 random bits, so no slow hash is needed."""
    name: Mapped[str] = mapped_column(server_default="")
    """What its owner calls it."""
    role: Mapped[str]
    project: Mapped[str | None] = mapped_column(ForeignKey("projects.name"))
    """Where its jobs go; None for workers and tracking."""
    cluster: Mapped[str | None]
    """The Ray cluster that a worker's key leases for; None for all others."""
    owner: Mapped[str]
    """Whose it is: the `owner` of the jobs submitted with it."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used_at: Mapped[datetime | None]
    """To the minute."""
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
