"""Tables of suites and of their runs."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base


class Suite(Base):
    """Rows × tasks × seeds that somebody asked for. Its state is that of its jobs together."""

    __tablename__ = "suites"
    __table_args__ = (Index("ix_suites_project", "project", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.name"))
    owner: Mapped[str]
    name: Mapped[str]
    benchmark: Mapped[str | None]
    phase: Mapped[str]
    request: Mapped[dict[str, Any]]
    """The SuiteRequest, with every task by name and all that it was extended by."""
    max_parallel: Mapped[int | None]
    stop_after: Mapped[int | None]
    counted_from: Mapped[datetime] = mapped_column(server_default=func.now())
    """Failures of before were answered by a retry."""
    stopped: Mapped[str | None]
    """Why it stopped by itself."""
    cancel_requested_at: Mapped[datetime | None]
    mlflow_url: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SuiteRun(Base):
    """One row on one task with one seed, on one draw, and the job that runs it, which may belong to several suites."""

    __tablename__ = "suite_runs"
    __table_args__ = (
        CheckConstraint("refused IS NULL OR job IS NULL", name="refused_has_no_job"),
        Index("ix_suite_runs_job", "job"),
        Index("ix_suite_runs_study", "study", postgresql_where=text("study IS NOT NULL")),
    )

    suite: Mapped[str] = mapped_column(ForeignKey("suites.id", ondelete="CASCADE"), primary_key=True)
    row: Mapped[str] = mapped_column(primary_key=True)
    task: Mapped[str] = mapped_column(primary_key=True)
    seed: Mapped[int] = mapped_column(primary_key=True)
    draw: Mapped[int] = mapped_column(primary_key=True, server_default=text("0"))
    """Of training images; 0 where the benchmark has one draw alone."""
    job: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    """None where it was refused, while its study searches, or where the job was deleted."""
    study: Mapped[str | None] = mapped_column(ForeignKey("studies.id", ondelete="SET NULL"))
    """The search that finds its settings, if it is searched before."""
    reused: Mapped[bool]
    """Whether the job was there before."""
    refused: Mapped[str | None]
    """Why the row cannot run on the task."""
    seconds: Mapped[float | None]
    """What the job was expected to take of a slot."""
