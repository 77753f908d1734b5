"""Table of heartbeats."""

from datetime import datetime

from sqlalchemy import func
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base


class PartHeartbeat(Base):
    """The newest word of a part of the stack about itself."""

    __tablename__ = "heartbeats"

    part: Mapped[str] = mapped_column(primary_key=True)
    cluster: Mapped[str] = mapped_column(primary_key=True, server_default="")
    """Empty for what the whole installation has one of."""
    ok: Mapped[bool]
    detail: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
