"""Tables of results as clients get them. Numbers are fractions; a table that prints percent multiplies."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

_OUTPUT = ConfigDict(use_attribute_docstrings=True)

LISTED_RUNS = 100
"""A cell names so many of its seeds and jobs at most."""


class CellView(BaseModel):
    """One row on one task."""

    model_config = _OUTPUT

    status: Literal["measured", "published", "pending", "failed", "refused"]
    """pending: jobs wait or run; failed: no job succeeded; refused: the row cannot run on this task."""
    mean: float | None
    """Over the runs, as the benchmark says: their mean, or their median."""
    std: float | None
    """Sample standard deviation over the runs (n - 1 below the sum); null below two runs."""
    runs: int
    """Runs behind the mean, one a seed."""
    seeds: list[int]
    """The lowest hundred of them; where there are draws of training images too, a seed stands once a draw."""
    draws: list[int] = []
    """Of training images, of each run in `seeds`; empty where the benchmark has one draw alone."""
    jobs: list[str]
    """The jobs behind the mean, by seed; of a cell without a mean, the jobs that failed or are due. At most 100."""
    cell: str | None
    """What the averaged runs have in common: settings, data, weights."""
    published: float | None
    """The printed number of the row with the same label."""
    best: bool
    """Highest of its column."""
    notes: list[str]
    """What a reader must know: runs left out, failures, another protocol."""


class MeanView(BaseModel):
    """A mean over tasks."""

    model_config = _OUTPUT

    value: float
    tasks: int
    """Tasks behind it."""
    complete: bool
    """Whether that is all of them."""
    best: bool
    """Highest of the rows that cover the same tasks."""


class RowView(BaseModel):
    model_config = _OUTPUT

    label: str
    kind: Literal["measured", "published"]
    source: str | None
    """Where a published row is printed."""
    cite: str | None = None
    """The key of that in `bibtex`."""
    cells: dict[str, CellView]
    """By task; tasks without anything are left out."""
    groups: dict[str, MeanView]
    """By group: the mean of its tasks."""
    mean: MeanView | None
    """As the benchmark takes it: the mean of group means, or of tasks."""
    notes: list[str]


class GroupView(BaseModel):
    model_config = _OUTPUT

    name: str
    title: str
    tasks: list[str]


class TaskView(BaseModel):
    model_config = _OUTPUT

    name: str
    title: str
    group: str


class Leaderboard(BaseModel):
    """Rows × tasks of one benchmark."""

    model_config = _OUTPUT

    benchmark: str
    title: str
    metric: str
    phase: Literal["search", "final"]
    project: str | None
    """Whose jobs; null: every project's."""
    protocol: str
    groups: list[GroupView]
    tasks: list[TaskView]
    rows: list[RowView]
    """Measured ones in the order of recipes, then others by label, then published ones as printed."""
    notes: list[str]
    bibtex: str = ""
    """BibTeX entries of what the published rows are quoted from."""
