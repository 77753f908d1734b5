"""Loaders of the data folders `benchmarks/`, `published/` and `recipes/` (one TOML file each)."""

import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, computed_field

_DATA = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class BenchmarkTask(BaseModel):
    model_config = _DATA

    name: str
    title: str
    group: str
    source: str
    """Data source of the catalogue."""
    num_classes: int
    params: dict[str, Any] = {}
    """Parameters of the source that the benchmark fixes."""
    aliases: list[str] = []
    published: str = ""
    """The task's column title in the paper."""
    images: dict[str, int] = {}
    """Split → images in the versions that published numbers come from; other numbers are reported, not refused."""
    trained_about: int | None = None
    """Training images, where nobody has published how many; what a run takes is estimated with them."""
    pitfall: str = ""
    """What goes wrong with its distributions."""
    metric: str = ""
    """What it is measured by, where that is not the benchmark's metric."""
    averaged: bool = True
    """Whether it counts in the benchmark's mean; a task that others begin from does not."""
    measured_with: str = ""
    """Task whose runs measure this one too, with the model that they have trained; it has no runs of its own."""


class Group(BaseModel):
    model_config = _DATA

    name: str
    title: str


class DataPart(BaseModel):
    """A part of a benchmark's data: what it is fetched from, or where else to get it."""

    model_config = _DATA

    name: str
    of: list[str] = []
    """Data sets that need it, as their tasks call them; all where empty."""
    homes: list[str] = []
    """Names that the data set's folder may bear below the root: where none is there, the first is made."""
    to: str = ""
    """Folder in that home that it becomes; the home or root itself where empty."""
    archive: str = ""
    """URL of a zip or tar file."""
    folder: str = ""
    """Folder of the archive that is taken."""
    sha256: str = ""
    """Of the archive; where nobody publishes one, that of what came first is kept beside the data."""
    md5: str = ""
    """Of the archive, where its makers publish this one only."""
    bytes: int | None = None
    """Of the archive."""
    base: str = ""
    """URL of the folder of `files`."""
    files: dict[str, str] = {}
    """Name of a file → its SHA-256."""
    by_hand: str = ""
    """How to get it, where no plain URL gives it."""
    terms: str = ""
    """On what terms it is given."""
    checksum: str = ""
    """Who publishes the checksum."""


class Benchmark(BaseModel):
    """Tasks in groups, and how their numbers become a mean."""

    model_config = _DATA

    name: str
    title: str
    data: str = ""
    """Name under which a machine says where its files lie, which benchmarks may share; empty where it has none."""
    metric: str
    mean: Literal["mean_of_group_means", "mean_of_tasks"]
    over_seeds: Literal["mean", "median"] = "mean"
    reported: Literal["test", "best_val"] = "test"
    """Number of a run that stands in tables: of the test split after the last epoch (phase final), or the best epoch's
    on validation data, where the test split has no public labels (phase search)."""
    final_trains_on_val: bool = False
    """Whether a final run trains on the validation images too."""
    draws: int = 1
    """Draws of training images (`task.draw`, from 0), each a run of its own; a table takes its mean over all."""
    protocol: str
    groups: list[Group]
    tasks: list[BenchmarkTask]
    parts: list[DataPart] = []
    """What its data are fetched from."""

    @property
    def averaged(self) -> list[BenchmarkTask]:
        """The tasks that count in the mean."""
        return [task for task in self.tasks if task.averaged]

    @property
    def phase(self) -> Literal["search", "final"]:
        """The phase of the runs that stand in its tables."""
        return "search" if self.reported == "best_val" else "final"

    def metric_of(self, task: str) -> str:
        """Returns what a task, by its short name, is measured by."""
        found = self.task(task)
        return (found.metric if found else "") or self.metric

    @property
    def trained(self) -> list[BenchmarkTask]:
        """The tasks that have runs of their own."""
        return [task for task in self.tasks if not task.measured_with]

    def images_of(self, task: BenchmarkTask, phase: Literal["search", "final"]) -> dict[str, int]:
        """Returns how many images a run trains on (`train`) and measures on (`val` or `test`), as far as is known."""
        known = task.images
        measured = "val" if phase == "search" else "test"
        found = {measured: known[measured]} if measured in known else {}
        train = known.get("train", task.trained_about)
        if train is not None:
            joined = known.get("val", 0) if phase == "final" and self.final_trains_on_val else 0
            found["train"] = train + joined
        return found

    def task(self, name: str) -> BenchmarkTask | None:
        """Returns the task of that name or alias."""
        return next((t for t in self.tasks if name == t.name or name in t.aliases), None)


