"""Tables of studies, their trials and the trials' rungs."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, false, func, text
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base


class Study(Base):
    """A search that somebody asked for."""

    __tablename__ = "studies"
    __table_args__ = (
        Index("ix_studies_project", "project", "id"),
        Index("ix_studies_parent", "parent", postgresql_where=text("parent IS NOT NULL")),
        Index("ix_studies_untracked", "id", postgresql_where=text("searched_at IS NOT NULL AND NOT tracked")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.name"))
    owner: Mapped[str]
    name: Mapped[str]
    benchmark: Mapped[str | None]
    task: Mapped[str]
    row: Mapped[str]
    request: Mapped[dict[str, Any]]
    """The StudyRequest with its space filled in, and all that it was extended by."""
    base: Mapped[dict[str, Any]]
    """The spec over which a trial's config is laid."""
    trials: Mapped[int]
    epochs: Mapped[int]
    """Of the last rung."""
    cluster: Mapped[str | None]
    """Whose driver has it."""
    token_hash: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    drivers: Mapped[int]
    """How many have had it since it was last resumed, retried or extended."""
    searched_at: Mapped[datetime | None]
    """When the search was over."""
    failed: Mapped[str | None]
    """Why the search cannot go on."""
    paused_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    suite: Mapped[str | None] = mapped_column(ForeignKey("suites.id", ondelete="SET NULL"))
    """The final runs."""
    parent: Mapped[str | None] = mapped_column(ForeignKey("suites.id", ondelete="SET NULL"))
    """The suite for whose row and task it searches; its final runs are that suite's."""
    importance: Mapped[dict[str, Any] | None]
    """Of each field, as the driver said at the end."""
    tracked: Mapped[bool] = mapped_column(server_default=false())
    """Whether the tracking shows it as it is since it was last searched."""
    mlflow_url: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Trial(Base):
    """One point of a study's space."""

    __tablename__ = "study_trials"
    __table_args__ = (UniqueConstraint("study", "key"),)

    study: Mapped[str] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str]
    """Of the config: equal points are one trial."""
    config: Mapped[dict[str, Any]]
    stopped_at: Mapped[int | None]
    """The rung after which the scheduler stopped it."""
    refused: Mapped[str | None]
    """Why no job could be made of it."""


class Rung(Base):
    """One whole schedule of a trial, a job."""

    __tablename__ = "study_rungs"
    __table_args__ = (Index("ix_study_rungs_job", "job"),)

    study: Mapped[str] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True)
    trial: Mapped[int] = mapped_column(primary_key=True)
    rung: Mapped[int] = mapped_column(primary_key=True)
    epochs: Mapped[int]
    job: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    value: Mapped[float | None]
    """Known when the job has succeeded."""
