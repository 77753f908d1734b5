"""What clients and drivers send and get about studies. Numbers are fractions."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pace_core.spec.leases import Name
from service.jobs.schemas import Label, RecipeChoice, Tags

_INPUT = ConfigDict(extra="forbid", use_attribute_docstrings=True, populate_by_name=True)
_OUTPUT = ConfigDict(use_attribute_docstrings=True)

MOST_TRIALS = 10_000
Path = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^.\s]+\.[^.\s]+$")]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Search = Literal["grid", "random", "tpe"]
Scheduler = Literal["none", "asha"]


def sort_key(value: object) -> tuple[bool, float, str]:
    """Returns what values of a field are sorted by: numbers by size, then all else by its text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (False, float(value), "")
    return (True, 0.0, str(value))


class Dimension(BaseModel):
    """The values that a field may take: one of `choice`, `uniform`, `loguniform` and `int`."""

    model_config = _INPUT

    choice: Annotated[list[str | bool | int | float | None], Field(min_length=1, max_length=1_000)] | None = None
    uniform: tuple[_Number, _Number] | None = None
    """Lowest and highest."""
    loguniform: tuple[_Number, _Number] | None = None
    """Lowest, above zero, and highest; even over orders of magnitude."""
    integer: tuple[int, int] | None = Field(default=None, alias="int")
    """Lowest and highest, both of them possible."""
    when: dict[Path, str | bool | int | float] = {}
    """The field is searched only where these others, searched too, have these values."""

    def holds(self, value: Any) -> bool:
        """Returns whether the value is one of these."""
        if self.choice is not None:
            return value in self.choice
        bounds = self.uniform or self.loguniform or self.integer
        return bounds is not None and isinstance(value, int | float) and bounds[0] <= value <= bounds[1]

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        ranges = [self.uniform, self.loguniform, self.integer]
        if sum(given is not None for given in (self.choice, *ranges)) != 1:
            raise ValueError("give one of choice, uniform, loguniform and int")
        if any(given is not None and not given[0] < given[1] for given in ranges):
            raise ValueError("the lowest value comes first and lies below the highest")
        if self.loguniform is not None and self.loguniform[0] <= 0:
            raise ValueError("loguniform begins above zero")
        return self


Space = Annotated[dict[Path, Dimension], Field(max_length=50)]


class StudyRequest(BaseModel):
    """A search on validation images; then its best is trained on all but the test images and tested once a seed."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {
                    "recipe": {"name": "vtab-mini", "row": "PACE", "task": "digits"},
                    "space": {
                        "regularizer.sigma": {"loguniform": [0.05, 2]},
                        "regularizer.lambda": {"choice": [0.02, 0.1]},
                    },
                    "search": "tpe",
                    "scheduler": "asha",
                    "trials": 30,
                }
            ]
        },
    )

    name: Label = ""
    spec: dict[str, Any] | None = None
    """Part of a RunSpec. Either this or `recipe`."""
    recipe: RecipeChoice | None = None
    overrides: dict[str, Any] = {}
    row: Label | None = None
    """The label in tables."""
    space: Space = {}
    """Field → its values. The paper's grid of lambda and sigma where nothing is given and the regularizer is pace."""
    search: Search = "grid"
    """grid: every combination of choices; random; tpe: Optuna's, which learns from the trials that have ended."""
    scheduler: Scheduler = "none"
    """asha: a trial runs a short schedule first and a longer one only if it is among the best; none:
    every trial runs the whole schedule."""
    trials: int | None = Field(default=None, ge=1, le=MOST_TRIALS, strict=True)
    """None: 30. A grid runs whole."""
    concurrency: int | None = Field(default=None, ge=1, le=1_000, strict=True)
    """Trials at a time. None: as many as there are slots when the search begins, at least two."""
    reduction: int = Field(default=3, ge=2, le=10, strict=True)
    """Each rung has so many times the epochs of the one before, and asha lets one in so many trials go on to it."""
    min_epochs: int | None = Field(default=None, ge=1, le=10_000, strict=True)
    """Of the first rung; a ninth of the whole where None, at least one. Each rung is a whole schedule of its own, since
    one that is cut off ranks at a high learning rate."""
    average_over: int = Field(default=3, ge=1, le=100, strict=True)
    """A trial counts by the mean of so many last evaluations, not by one."""
    mode: Literal["max", "min"] = "max"
    seed: _Seed = 0
    """Of the search and of its trials."""
    seeds: Annotated[list[_Seed], Field(max_length=1_000)] = [0, 1, 2]
    """Of the final runs of the best; none of them: only search."""
    project: Label | None = None
    priority: int = Field(default=50, ge=0, le=100, strict=True)
    tags: Tags = {}
    """Of every job."""


class StudyExtension(BaseModel):
    """More for a study to search; what it has tried already is kept and not repeated."""

    model_config = _INPUT

    trials: int | None = Field(default=None, ge=1, le=MOST_TRIALS, strict=True)
    """So many more. A grid runs whole: widen its space."""
    space: Space = {}
    """Fields of the study's space with wider values, which take the place of the earlier ones."""


class RungView(BaseModel):
    """One whole schedule of a trial: a child job."""

    model_config = _OUTPUT

    rung: int
    epochs: int
    job: str | None
    state: str
    value: float | None
    """The mean over the last evaluations on validation images."""


class TrialView(BaseModel):
    """One point of the space."""

    model_config = _OUTPUT

    number: int
    config: dict[str, Any]
    state: Literal["running", "finished", "stopped", "failed"]
    """stopped: by the scheduler, before its last rung."""
    value: float | None
    """Of its longest rung that has ended."""
    epochs: int
    """Of that rung."""
    message: str | None
    """Why it failed."""
    rungs: list[RungView]


class StudyView(BaseModel):
    """A study."""

    model_config = _OUTPUT

    id: str
    project: str
    owner: str
    name: str
    benchmark: str | None
    task: str
    row: str
    state: Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
    message: str | None
    request: dict[str, Any]
    trials: int
    """Asked for."""
    counts: dict[str, int]
    """Trials by state."""
    rungs: list[int]
    """Epochs of each rung."""
    epochs_spent: int
    """Of all trials together."""
    best: TrialView | None
    """Of those that ran longest."""
    importance: dict[str, float]
    """By field: the share of the values' variance that its main effect explains, over trials of the last rung."""
    suite: str | None
    """The final runs of the best."""
    created_at: datetime
    ended_at: datetime | None


class StudyPage(BaseModel):
    """Studies, newest first."""

    model_config = _OUTPUT

    data: list[StudyView]
    has_more: bool
    next_cursor: str | None


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
    """Configs of the trials that were begun, in their order: to be suggested first."""
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
    wait_s: float = Field(default=20.0, ge=0, le=60)
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
    failed: str | None


class TrialStopped(Shown):
    trial: int = Field(ge=0, lt=2**31, strict=True)
    rung: int = Field(ge=0, lt=100, strict=True)


class DriverEnd(Shown):
    """The search is over, or its driver cannot go on."""

    failed: Annotated[str, Field(max_length=2_000)] | None = None


class DriverDirective(BaseModel):
    directive: Literal["continue", "stop"]
