"""Requests and answers about clusters."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_INPUT = ConfigDict(extra="forbid", use_attribute_docstrings=True)
_OUTPUT = ConfigDict(from_attributes=True, use_attribute_docstrings=True)

_Name = Annotated[str, Field(min_length=1, max_length=300)]


class ClosureKind(StrEnum):
    """Why something takes no jobs."""

    DRAINED = "drained"
    """An operator wants so."""
    QUARANTINED = "quarantined"
    """Jobs break there."""


class Place(BaseModel):
    """A part of a cluster; the whole one where both are None."""

    model_config = _INPUT

    node: _Name | None = None
    slot: _Name | None = None


class Drain(Place):
    """A request that a place take no more jobs."""

    reason: str = Field(default="", max_length=500)
    """For those who see why their jobs wait."""
    now: bool = Field(default=False, strict=True)
    """Jobs that run there stop at a checkpoint and go on elsewhere; else they run to their end."""


class ClosureView(BaseModel):
    """Why a place takes no jobs."""

    model_config = _OUTPUT

    kind: ClosureKind
    reason: str
    owner: str
    """Who drained it; empty where the service closed it itself."""
    since: datetime
    until: datetime | None
    """When it opens by itself; None: when somebody opens it."""


class SlotView(BaseModel):
    """A place that runs one job at a time."""

    model_config = _OUTPUT

    name: str
    node: str
    device: str
    memory_bytes: int
    labels: dict[str, str]
    """What jobs can require of it by `resources.requires`."""
    job: str | None
    """What runs there."""
    closed: ClosureView | None
    """Why it takes no more jobs: its own closure, its node's or its cluster's."""
    trouble: str
    """What its worker has to say against it; empty where all is well."""


class LoadView(BaseModel):
    """Load of the slots of one device of a cluster."""

    model_config = _OUTPUT

    cluster: str
    there: bool
    """Whether it was heard of lately."""
    seen_at: datetime
    device: str
    slots: int
    busy: int
    closed: int
    """Those that take no jobs: drained, quarantined or in trouble."""
    why_closed: str
    """Of one of them; empty where none is."""


class ClusterView(BaseModel):
    """A Ray cluster, as its dispatcher last described it."""

    model_config = _OUTPUT

    name: str
    there: bool
    """Whether it was heard of lately."""
    seen_at: datetime
    code_version: str
    dispatcher: str
    """The start of the dispatcher that serves it; empty where that one has left."""
    closed: ClosureView | None
    """Why the whole cluster takes no jobs."""
    slots: list[SlotView]
