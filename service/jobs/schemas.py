"""Requests and answers about jobs."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from pace_core.spec import Estimate, State

_INPUT = ConfigDict(extra="forbid", use_attribute_docstrings=True)
_OUTPUT = ConfigDict(use_attribute_docstrings=True)

LONGEST_RUN_S = 10 * 366 * 86_400.0

Label = Annotated[str, StringConstraints(max_length=200, strip_whitespace=True)]
Tags = dict[
    Annotated[str, StringConstraints(min_length=1, max_length=100)], Annotated[str, StringConstraints(max_length=500)]
]


class RecipeChoice(BaseModel):
    """A row of a recipe, on one task."""

    model_config = _INPUT

    name: Label
    row: Label
    task: Label


class JobRequest(BaseModel):
    """A request for one run: by a spec, or by a recipe's row with overrides."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {
                    "spec": {
                        "task": {"name": "vtab-mini/digits"},
                        "method": {"name": "lora_add", "rank": 8},
                        "regularizer": {"name": "pace", "sigma": 0.5, "lambda": 0.1},
                        "optimizer": {"lr": 0.005},
                        "training": {"epochs": 3, "warmup_epochs": 0.3, "schedule": "step"},
                    },
                    "name": "first try",
                    "tags": {"sheet": "2"},
                },
                {"recipe": {"name": "vtab-mini", "row": "PACE", "task": "digits"}, "seed": 1},
            ]
        },
    )

    spec: dict[str, Any] | None = None
    """A RunSpec; what is left out takes its default. Either this or `recipe`."""
    recipe: RecipeChoice | None = None
    overrides: dict[str, Any] = {}
    """Part of a RunSpec, laid over the spec or the recipe's."""
    seed: int | None = Field(default=None, ge=0, lt=2**31, strict=True)
    """Wins over the spec's."""
    project: Label | None = None
    """The key's own where None."""
    name: Label = ""
    row: Label | None = None
    """The label in tables: the recipe's row, or method and regularizer, where None."""
    priority: int = Field(default=50, ge=0, le=100, strict=True)
    """Higher runs first; `GET /v1/limits` names the highest."""
    tags: Tags = {}
    max_attempts: int = Field(default=3, ge=1, le=100, strict=True)
    """Attempts that may be lost or crash before the job fails; pauses do not count."""
    max_runtime_s: float | None = Field(default=None, gt=0, le=LONGEST_RUN_S, allow_inf_nan=False, strict=True)
    """Seconds over all attempts, after which the job is stopped as timed_out; the project's default where None."""
    reuse: StrictBool = False
    """Queue nothing where a job of the project has done this already: the same settings, seed and label, on the data of
    the task's newest result, by this version of the core. The answer is then that job, with status 200."""


class JobPatch(BaseModel):
    """Changes to a job; what is left out stays."""

    model_config = _INPUT

    name: Label | None = None
    priority: int | None = Field(default=None, ge=0, le=100, strict=True)
    """Of a job that has not ended."""
    tags: Tags | None = None
    """Replaces all tags."""


class QueuePlace(BaseModel):
    """A queued job's place in the queue."""

    model_config = _OUTPUT

    ahead: int
    """Jobs in the queue of higher priority, or as high and older, whatever project they are of; at most 10,000 are
    counted. Which job a slot takes depends on what it needs, too, and on how many of its owner's run."""
    starts_in_s: float | None
    """How long those take that are ahead, if jobs end as they did within the last hour; null where none did."""


class JobView(BaseModel):
    """A job."""

    model_config = _OUTPUT

    id: str
    project: str
    owner: str
    name: str
    row: str
    tags: dict[str, str]
    priority: int
    state: State
    attempt: int
    """Number of the newest attempt; 0 before the first."""
    failures: int
    """Attempts used up, of max_attempts."""
    max_attempts: int
    max_runtime_s: float | None
    spec: dict[str, Any]
    """The resolved RunSpec."""
    cell: str | None
    """Equal for runs that may be averaged; known when the job has succeeded."""
    benchmark: str | None
    task: str
    phase: str
    seed: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    reason: str | None
    """Why it ended, or why its last attempt did."""
    message: str | None
    result: dict[str, Any] | None
    """The RunResult."""
    progress: dict[str, Any] | None
    waiting_for: str | None
    """Why a queued job has not started, or what no worker has that it needs."""
    place: QueuePlace | None = None
    """Of a job in the queue; null in lists, and in the answer to its submission."""
    pause_requested: bool
    cancel_requested: bool
    retry_of: str | None
    suite: str | None
    """The suite that submitted it."""
    study: str | None
    """The study of which it is a trial."""
    mlflow_url: str | None
    notices: list[str] = []
    """For a task of a published benchmark: where the spec departs from the protocol, and what is inferred. Empty in
    lists."""


class JobPage(BaseModel):
    """Jobs, newest first."""

    model_config = _OUTPUT

    data: list[JobView]
    has_more: bool
    next_cursor: str | None
    """For `after`, with the same filters."""


Verb = Literal["cancel", "pause", "resume", "retry", "delete"]


class Batch(BaseModel):
    """A request to do the same to many jobs."""

    model_config = _INPUT

    verb: Verb
    jobs: list[Annotated[str, Field(max_length=200)]] = Field(min_length=1, max_length=200)
    """Their ids."""


class Outcome(BaseModel):
    """The outcome for one of many jobs."""

    model_config = _OUTPUT

    job: str
    done: bool
    detail: str = ""
    """Why it was not."""


class BatchView(BaseModel):
    """The outcome for each of many jobs."""

    model_config = _OUTPUT

    data: list[Outcome]


class Waiting(BaseModel):
    """Jobs in the queue with one reason why they wait."""

    model_config = _OUTPUT

    waiting_for: str
    jobs: int
    first: str
    """The oldest of them."""


class JobTotals(BaseModel):
    """Numbers of jobs by state, and what the queued ones wait for."""

    model_config = _OUTPUT

    states: dict[State, int]
    """States in which no job is are left out."""
    waiting: list[Waiting]
    """What most wait for first; a thousand queued jobs at most are looked at, by project the oldest."""


class Validated(BaseModel):
    """The run that a submission would start."""

    model_config = _OUTPUT

    spec: dict[str, Any]
    """The resolved RunSpec."""
    row: str
    estimate: Estimate
    waiting_for: str | None
    """What no worker seen so far has that it needs."""
    notices: list[str] = []
    """Of a published benchmark: where the spec departs from the protocol, and what is inferred."""
    done: str | None = None
    """The job that has done this already, which `reuse` would answer with."""


class AttemptView(BaseModel):
    """One try of a worker at a job."""

    model_config = _OUTPUT

    number: int
    cluster: str
    slot: str
    node: str
    device: str
    folder: str
    started_at: datetime
    renewed_at: datetime
    """Last sign of life."""
    ended_at: datetime | None
    reason: str | None
    message: str | None


class TrackingLink(BaseModel):
    """Address of the job's page in the tracking."""

    model_config = _INPUT

    url: str = Field(max_length=2000, pattern=r"^https?://[^\s\"'<>\\]+$")
    """http or https: people click on it."""
