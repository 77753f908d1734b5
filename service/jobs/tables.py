"""Tables of jobs, their attempts, and the keys that make a submission repeatable."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Computed, ForeignKey, Index, false, func, text
from sqlalchemy.orm import Mapped, mapped_column

from pace_core.spec import ENDED, INFRASTRUCTURE, LEASED, State
from service.db import Base


def _among(column: str, states: frozenset[State] | frozenset[str] | type[State]) -> str:
    return f"{column} IN ({', '.join(repr(str(state)) for state in sorted(states))})"


WORDS = (
    "to_tsvector('simple', regexp_replace(name || ' ' || \"row\" || ' ' || task || ' ' || id,"
    " '[^[:alnum:]]+', ' ', 'g'))"
)
"""What a search looks through."""
_IN_LINE = text("state = 'queued' AND not_before IS NULL")
LEASED_JOBS = _among("jobs.state", LEASED)
"""Which jobs a worker holds. By the state and not by `lease_expires_at`: a column that an index knows may not change at
every sign of life, or each of them writes all indexes."""
INFRASTRUCTURE_ENDS = _among("reason", INFRASTRUCTURE)
"""What an attempt ends with that may be the fault of where it ran."""


class Job(Base):
    """A run that somebody asked for. Its state is written by `service.jobs.ledger` alone."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(_among("state", State), name="state"),
        CheckConstraint(f"({_among('state', ENDED)}) = (ended_at IS NOT NULL)", name="ended_at_iff_ended"),
        CheckConstraint(f"({_among('state', LEASED)}) = (lease_expires_at IS NOT NULL)", name="lease_iff_leased"),
        CheckConstraint(f"NOT ({_among('state', ENDED)}) OR reason IS NOT NULL", name="ended_has_reason"),
        CheckConstraint("state <> 'succeeded' OR result IS NOT NULL", name="succeeded_has_result"),
        CheckConstraint("priority BETWEEN 0 AND 100", name="priority"),
        CheckConstraint("max_attempts >= 1 AND failures <= max_attempts", name="attempts"),
        Index(
            "ix_jobs_first",
            *("project", "owner", text("priority DESC"), "id"),
            postgresql_include=["lane"],
            postgresql_where=_IN_LINE,
        ),
        Index(
            "ix_jobs_lines",
            *("project", "owner", text("md5(lane)"), text("priority DESC"), "id"),
            postgresql_where=_IN_LINE,
        ),
        Index("ix_jobs_created", "created_at"),
        Index(
            "ix_jobs_ended",
            "ended_at",
            postgresql_where=text("ended_at IS NOT NULL"),
            postgresql_include=["project", "state"],
        ),
        Index("ix_jobs_oldest", "lane", "project", "owner", "created_at", postgresql_where=_IN_LINE),
        Index("ix_jobs_not_before", "not_before", postgresql_where=text("not_before IS NOT NULL")),
        Index("ix_jobs_leased", "project", "owner", postgresql_where=text(_among("state", LEASED))),
        Index("ix_jobs_project", "project", "id"),
        Index("ix_jobs_state", "project", "state", "id"),
        Index("ix_jobs_owner", "project", "owner", "id"),
        Index("ix_jobs_suite", "suite", "ended_at", postgresql_where=text("suite IS NOT NULL")),
        Index("ix_jobs_study", "study", postgresql_where=text("study IS NOT NULL")),
        Index("ix_jobs_settings", "settings", "seed"),
        Index("ix_jobs_value", "value", "id", postgresql_where=text("value IS NOT NULL")),
        Index("ix_jobs_retry_of", "retry_of", postgresql_where=text("retry_of IS NOT NULL")),
        Index(
            "ix_jobs_runs",
            *("benchmark", "phase", "task", "row", "id"),
            postgresql_include=["project", "state", "reason", "cell", "seed", "settings", "value"],
        ),
        Index("ix_jobs_words", text(WORDS), postgresql_using="gin"),
        Index("ix_jobs_tags", "tags", postgresql_using="gin"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.name"))
    owner: Mapped[str]
    name: Mapped[str]
    row: Mapped[str]
    """The label under which tables show it."""
    tags: Mapped[dict[str, Any]]
    priority: Mapped[int]
    """0 to 100; higher runs first."""
    state: Mapped[str]

    attempt: Mapped[int]
    """Number of the newest attempt, 0 before the first. Reports of earlier ones are refused."""
    failures: Mapped[int]
    """Attempts used up: lost or failed for a reason worth another try. Pauses do not count."""
    max_attempts: Mapped[int]
    runtime_s: Mapped[float]
    """Seconds spent in attempts that have ended."""
    max_runtime_s: Mapped[float | None]
    lease_expires_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    """Until then a queued job is in no line; None where it is in one."""
    pause_requested_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]

    spec: Mapped[dict[str, Any]]
    """The resolved RunSpec."""
    benchmark: Mapped[str | None]
    """None for the user's own data."""
    task: Mapped[str]
    """Name within the benchmark, or the user's own."""
    phase: Mapped[str]
    seed: Mapped[int]
    cell: Mapped[str | None]
    """Known once the result says of which data and weights it is."""
    settings: Mapped[str] = mapped_column(Computed("md5((spec - 'seed' - 'resources')::text)", persisted=True))
    """Equal for jobs that were asked for alike, whatever their seeds."""
    value: Mapped[float | None]
    """The task's metric on the split that the phase measures, a fraction; known with the result."""
    device: Mapped[str]
    """cpu, cuda, or auto: either."""
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """What a slot must have free: asked for or estimated, and rounded up; None where neither is known."""
    lane: Mapped[str]
    """`Needs.lane`: jobs of equal lane, project and owner wait in one line."""

    init_uri: Mapped[str | None]
    """fsspec URL of the adapter of the job that the spec's `init_from` names, found when this one was submitted."""
    suite: Mapped[str | None] = mapped_column(ForeignKey("suites.id", ondelete="SET NULL"))
    """The suite that submitted it."""
    study: Mapped[str | None] = mapped_column(ForeignKey("studies.id", ondelete="SET NULL"))
    """The study of which it is a trial."""
    retry_of: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    reason: Mapped[str | None]
    """Why it ended, or why the last attempt did: a key of `lifecycle.REASONS`."""
    message: Mapped[str | None]
    result: Mapped[dict[str, Any] | None]
    progress: Mapped[dict[str, Any] | None]
    mlflow_url: Mapped[str | None]
    event_count: Mapped[int]
    """Number of its newest event."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class Attempt(Base):
    """One try of a worker at a job."""

    __tablename__ = "attempts"
    __table_args__ = (
        Index("ix_attempts_hard", "cluster", "ended_at", postgresql_where=text(INFRASTRUCTURE_ENDS)),
        Index("ix_attempts_slot", "cluster", "slot", "ended_at"),
    )

    job: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    cluster: Mapped[str]
    """The cluster that holds or held it."""
    token_hash: Mapped[str] = mapped_column(server_default="")
    """SHA-256 of the lease's token, which its reports show."""
    slot: Mapped[str]
    node: Mapped[str]
    device: Mapped[str]
    folder: Mapped[str]
    last_seq: Mapped[int]
    """Highest of its events' numbers that is stored."""
    renewed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """Last sign of life."""
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]
    reason: Mapped[str | None]
    message: Mapped[str | None]
    evicted: Mapped[bool] = mapped_column(server_default=false())
    """Whether it shall stop at a checkpoint, so that the job goes on elsewhere."""
    said_end: Mapped[bool]
    """Whether its own end event arrived; a repetition of that report is then answered, not refused."""


class IdempotencyKey(Base):
    """The answer to a submission, for when the same one comes again."""

    __tablename__ = "idempotency_keys"

    api_key: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_hash: Mapped[str]
    status: Mapped[int]
    answer: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
