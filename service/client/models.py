"""What the service answers, read tolerantly: a newer service may say more than this client knows."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from pace_core.spec.events import EventType
from pace_core.spec.lifecycle import State
from pace_core.spec.result import RunResult


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Progress(_Read):
    """How far training is."""

    epoch: int
    epochs: int
    step: int
    steps: int
    images_per_s: float | None = None


class Job(_Read):
    """A job as the service knows it."""

    id: str
    project: str
    owner: str
    name: str = ""
    row: str = ""
    tags: dict[str, str] = {}
    priority: int
    state: State
    attempt: int
    max_attempts: int
    max_runtime_s: float | None = None
    spec: dict[str, Any]
    cell: str | None = None
    benchmark: str | None = None
    task: str
    seed: int
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    reason: str | None = None
    message: str | None = None
    result: RunResult | None = None
    progress: Progress | None = None
    waiting_for: str | None = None
    """Why a queued job has not started, or what no worker has that it needs."""
    pause_requested: bool = False
    cancel_requested: bool = False
    retry_of: str | None = None
    reused_from: str | None = None
    mlflow_url: str | None = None


class JobEvent(_Read):
    """One line of a job's history."""

    id: int
    """Number over all jobs, in the order of commits."""
    job: str
    number: int
    """1, 2, 3… within the job."""
    attempt: int
    seq: int | None = None
    """1, 2, 3… within the attempt; None for what the service wrote."""
    at: datetime
    type: EventType
    data: dict[str, Any]
