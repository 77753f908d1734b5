"""Requests and answers about suites. Numbers are fractions, times seconds unless a name says otherwise."""

from datetime import datetime
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pace_core.spec import load_benchmarks
from service.filters import Filters
from service.jobs.schemas import LONGEST_RUN_S, Label, Tags
from service.leaderboards.schemas import Leaderboard
from service.studies.schemas import SearchSettings

_INPUT = ConfigDict(extra="forbid", use_attribute_docstrings=True)
_OUTPUT = ConfigDict(use_attribute_docstrings=True)

MOST_RUNS = 10_000
"""Of one suite."""
_Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
_Named = Annotated[Label, Field(min_length=1)]
_Tasks = Annotated[list[_Named | dict[str, Any]], Field(max_length=1_000)]


class SuiteRow(BaseModel):
    """A line of the table: a recipe's row, settings of your own, or settings over a recipe's row."""

    model_config = _INPUT

    label: _Named | None = None
    """In the table; the recipe's row, or method and regularizer, where None."""
    row: _Named | None = None
    """Of the recipe; without it the settings lie over the recipe's defaults."""
    spec: dict[str, Any] = {}
    """Part of a RunSpec, such as method and regularizer."""


_Rows = Annotated[list[_Named | SuiteRow], Field(max_length=1_000)]
_Backbones = Annotated[list[_Named | dict[str, Any]], Field(max_length=100)]
_Seeds = Annotated[list[_Seed], Field(max_length=1_000)]
_Draws = Annotated[list[_Seed], Field(max_length=100)]


