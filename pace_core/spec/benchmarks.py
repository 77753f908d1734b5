"""Loaders of the data folders `benchmarks/`, `published/` and `recipes/` (one TOML file each)."""

import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

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


class Group(BaseModel):
    model_config = _DATA

    name: str
    title: str


class Benchmark(BaseModel):
    """Tasks in groups, and how their numbers become a mean."""

    model_config = _DATA

    name: str
    title: str
    metric: str
    mean: Literal["mean_of_group_means", "mean_of_tasks"]
    over_seeds: Literal["mean", "median"] = "mean"
    protocol: str
    groups: list[Group]
    tasks: list[BenchmarkTask]

    def task(self, name: str) -> BenchmarkTask | None:
        """Returns the task of that name or alias."""
        return next((t for t in self.tasks if name == t.name or name in t.aliases), None)


class PublishedRow(BaseModel):
    model_config = _DATA

    label: str
    values: dict[str, float]
    """Task name → printed number."""
    mean: float | None = None
    """As printed; the leaderboard computes its own."""
    note: str = ""


class PublishedTable(BaseModel):
    """Printed numbers with their source."""

    model_config = _DATA

    name: str
    benchmark: str
    source: str
    metric: str
    unit: Literal["percent"]
    note: str = ""
    rows: list[PublishedRow]


@cache
def load_benchmarks() -> dict[str, Benchmark]:
    """Loads every benchmark, by name."""
    return {raw["name"]: Benchmark.model_validate(raw) for _, raw in _toml("benchmarks")}


@cache
def load_published() -> list[PublishedTable]:
    """Loads every published table."""
    return [PublishedTable.model_validate({"name": name, **raw}) for name, raw in _toml("published")]


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
