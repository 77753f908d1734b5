"""The jobs behind a table, and what may be averaged of them."""

import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Benchmark, BenchmarkTask, Group, Metric, State, load_benchmarks
from service.jobs.tables import Job
from service.leaderboards.schemas import CellView

Phase = Literal["search", "final"]
_SPLIT: dict[Phase, str] = {"search": "val", "final": "test"}


@dataclass(frozen=True)
class Run:
    """What a table needs to know of a job."""

    job: str
    row: str
    task: str
    state: State
    reason: str | None
    cell: str | None
    seed: int
    spec: dict[str, Any]
    value: float | None
    """The benchmark's metric on the phase's split."""

    @property
    def settings(self) -> str:
        """Equal for runs that were asked for alike, whatever their seeds."""
        said = {key: value for key, value in self.spec.items() if key not in ("seed", "resources")}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


async def own_task(session: AsyncSession, name: str, phase: Phase, project: str | None) -> Benchmark | None:
    """A task of the users' own as a benchmark of that one task; None where nobody submitted a job of it.

    Its metric is accuracy, or what its newest result measures in that place.
    """
    jobs = select(Job.result["metrics"], Job.spec["task"]["source"].astext).where(*_own(name, project))
    newest = (await session.execute(jobs.order_by(Job.result.is_(None), Job.id.desc()).limit(1))).first()
    if newest is None:
        return None
    said: list[dict[str, Any]] = newest[0] or []
    metrics = [Metric.model_validate(raw) for raw in said]
    measured = [m.metric for m in metrics if m.split == _SPLIT[phase]]
    task = BenchmarkTask(name=name, title=name, group=name, source=str(newest[1]), num_classes=0)
    return Benchmark(
        name=name,
        title=name,
        metric=measured[0] if measured and "accuracy" not in measured else "accuracy",
        mean="mean_of_tasks",
        protocol="a task of the users' own",
        groups=[Group(name=name, title=name)],
        tasks=[task],
    )


def _own(task: str, project: str | None) -> list[ColumnElement[bool]]:
    whose = [Job.project == project] if project is not None else []
    return [Job.benchmark.is_(None), Job.task == task, *whose]


async def runs_of(session: AsyncSession, benchmark: Benchmark, phase: Phase, project: str | None) -> list[Run]:
    """Every job of the benchmark in that phase, newest first."""
    query = select(
        Job.id,
        Job.row,
        Job.task,
        Job.state,
        Job.reason,
        Job.cell,
        Job.seed,
        Job.spec,
        Job.result["metrics"].label("metrics"),
    ).where(Job.phase == phase)
    if benchmark.name in load_benchmarks():
        query = query.where(Job.benchmark == benchmark.name)
        query = query if project is None else query.where(Job.project == project)
    else:
        query = query.where(*_own(benchmark.name, project))
    return [
        Run(
            job=row.id,
            row=row.row,
            task=row.task,
            state=State(row.state),
            reason=row.reason,
            cell=row.cell,
            seed=row.seed,
            spec=row.spec,
            value=_value(row.metrics or [], benchmark.metric, _SPLIT[phase]),
        )
        for row in await session.execute(query.order_by(Job.id.desc()))
    ]


def _value(metrics: list[dict[str, Any]], metric: str, split: str) -> float | None:
    parsed = [Metric.model_validate(raw) for raw in metrics]
    return next((m.value for m in parsed if m.metric == metric and m.split == split), None)


def cell_of(runs: Sequence[Run], over_seeds: Literal["mean", "median"]) -> CellView:
    """One row on one task out of its runs, newest first: the newest cell that has a result, averaged over seeds."""
    measured = [run for run in runs if run.state is State.SUCCEEDED and run.value is not None]
    if not measured:
        return _without_result(runs)
    newest = measured[0]
    by_seed: dict[int, Run] = {}
    for run in measured:
        if run.cell == newest.cell:
            by_seed.setdefault(run.seed, run)
    chosen = [by_seed[seed] for seed in sorted(by_seed)]
    values = [run.value for run in chosen if run.value is not None]
    return CellView(
        status="measured",
        mean=statistics.fmean(values) if over_seeds == "mean" else statistics.median(values),
        std=statistics.stdev(values) if len(values) > 1 else None,
        runs=len(values),
        seeds=sorted(by_seed),
        jobs=[run.job for run in chosen],
        cell=newest.cell,
        published=None,
        best=False,
        notes=_left_out(runs, newest, by_seed),
    )


def _without_result(runs: Sequence[Run]) -> CellView:
    newest = [run for run in runs if run.settings == runs[0].settings]
    pending = [run for run in newest if not run.state.ended]
    due = pending or newest
    refused = not pending and all(run.reason == "spec_invalid" for run in newest)
    return CellView(
        status="pending" if pending else "refused" if refused else "failed",
        mean=None,
        std=None,
        runs=0,
        seeds=sorted({run.seed for run in due}),
        jobs=[run.job for run in due],
        cell=None,
        published=None,
        best=False,
        notes=_counted(pending, newest),
    )


def _left_out(runs: Sequence[Run], newest: Run, by_seed: dict[int, Run]) -> list[str]:
    notes: list[str] = []
    alike = [run for run in runs if run.settings == newest.settings and run.seed not in by_seed]
    notes += _counted([run for run in alike if not run.state.ended], alike)
    others = [run for run in runs if run.state is State.SUCCEEDED and run.cell != newest.cell]
    if others:
        cells = len({run.cell for run in others})
        of = "another cell" if cells == 1 else f"{cells} other cells"
        notes.append(f"{_runs(len(others), 'earlier ')} of {of} left out: other settings, data or weights")
    changed = [run for run in runs if run.settings != newest.settings and run.job > newest.job]
    if changed:
        notes.append(f"without result, or still to come: {_runs(len(changed), 'newer ')} with other settings")
    return notes


def _counted(pending: Sequence[Run], runs: Sequence[Run]) -> list[str]:
    notes = [f"{_runs(len(pending))} still to end"] if pending else []
    reasons = Counter(run.reason for run in runs if run.state in (State.FAILED, State.CANCELLED))
    return notes + [f"{count} of {len(runs)} runs without result: {reason}" for reason, count in reasons.items()]


def _runs(count: int, which: str = "") -> str:
    return f"{count} {which}run{'' if count == 1 else 's'}"