class SuiteRequest(BaseModel):
    """A request for every row on every task with every seed."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {
                    "name": "does PACE help",
                    "benchmark": "vtab-mini",
                    "tasks": ["digits", "textures"],
                    "rows": ["LoRA_mul+VPT_add", "PACE"],
                    "seeds": [0, 1, 2],
                }
            ]
        },
    )

    name: Label = ""
    benchmark: _Named | None = None
    """None for tasks of your own, or where the tasks' names begin with it."""
    tasks: _Tasks = []
    """Names of the benchmark's tasks, all of them if none; or tasks of your own, as a spec has them."""
    recipe: _Named | None = None
    """Where rows and defaults come from; the benchmark's first one where None."""
    rows: Annotated[_Rows, Field(min_length=1)]
    """Labels of the recipe's rows, or settings."""
    backbones: _Backbones = []
    """Names, or sections of a spec; the rows' own if none. Where there are several, labels name them."""
    seeds: Annotated[_Seeds, Field(min_length=1)] = [0]
    draws: _Draws = []
    """Draws of training images, of few-shot and domain-adaptation, each run with every seed; all that the benchmark has
    if none, over which its protocol takes the mean."""
    overrides: dict[str, Any] = {}
    """Part of a RunSpec, laid over every row."""
    phase: Literal["search", "final"] = "final"
    """Which images the numbers come from; see a spec's `task.phase`. Where it is left out, the one that the benchmark
    reports: search, where the labels of the test split are not public."""
    search: SearchSettings | None = None
    """What to search on validation images before, for every row and task anew; the runs then have the best found. A row
    is searched over those of the fields that it has: one without any of them runs as it is."""
    reuse: bool = True
    """Whether a job of equal settings, data and seed that is done, waits or runs is taken instead of a new one."""
    max_parallel: Annotated[int, Field(ge=1, le=100_000, strict=True)] | None = None
    """Jobs of this suite that run at a time at most."""
    stop_after: Annotated[int, Field(ge=1, le=100_000, strict=True)] | None = 10
    """After so many failures in a row for the same reason the suite stops: what waits is cancelled. None: never."""
    project: Label | None = None
    priority: int = Field(default=50, ge=0, le=100, strict=True)
    tags: Tags = {}
    """Of every job."""
    max_attempts: int = Field(default=3, ge=1, le=100, strict=True)
    max_runtime_s: float | None = Field(default=None, gt=0, le=LONGEST_RUN_S, allow_inf_nan=False, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _phase_of_the_benchmark(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "phase" in given:
            return cast(Any, given)
        said = cast(dict[str, Any], given)
        tasks = said.get("tasks") or [""]
        name = said.get("benchmark") or str(cast(list[Any], tasks)[0]).partition("/")[0]
        benchmark = load_benchmarks().get(name) if isinstance(name, str) else None
        return {**said, "phase": benchmark.phase} if benchmark else said


class SuiteExtension(BaseModel):
    """Additions to a suite; what it has already is not run again."""

    model_config = _INPUT

    tasks: _Tasks = []
    rows: _Rows = []
    backbones: _Backbones = []
    seeds: _Seeds = []
    draws: _Draws = []


class PlannedRun(BaseModel):
    """One run of a suite, before it is submitted."""

    model_config = _OUTPUT

    row: str
    task: str
    seed: int
    draw: int
    """Of training images; 0 where the benchmark has one draw alone."""
    action: Literal["new", "reused", "shared", "refused"]
    """reused: done already; shared: waits or runs already; refused: the row cannot run on this task."""
    job: str | None
    """The one that is reused or shared."""
    reason: str | None
    """Why it is refused."""
    seconds: float | None
    """It would take, of one slot; None where nothing is known."""


class PlannedSearch(BaseModel):
    """One study of a suite, before it is submitted."""

    model_config = _OUTPUT

    row: str
    task: str
    trials: int
    epochs: int
    """Of all trials together, as many as the scheduler can be expected to let run."""
    seconds: float | None
    """They would take, of one slot."""


class SuitePlan(BaseModel):
    """The runs that a suite would make."""

    model_config = _OUTPUT

    benchmark: str | None
    rows: list[str]
    tasks: list[str]
    seeds: list[int]
    draws: list[int]
    runs: list[PlannedRun]
    searches: list[PlannedSearch]
    """Studies that come before, one a row and task."""
    trials: int
    """Of all of them."""
    new: int
    reused: int
    shared: int
    refused: int
    slot_minutes: float | None
    """Of trials and new jobs together, GPU-minutes where slots are GPUs; None where one of them cannot be told."""
    measured: int
    """New jobs whose time comes from the measured time of runs like them; the others' is an estimate for a CPU."""
    slots: int
    """That could run them now."""
    minutes: float | None
    """Until the new jobs have ended, if they have those slots for themselves; None where there is no slot."""
    waiting_for: str | None
    """What no worker seen so far has that the first new job needs."""


class SuiteView(BaseModel):
    """A suite."""

    model_config = _OUTPUT

    id: str
    project: str
    owner: str
    name: str
    benchmark: str | None
    phase: str
    state: Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
    """Of its jobs together: succeeded where all of them have."""
    counts: dict[str, int]
    """Runs by their jobs' state, by `searching`, by `refused`, and by `deleted`."""
    runs: int
    reused: int
    """Runs whose jobs were there before."""
    rows: list[str]
    tasks: list[str]
    seeds: list[int]
    trials: int
    """Of the searches that come before the runs."""
    trials_ended: int
    max_parallel: int | None
    stop_after: int | None
    stopped: str | None
    """Why it stopped by itself."""
    cancel_requested: bool
    minutes_left: float | None
    """Of one slot, for the jobs that have not ended; None where one of them cannot be told."""
    created_at: datetime
    ended_at: datetime | None
    mlflow_url: str | None


class SuiteFilters(Filters):
    """Which suites to list; all given ones must hold."""

    job: Annotated[str | None, Field(max_length=100)] = None
    """Those that have this job."""


class SuitePage(BaseModel):
    """Suites, newest first."""

    model_config = _OUTPUT

    data: list[SuiteView]
    has_more: bool
    next_cursor: str | None
    """For `after`."""


class DifferenceView(BaseModel):
    """A row minus another one."""

    model_config = _OUTPUT

    row: str
    versus: str
    kind: Literal["without", "published"]
    """without: the same method on the same backbone without a regularizer; published: the printed row of that label."""
    task: str | None
    """None: the mean over the tasks that both have."""
    over: Literal["seeds", "tasks"]
    """What the pairs are: equal seeds, or the means of equal tasks."""
    pairs: int
    mean: float
    low: float | None
    """Ends of the 95 % interval by Student's t over the pairs; None below two pairs."""
    high: float | None
    p: float | None
    """Of the paired t-test, two-sided."""


class SearchView(BaseModel):
    """The search behind a row on a task."""

    model_config = _OUTPUT

    row: str
    task: str
    study: str
    state: Literal["queued", "searching", "paused", "found", "failed", "cancelled"]
    message: str | None
    """Why it failed."""
    trials: int
    """Asked for."""
    ended: int
    found: dict[str, Any] | None
    """The best settings, with which the runs were made."""
    value: float | None
    """Theirs on validation images."""


class SuiteTable(Leaderboard):
    """A suite's table, with what its rows differ by."""

    suite: str
    name: str
    differences: list[DifferenceView]
    searches: list[SearchView]