Cause = Literal["truncated", "rounded_values", "contradicts"]
"""Why a printed mean is not that of the printed values: its last digit is cut off instead of rounded; it was taken of
values with more digits; or it is another number."""


class PublishedRow(BaseModel):
    model_config = _DATA

    label: str
    values: dict[str, float] = {}
    """Task of the table's benchmark, or column of the table → printed number."""
    others: dict[str, float] = {}
    """`benchmark/task` of other benchmarks → printed number."""
    groups: dict[str, float] = {}
    """Group of the benchmark → its mean as printed."""
    mean: float | None = None
    """As printed."""
    checks: dict[str, Cause] = {}
    """`mean` or a group → why its printed mean is not that of the values."""
    method: str | None = None
    """One of ours, where it is the same for all tasks."""
    regularizer: str | None = None
    """One of ours."""
    setting: str = ""
    """What of it is not the benchmark's protocol."""
    source: str = ""
    """Where it is printed, over the table's."""
    cite: str = ""
    """Key in `published/sources.bib` of where it is printed, over the table's."""
    note: str = ""
    erratum: str = ""
    """What is wrong in print, and what is right."""
    doubt: str = ""
    """Why the numbers cannot stand beside the others; such a row is never the best."""


class Column(BaseModel):
    """A column of a table that is not of a benchmark's tasks alone."""

    model_config = _DATA

    name: str
    title: str
    unit: Literal["percent", "GB", "kB", "minutes"]
    task: str = ""
    """`benchmark/task`, where it is one's accuracy."""


class PublishedTable(BaseModel):
    """Printed numbers with their source."""

    model_config = _DATA

    name: str
    title: str
    benchmark: str | None = None
    """Whose tasks the values are of."""
    source: str
    cite: str = ""
    """Key of the source in `published/sources.bib`; empty where the rows have keys of their own."""
    metric: str
    """The values of a benchmark's tasks are in percent."""
    mean: Literal["mean_of_group_means", "mean_of_tasks"] | None = None
    """How the source takes its mean, where that is not how the benchmark does."""
    setting: str = ""
    """What all rows have that is not the benchmark's protocol. Such a table stands on no leaderboard."""
    note: str = ""
    columns: list[Column] = []
    rows: list[PublishedRow]

    def source_of(self, row: PublishedRow) -> str:
        """Returns where a row is printed."""
        return row.source or self.source

    def cited_by(self, row: PublishedRow) -> str:
        """Returns the BibTeX key of where a row is printed."""
        return row.cite or self.cite

    @computed_field
    @property
    def bibtex(self) -> str:
        """BibTeX entries of what the table quotes."""
        return bibtex_of(self.cited_by(row) for row in self.rows)


@cache
def load_benchmarks() -> dict[str, Benchmark]:
    """Loads every benchmark, by name."""
    return {raw["name"]: Benchmark.model_validate(raw) for _, raw in _toml("benchmarks")}


@cache
def load_published() -> dict[str, PublishedTable]:
    """Loads every published table, by name."""
    return {name: PublishedTable.model_validate({"name": name, **raw}) for name, raw in _toml("published")}


@cache
def load_bibliography() -> dict[str, str]:
    """Loads the BibTeX entries of everything that a published table quotes, by key."""
    text = (files("pace_core") / "published" / "sources.bib").read_text("utf-8")
    entries = [f"@{entry.strip()}" for entry in f"\n{text}".split("\n@")[1:]]
    return {entry.partition("{")[2].partition(",")[0]: entry for entry in entries}


def bibtex_of(keys: Iterable[str]) -> str:
    """Returns the entries of the keys, each once, in their order."""
    return "\n\n".join(load_bibliography()[key] for key in dict.fromkeys(keys))


def published_beside(benchmark: str) -> list[PublishedTable]:
    """Returns the tables that stand beside measured rows of the benchmark: the paper's, then those of others."""
    tables = [table for table in load_published().values() if table.benchmark == benchmark and not table.setting]
    return sorted(tables, key=lambda table: table.name != benchmark)


def find_task(name: str) -> tuple[Benchmark, BenchmarkTask] | None:
    """Returns the benchmark and task that `benchmark/task` names, aliases included; None where there is none."""
    benchmark_name, _, task_name = name.partition("/")
    benchmark = load_benchmarks().get(benchmark_name)
    task = benchmark.task(task_name) if benchmark else None
    return (benchmark, task) if benchmark and task else None


def _toml(folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted((files("pace_core") / folder).iterdir(), key=lambda f: f.name):
        if file.name.endswith(".toml"):
            yield file.name.removesuffix(".toml"), tomllib.loads(file.read_text("utf-8"))
