"""Events, by which a run tells how it goes."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Directive = Literal["continue", "pause", "stop"]


class EventType(StrEnum):
    """The kinds of event; SHAPES has the form of each one's data."""

    LOG = "log"
    STAGE = "stage"
    PROGRESS = "progress"
    METRICS = "metrics"
    CHECKPOINT = "checkpoint"
    END = "end"
    """The last event of every attempt."""
    STATE = "state"
    """{move, state, attempt, reason?, message?}: written by the service, never by a run."""


_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Short = Annotated[str, Field(max_length=200)]
_Text = Annotated[str, Field(max_length=100_000)]
"""The worker cuts what it says to a tenth of that."""


class _Data(BaseModel):
    # strict: what is stored is what was sent, and readers compute with it
    model_config = ConfigDict(extra="allow", strict=True, use_attribute_docstrings=True)


class Log(_Data):
    """A line for people."""

    level: Literal["info", "warning", "error"]
    message: _Text


class Stage(_Data):
    """The stage that a run enters."""

    name: _Short
    """data, backbone, supernet, search, train, evaluate or adapter."""


class Progress(_Data):
    """Progress of a run: in steps of training, or in parts (`done` of `total`) of another stage."""

    stage: _Short | None = None
    epoch: _Count | None = None
    epochs: _Count | None = None
    step: _Count | None = None
    steps: _Count | None = None
    images_per_s: float | None = None
    done: _Count | None = None
    total: _Count | None = None


class Metrics(_Data):
    """Numbers measured at one place of the run."""

    epoch: _Count
    step: _Count | None = None
    values: dict[_Short, float | None] = Field(max_length=1_000)
    """By their keys, such as `train/loss` or `val/accuracy`; null where the number was not finite."""


class CheckpointWritten(_Data):
    """A checkpoint that was written."""

    epoch: _Count | None = None
    step: _Count | None = None


class Ended(_Data):
    """End of an attempt."""

    reason: _Short
    message: _Text | None = None
    result: dict[str, Any] | None = None
    """A RunResult where it succeeded."""


SHAPES: dict[EventType, type[BaseModel]] = {
    EventType.LOG: Log,
    EventType.STAGE: Stage,
    EventType.PROGRESS: Progress,
    EventType.METRICS: Metrics,
    EventType.CHECKPOINT: CheckpointWritten,
    EventType.END: Ended,
}
"""Event type → the form of its data. More fields are allowed, so that a newer worker can say more."""


NewerType = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.]*$", max_length=50)]
"""A type that a newer worker knows and we do not: such events are stored and shown as they are."""
AnyType = Annotated[EventType | NewerType, Field(union_mode="left_to_right")]


_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _readable(at: datetime) -> datetime:
    """Returns the time in UTC. One near an end of what can be written down would be stored and never read again."""
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if not _FIRST <= at < _LAST:
        raise ValueError("must be a time from 1970 to 2199; is the clock right of the machine that says so?")
    return at.astimezone(UTC)


class Event(BaseModel):
    """One event of an attempt, numbered 1, 2, 3… by the actor that runs it."""

    model_config = ConfigDict(frozen=True)

    seq: int = Field(ge=1, lt=2**31)
    at: Annotated[datetime, AfterValidator(_readable)]
    """When it happened, UTC, by the clock of the worker."""
    type: AnyType
    data: dict[str, Any]


class Reporter(Protocol):
    """Receiver of a run's events and source of its directives. Both calls are cheap: one is made after every step."""

    def event(self, type: str, data: dict[str, Any]) -> None: ...

    def directive(self) -> Directive: ...
