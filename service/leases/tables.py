"""Table of the clusters that have asked for work."""

from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base


class Cluster(Base):
    """A Ray cluster, by its one dispatcher, as its newest lease request described it."""

    __tablename__ = "clusters"

    name: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int]
    """Raised by every lease request; an older one still waiting then takes nothing any more."""
    slots: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    """All of them, busy ones too."""
    data: Mapped[dict[str, Any]]
    """Task → hash of its data."""
    code_version: Mapped[str]
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
