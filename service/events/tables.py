"""Tables of events and of their readers' places."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base


class JobEvent(Base):
    """One thing that happened to a job: said by its run, or a move written by the service."""

    __tablename__ = "job_events"
    __table_args__ = (
        UniqueConstraint("job", "number"),
        UniqueConstraint("job", "attempt", "seq"),
        Index("ix_job_events_job_type", "job", "type", "number"),
        Index("ix_job_events_position", "position", unique=True, postgresql_where=text("position IS NOT NULL")),
        Index("ix_job_events_unnumbered", "id", postgresql_where=text("position IS NULL")),
        Index("ix_job_events_moves", "position", postgresql_where=text("type = 'state' AND position IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    """In the order of inserts, which is not that of commits: nothing for a reader to go by."""
    position: Mapped[int | None] = mapped_column(BigInteger)
    """1, 2, 3… over all jobs, drawn by the sequencer after the commit: a reader that has seen n has seen all below."""
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    number: Mapped[int]
    """1, 2, 3… within the job."""
    attempt: Mapped[int]
    seq: Mapped[int | None]
    """1, 2, 3… within the attempt; None for what the service wrote."""
    at: Mapped[datetime]
    type: Mapped[str]
    data: Mapped[dict[str, Any]]


class EventLog(Base):
    """The one row that says how far events are numbered. Whoever numbers holds its lock until the commit."""

    __tablename__ = "event_log"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    last: Mapped[int] = mapped_column(BigInteger)
    """The last position drawn."""
    deletions: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Jobs deleted so far, with their events."""


class DeletedJob(Base):
    """A job that was deleted a while ago: what is found of its files goes too."""

    __tablename__ = "deleted_jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())


class Cursor(Base):
    """Position of a reader of all events."""

    __tablename__ = "cursors"

    name: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
    holder: Mapped[str | None]
    """The process that reads now, until `held_until`; others stand by."""
    held_until: Mapped[datetime | None]
