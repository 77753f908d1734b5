"""Table of what callers changed."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Identity, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base


class AuditEntry(Base):
    """One change that somebody asked for and got. It names its subjects by text, so that it outlives them."""

    __tablename__ = "audit"
    __table_args__ = (
        Index("ix_audit_target", "target", "id"),
        Index("ix_audit_actor", "actor", "id"),
        Index("ix_audit_at", "at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    actor: Mapped[str]
    """Owner of the key; of a command on the service's machine, the user of that machine."""
    role: Mapped[str]
    """Of the key; `command` where it was a command."""
    key: Mapped[str]
    """Id of the key; empty where it was a command."""
    action: Mapped[str]
    """Noun and verb, such as `job.cancel`."""
    target: Mapped[str]
    """Id or name of what was changed."""
    project: Mapped[str | None]
    detail: Mapped[dict[str, Any]]
    address: Mapped[str | None]
    """Where the request came from, as far as the proxies in between are trusted."""
    request: Mapped[str | None]
    """The request's id, which the log names too."""
