"""Tables of projects and API keys."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, func
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base


class Role(StrEnum):
    """What a key may do."""

    USER = "user"
    """Its own project's jobs."""
    WORKER = "worker"
    """Leases, reports, heartbeats and all jobs' events; belongs to the installation, not to a project."""
    ADMIN = "admin"
    """Everything, in every project."""


class Project(Base):
    """Jobs, keys and their owners belong to one."""

    __tablename__ = "projects"

    name: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ApiKey(Base):
    """One key; its secret is shown once, when it is made."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint(f"role IN ({', '.join(repr(str(role)) for role in Role)})", name="role"),
        CheckConstraint("(role = 'worker') = (project IS NULL)", name="workers_have_no_project"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    secret_hash: Mapped[str] = mapped_column(unique=True)
    """SHA-256 of the whole key; it holds 160 random bits, so no slow hash is needed."""
    role: Mapped[str]
    project: Mapped[str | None] = mapped_column(ForeignKey("projects.name"))
    """Where its jobs go; None for workers."""
    owner: Mapped[str]
    """Whose it is: the `owner` of the jobs submitted with it."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]
