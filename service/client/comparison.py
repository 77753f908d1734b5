"""Rows beside each other over seeds and draws: what finished jobs say, with the uncertainty of few runs."""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from pace_core.spec.lifecycle import State
from service.client.models import Job
from service.student import mean_of, student_t

Phase = Literal["search", "final"]
_SPLIT: dict[str, str] = {"search": "val", "final": "test"}


class NothingToCompare(ValueError):
    """The jobs make no table; the message says why and what to do."""


class Run(NamedTuple):
    """The place of a run in its row."""

    seed: int
    draw: int = 0
    """Of training images, where the benchmark has several; it is not the seed."""


@dataclass(frozen=True)
class Difference:
    """A row's mean minus the mean of the row that it is set beside."""

    mean: float
    low: float | None
    """Lower end of the 95 % interval by Student's t; None where there are too few runs for one."""
    high: float | None
    paired: bool
    """Over equal seeds and draws, each minus its counterpart; else Welch's interval for two independent samples."""
    common: list[Run]
    """The seeds and draws that both have."""


@dataclass(frozen=True)
class Row:
    """Runs of one label with equal settings, data and weights, one a seed and draw."""

    label: str
    values: dict[Run, float]
    """Seed and draw → measured fraction."""
    jobs: list[str]
    difference: Difference | None = None
    """None for the row that the others are set beside."""

    @property
    def n(self) -> int:
        return len(self.values)

    @cached_property
    def mean(self) -> float:
        return statistics.fmean(self.values.values())

    @cached_property
    def std(self) -> float | None:
        """Sample standard deviation; None below two runs."""
        return statistics.stdev(self.values.values()) if self.n > 1 else None

    @property
    def standard_error(self) -> float | None:
        """Of the mean, over seeds and draws; None below two runs."""
        return None if self.std is None else self.std / math.sqrt(self.n)


@dataclass(frozen=True)
class Comparison:
    """Rows × seeds and draws of one task."""

    task: str
    phase: str
    split: str
    """`val` in phase search, `test` in phase final."""
    metric: str
    versus: str
    """Label of the row that the others are set beside."""
    rows: list[Row]
    """In the order of their first submission."""
    notes: list[str] = field(default_factory=list[str])


def compare(
    jobs: Iterable[Job], versus: str | None = None, phase: Phase | None = None, rows: Sequence[str] = ()
) -> Comparison:
    """Returns the table of these jobs; only runs with equal settings, data and weights share a row.

    `versus` names the row to set the others beside: the first one where None. `phase`: final where there are such
    results, else search. `rows` keeps these labels only. Raises NothingToCompare.
    """
    found = sorted(jobs, key=lambda job: job.id)
    if rows:
        wanted = {label.casefold() for label in rows}
        found = [job for job in found if job.row.casefold() in wanted]
    phase = phase or _phase(found)
    others = sum(job.phase != phase for job in found)
    found = [job for job in found if job.phase == phase]
    tasks = sorted({_task(job) for job in found})
    if not found:
        hint = (
            f" of phase {phase}; {_counted(others, 'job')} of the other phase" if others else "; `pace jobs` lists all"
        )
        raise NothingToCompare(f"there are no such jobs{hint}")
    if len(tasks) > 1:
        raise NothingToCompare(f"these jobs are of {len(tasks)} tasks; name one: {', '.join(tasks)}")
    split, metric = _SPLIT[phase], _metric(found, _SPLIT[phase])
    measured = [job for job in found if _value(job, split, metric) is not None]
    if not measured:
        raise NothingToCompare(
            f"none of the {_counted(len(found), 'job')} of {tasks[0]} has a result yet: {_states(found)}"
        )
    table = _rows(measured, split, metric)
    beside = _named(table, versus)
    return Comparison(
        task=tasks[0],
        phase=phase,
        split=split,
        metric=metric,
        versus=beside.label,
        rows=[Row(r.label, r.values, r.jobs, None if r is beside else difference(r, beside)) for r in table],
        notes=_notes(found, measured, table),
    )


