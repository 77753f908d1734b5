"""Events as clients get them."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pace_core.spec import EventType, State
from pace_core.spec.events import AnyType


class EventView(BaseModel):
    """One thing that happened to a job."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)

    job: str
    number: int
    """1, 2, 3… within the job."""
    attempt: int
    seq: int | None
    """1, 2, 3… within the attempt; null for what the service wrote."""
    at: datetime
    type: AnyType
    data: dict[str, Any]


class PlacedEvent(EventView):
    """An event in its place among all jobs' events."""

    position: int
    """1, 2, 3… over all jobs; a job's events come in their order."""


class EventPage(BaseModel):
    """A job's events, oldest first."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[EventView]
    has_more: bool
    next_cursor: int
    """For `after`: the number of the last event here, or the given one."""


class PlacedEventPage(BaseModel):
    """All jobs' events, oldest first."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[PlacedEvent]
    has_more: bool
    next_cursor: int
    """For `after`: the position of the last event here, or the given one."""


class DeletionPage(BaseModel):
    """Jobs that are gone, in the order of their ids."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[str]
    has_more: bool
    next_cursor: str
    """For `after`."""


class CursorView(BaseModel):
    """Position of a reader of all events."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)

    name: str
    position: int


class CursorHold(BaseModel):
    """A process says that it is the one that reads."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    holder: str = Field(min_length=1, max_length=200)
    """Name of this start of the process; what follows its last `/` no other is told."""
    for_s: float = Field(ge=0, le=600, allow_inf_nan=False, strict=True)
    """How long it holds the cursor if it says nothing more; 0 lets it go."""


class CursorUpdate(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    position: int = Field(ge=0, lt=2**63, strict=True)
    """Position of the last event that was dealt with; 0 starts again."""
    holder: str | None = Field(default=None, min_length=1, max_length=200)
    """The process that reads, as it holds the cursor. While one does, nobody else moves it but to 0."""


LOGGED = (EventType.LOG, EventType.STAGE, EventType.STATE)
"""Events that are lines of a job's log."""


class LogLine(BaseModel):
    """One line of a job's log."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    number: int
    """Of the event."""
    at: datetime
    attempt: int
    level: str
    message: str


def log_line(event: EventView) -> LogLine:
    """Returns the line that one of the LOGGED events is."""
    data = event.data
    match event.type:
        case EventType.STAGE:
            level, message = "info", f"stage: {data.get('name', '')}"
        case EventType.STATE:
            level = "error" if data.get("state") == State.FAILED else "info"
            state, *why = dict.fromkeys(str(data[key]) for key in ("state", "reason", "message") if data.get(key))
            message = f"{state} ({': '.join(why)})" if why else state  # state and reason are often one word
        case _:
            level, message = str(data.get("level", "info")), str(data.get("message", ""))
    return LogLine(number=event.number, at=event.at, attempt=event.attempt, level=level, message=message)
