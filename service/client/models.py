"""Answers of the service, read tolerantly: a newer one may say more than this client knows.

What needs no reading of its own is the service's schema itself, such as JobRequest and Leaderboard.
"""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from pace_core.spec.lifecycle import State
from pace_core.spec.result import RunResult


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Progress(_Read):
    """Progress of training."""

    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    images_per_s: float | None = None
    stage: str = ""
    """Where it is not the training of what will be tested: `supernet`, or `search` with its generations as epochs."""


class QueuePlace(_Read):
    """A queued job's place in the queue."""

    ahead: int = 0
    starts_in_s: float | None = None


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
    """Number of the newest attempt; 0 before the first."""
    failures: int = 0
    """Attempts used up, of max_attempts."""
    max_attempts: int
    max_runtime_s: float | None = None
    spec: dict[str, Any]
    cell: str | None = None
    benchmark: str | None = None
    task: str
    phase: str
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
    place: QueuePlace | None = None
    """Of a queued job that was asked for by itself."""
    pause_requested: bool = False
    cancel_requested: bool = False
    retry_of: str | None = None
    suite: str | None = None
    """The suite that submitted it."""
    study: str | None = None
    """The study of which it is a trial."""
    mlflow_url: str | None = None
    notices: list[str] = []
    """Said when it is submitted, of a published benchmark: departures from its protocol, and what is inferred."""


class Point(_Read):
    """A metric's value at one moment of training."""

    epoch: int | None = None
    step: int | None = None
    value: float | None = None
    """None where it was no finite number."""


class Artifact(_Read):
    """A file of a job."""

    path: str
    """Within the job: the attempt's number, then the file's name."""
    bytes: int


class PartState(_Read):
    """State of a part of the stack."""

    status: str
    detail: str = ""
    at: datetime | None = None


class Readiness(_Read):
    """State of the stack."""

    ready: bool
    """Whether jobs are taken."""
    complete: bool
    """Whether every part is ok."""
    mlflow_shared: bool = False
    """Whether MLflow listens where the API does, for other machines too."""
    parts: dict[str, PartState]
