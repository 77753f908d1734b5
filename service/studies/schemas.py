"""Requests and answers about studies. Numbers are fractions."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.filters import Filters
from service.jobs.schemas import Label, RecipeChoice, Tags

_INPUT = ConfigDict(extra="forbid", use_attribute_docstrings=True, populate_by_name=True)
_OUTPUT = ConfigDict(use_attribute_docstrings=True)

MOST_TRIALS = 10_000
Path = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^.\s]+\.[^.\s]+$")]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Search = Literal["grid", "random", "tpe", "gp"]
Scheduler = Literal["none", "asha", "hyperband", "median"]
Rungs = Literal["schedules", "one_run"]


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

    @model_validator(mode="before")
    @classmethod
    def _of_list(cls, given: Any) -> Any:
        """A bare list is a choice."""
        choices: Any = {"choice": given}
        return choices if isinstance(given, list) else given

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


class Budget(BaseModel):
    """Limits of a search; once one is reached nothing new begins, and the best of what has ended is the result."""

    model_config = _INPUT

    epochs: int | None = Field(default=None, ge=1, le=100_000_000, strict=True)
    """Of all trials together."""
    hours: float | None = Field(default=None, gt=0, le=1_000_000, allow_inf_nan=False)
    """Of slots: what the trials' jobs have run, together."""


class SearchSettings(BaseModel):
    """Settings of a search: the space, what suggests its points, and which trials are cut short."""

    model_config = _INPUT

    space: Space = {}
    """Field → its values; a bare list is a choice. The paper's grid of lambda and sigma where nothing is given and the
    regularizer is pace."""
    search: Search = "grid"
    """grid: every combination of choices; random; tpe and gp: Optuna's, which learn from the trials that have ended.
    gp, a Gaussian process, learns from few, up to a hundred."""
    scheduler: Scheduler = "none"
    """none: every trial runs the whole schedule. The others run a short one first: asha goes on with the best;
    hyperband is asha in several brackets, of which the later ones stop nothing so early; median goes on with whatever
    is not worse than the median of the others."""
    rungs: Rungs = "schedules"
    """schedules: each rung is a whole schedule of its own, since one that is cut off ranks at a high learning rate;
    one_run: one run of the whole schedule is looked at on its way, which costs fewer epochs."""
    trials: int | None = Field(default=None, ge=1, le=MOST_TRIALS, strict=True)
    """None: 30. A grid runs whole."""
    concurrency: int | None = Field(default=None, ge=1, le=1_000, strict=True)
    """Trials at a time. None: as many as there are slots when the search begins, at least two."""
    reduction: int = Field(default=3, ge=2, le=10, strict=True)
    """Each rung has so many times the epochs of the one before, and asha lets one in so many trials go on to it."""
    min_epochs: int | None = Field(default=None, ge=1, le=10_000, strict=True)
    """Of the first rung; where None, the whole's over the third power of `reduction`, at least one."""
    budget: Budget = Budget()
    metric: Annotated[str, Field(max_length=100, pattern=r"^val/[\w./ -]+$")] | None = None
    """Such as val/loss, of those that the runs measure on validation images; the task's own where None."""
    average_over: int = Field(default=3, ge=1, le=100, strict=True)
    """A trial counts by the mean of so many last evaluations, not by one."""
    mode: Literal["max", "min"] = "max"
    """Whether the highest or the lowest value of the metric is the best."""
    learn: bool = False
    """Whether the settings that did best on other tasks, in the project's earlier studies of the same row and fields,
    are tried first."""
    reuse: bool = True
    """Whether a job of equal settings, data and seed that is done is taken instead of a new one."""


class StudyRequest(SearchSettings):
    """A search on validation images; then its best is trained on all but the test images and tested once a seed."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        populate_by_name=True,
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
    budget: Budget | None = None
    """Takes the place of the earlier one: what was spent counts."""


class StudyPlan(BaseModel):
    """Trials and final runs of a study before it is submitted."""

    model_config = _OUTPUT

    task: str
    row: str
    trials: int
    rungs: list[int]
    """Epochs of each rung."""
    epochs: int
    """Of all trials together, as many as the scheduler can be expected to let run, or the budget."""
    final: int
    """Runs of the best, one a seed."""
    slot_minutes: float | None
    """Of all together, GPU-minutes where slots are GPUs; None where it cannot be told."""
    measured: bool
    """Whether that comes from the measured time of runs like it, and is not an estimate for a CPU."""
    slots: int
    """That could run it now."""
    minutes: float | None
    """Until the end, if it has those slots for itself; None where there is no slot."""
    waiting_for: str | None
    """What no worker seen so far has that it needs."""


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
    """stopped: by the scheduler, or by the end of the budget, before its last rung."""
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
    """By field: the share of the values' variance that it explains, by fANOVA over the trials that ran longest (Hutter,
    Hoos and Leyton-Brown, ICML 2014); known when the search is over."""
    suite: str | None
    """The final runs of the best."""
    parent: str | None
    """The suite for whose row and task it searches, which has the final runs."""
    created_at: datetime
    searched_at: datetime | None
    """When the search was over."""
    ended_at: datetime | None
    mlflow_url: str | None


class StudyFilters(Filters):
    """Which studies to list; all given ones must hold."""

    untracked: bool = False
    """Those that have ended and that the tracking does not show yet."""


class StudyPage(BaseModel):
    """Studies, newest first."""

    model_config = _OUTPUT

    data: list[StudyView]
    has_more: bool
    next_cursor: str | None
