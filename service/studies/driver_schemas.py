"""Requests and answers of the drivers of studies."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pace_core.spec.leases import Name
from service.studies.schemas import Path, StudyRequest

_INPUT = ConfigDict(extra="forbid", use_attribute_docstrings=True)
_OUTPUT = ConfigDict(use_attribute_docstrings=True)


class DriverRequest(BaseModel):
    """A cluster's driver of studies asks for one."""

    model_config = _INPUT

    holding: list[Name] = Field(default=[], max_length=1_000)
    """Studies that it drives now; others that its cluster was given have lost their driver and are given again."""


class StudyLease(BaseModel):
    """A study for a driver."""

    model_config = _OUTPUT

    study: str
    token: str
    """Every call of this driver shows it; one of an earlier driver is refused."""
    request: StudyRequest
    known: list[dict[str, Any]]
    """Configs to be suggested first: of the trials that were begun, in their order, then of what did best elsewhere."""
    points: list[dict[str, Any]] = []
    """Of a grid: all of its points, in the order in which to try them."""
    trials: int
    rungs: list[int]
    concurrency: int
    lease_s: float


class DriverResponse(BaseModel):
    model_config = _OUTPUT

    lease: StudyLease | None


class Shown(BaseModel):
    """Base of a driver's calls."""

    model_config = _INPUT

    token: Name


class RungRequest(Shown):
    """A driver asks for a trial's rung; asked again, it is the same one."""

    config: dict[Path, str | bool | int | float | None]
    rung: int = Field(ge=0, lt=100, strict=True)
    wait_s: float = Field(default=20.0, ge=0, le=60, strict=True)
    """How long to wait for its end."""


class RungAnswer(BaseModel):
    """The state of a rung."""

    model_config = _OUTPUT

    trial: int
    ended: bool
    value: float | None
    epochs: int
    stopped: bool
    """The scheduler stopped the trial after this rung, before its driver was lost."""
    over: bool = False
    """The budget is spent and nothing runs any more: the search ends here."""
    failed: str | None


class TrialStopped(Shown):
    trial: int = Field(ge=0, lt=2**31, strict=True)
    rung: int = Field(ge=0, lt=100, strict=True)


class DriverEnd(Shown):
    """The search is over, or its driver cannot go on."""

    failed: Annotated[str, Field(max_length=2_000)] | None = None
    importance: Annotated[dict[Path, float], Field(max_length=50)] = {}
    """By field, of what has ended."""


class DriverDirective(BaseModel):
    directive: Literal["continue", "stop"]
