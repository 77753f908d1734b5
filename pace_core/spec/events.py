"""What a run says while it goes on."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

Directive = Literal["continue", "pause", "stop"]


class EventType(StrEnum):
    """The kinds of event; the shape of `data` is named beside each."""

    LOG = "log"  # {level: info|warning|error, message}
    STAGE = "stage"  # {name: data|backbone|supernet|search|train|evaluate|adapter}
    # {epoch, epochs, step, steps, images_per_s} of training, with `stage` where that is the supernet's; of a search
    # {stage, epoch, epochs, step, steps} in generations and architectures; outside both {stage, done, total}
    PROGRESS = "progress"
    METRICS = "metrics"  # {epoch, step, values: {"train/loss": 1.2, "val/accuracy": 0.8, …}}
    CHECKPOINT = "checkpoint"  # {epoch, step}
    END = "end"  # {reason, message, result: RunResult | null}: the last event of every attempt
    STATE = "state"  # {move, state, attempt, reason?, message?}: written by the service, never by a run


class Event(BaseModel):
    """One event of an attempt, numbered 1, 2, 3… by the actor that runs it."""

    model_config = ConfigDict(frozen=True)

    seq: int = Field(ge=1, lt=2**31)
    at: datetime
    """When it happened, UTC."""
    type: EventType
    data: dict[str, Any]


class Reporter(Protocol):
    """Receiver of a run's events and source of its directives. Both calls are cheap: one is made after every step."""

    def event(self, type: str, data: dict[str, Any]) -> None: ...

    def directive(self) -> Directive: ...
