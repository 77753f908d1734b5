"""Tables of events and of their readers' places."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base


class JobEvent(Base):
    """One thing that happened to a job: said by its run, or a move written by the service."""

    __tablename__ = "job_events"
    __table_args__ = (
        UniqueConstraint("job", "number"),
        UniqueConstraint("job", "attempt", "seq"),
        Index("ix_job_events_job_type", "job", "type", "number"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    """Number over all jobs, in the order of commits: a reader that has seen n has seen everything below."""
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    number: Mapped[int]
    """1, 2, 3… within the job."""
    attempt: Mapped[int]
    seq: Mapped[int | None]
    """1, 2, 3… within the attempt; None for what the service wrote."""
    at: Mapped[datetime]
    type: Mapped[str]
    data: Mapped[dict[str, Any]]


class Cursor(Base):
    """How far a reader of all events has come."""

    __tablename__ = "cursors"

    name: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
