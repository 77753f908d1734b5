"""Table of projects."""

from datetime import datetime

from sqlalchemy import BigInteger, func
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base


class Project(Base):
    """Jobs, keys and their owners belong to one."""

    __tablename__ = "projects"

    name: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    archived_at: Mapped[datetime | None]
    """An archived project can be read, and takes no jobs and no keys."""
    max_queued: Mapped[int | None]
    """Limits of its own; None: the settings'."""
    max_running: Mapped[int | None]
    highest_priority: Mapped[int | None]
    default_max_runtime_s: Mapped[float | None]
    max_stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
    stored_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """As last measured."""
