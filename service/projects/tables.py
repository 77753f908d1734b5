"""Table of projects."""

from datetime import datetime

from sqlalchemy import func
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base


class Project(Base):
    """Jobs, keys and their owners belong to one."""

    __tablename__ = "projects"

    name: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    archived_at: Mapped[datetime | None]
    """An archived project can be read, and takes no jobs and no keys."""