def difference(row: Row, beside: Row) -> Difference:
    """Returns `row` minus `beside`: paired where they have at least two runs in common, else between the means."""
    common = sorted(row.values.keys() & beside.values.keys())
    if len(common) > 1:
        each = mean_of([row.values[run] - beside.values[run] for run in common])
        return Difference(each.value, each.low, each.high, paired=True, common=common)
    mean = row.mean - beside.mean
    if row.std is None or beside.std is None:
        return Difference(mean, None, None, paired=False, common=common)
    parts = [row.std**2 / row.n, beside.std**2 / beside.n]
    error = math.sqrt(sum(parts))
    if error == 0:
        return Difference(mean, mean, mean, paired=False, common=common)
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (row.n - 1) + parts[1] ** 2 / (beside.n - 1))
    reach = student_t(freedom) * error
    return Difference(mean, mean - reach, mean + reach, paired=False, common=common)


def _rows(measured: list[Job], split: str, metric: str) -> list[Row]:
    by_label: dict[str, dict[str | None, list[Job]]] = {}
    for job in measured:
        by_label.setdefault(job.row, {}).setdefault(job.cell, []).append(job)
    rows: list[Row] = []
    for label, cells in by_label.items():
        for said, jobs in zip(_apart([jobs[-1] for jobs in cells.values()]), cells.values(), strict=True):
            newest = {_run(job): job for job in jobs}  # a seed that was run twice on a draw counts once
            values = {run: _value(newest[run], split, metric) or 0.0 for run in sorted(newest)}
            rows.append(Row(f"{label} ({said})" if said else label, values, [newest[run].id for run in values]))
    return rows


def _run(job: Job) -> Run:
    draw = job.spec["task"].get("draw")
    return Run(job.seed, draw if isinstance(draw, int) else 0)


def _apart(jobs: list[Job]) -> list[str]:
    """Returns what tells the settings of these jobs apart, a text each; empty texts where there is but one."""
    if len(jobs) < 2:
        return [""] * len(jobs)
    flat = [dict(_flat({k: v for k, v in job.spec.items() if k not in ("seed", "resources")})) for job in jobs]
    for spec in flat:
        spec.pop("task.draw", None)  # as little a setting as the seed
    keys = [key for key in dict.fromkeys(k for spec in flat for k in spec) if len({repr(s.get(key)) for s in flat}) > 1]
    last = [key.rpartition(".")[2] for key in keys]
    names = [short if last.count(short) == 1 else key for key, short in zip(keys, last, strict=True)]
    texts = [
        ", ".join(f"{name}={spec[key]}" for name, key in zip(names, keys, strict=True) if key in spec) for spec in flat
    ]
    return [
        text
        if texts.count(text) == 1
        else ", ".join(filter(None, (text, f"data or weights of {job.created_at:%m-%d %H:%M:%S}")))
        for text, job in zip(texts, jobs, strict=True)
    ]


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{prefix}{key}.")  # pyright: ignore[reportUnknownArgumentType]
        else:
            yield f"{prefix}{key}", inner


def _named(rows: list[Row], versus: str | None) -> Row:
    if versus is None:
        return rows[0]
    matching = [row for row in rows if row.label.casefold() == versus.casefold()]
    matching = matching or [row for row in rows if row.label.casefold().startswith(versus.casefold())]
    if len(matching) != 1:
        which = "there is no row" if not matching else f"{len(matching)} rows begin with"
        raise NothingToCompare(f"{which} {versus!r}; there are {', '.join(repr(row.label) for row in rows)}")
    return matching[0]


def _phase(jobs: list[Job]) -> Phase:
    with_result = {job.phase for job in jobs if job.result} or {job.phase for job in jobs}
    return "search" if with_result == {"search"} else "final"


def _task(job: Job) -> str:
    return f"{job.benchmark}/{job.task}" if job.benchmark else job.task


def _metric(jobs: list[Job], split: str) -> str:
    """Returns accuracy, or what the task measures in its place."""
    names = [m.metric for job in reversed(jobs) if job.result for m in job.result.metrics if m.split == split]
    return "accuracy" if "accuracy" in names or not names else names[0]


def _value(job: Job, split: str, metric: str) -> float | None:
    return job.result.value(split, metric) if job.result and job.state is State.SUCCEEDED else None


def _notes(found: list[Job], measured: list[Job], rows: list[Row]) -> list[str]:
    known = {job.id for job in measured}
    missing = [job for job in found if job.id not in known]
    twice = len(measured) - sum(row.n for row in rows)
    notes = [f"without a result: {_counted(len(missing), 'job')} ({_states(missing)})"] if missing else []
    return notes + ([f"{_counted(twice, 'older run')} of the same seed and settings left out"] if twice else [])


def _states(jobs: list[Job]) -> str:
    states = [str(job.state) for job in jobs]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
