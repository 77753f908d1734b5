"""The jobs behind a table, and what may be averaged of them."""

import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Metric, State
from service.jobs.tables import Job
from service.leaderboards.schemas import CellView


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


async def runs_of(
    session: AsyncSession, benchmark: str, metric: str, phase: Literal["search", "final"], project: str | None
) -> list[Run]:
    """Every job of the benchmark in that phase, newest first."""
    query = (
        select(
            Job.id,
            Job.row,
            Job.task,
            Job.state,
            Job.reason,
            Job.cell,
            Job.seed,
            Job.spec,
            Job.result["metrics"].label("metrics"),
        )
        .where(Job.benchmark == benchmark, Job.phase == phase)
        .order_by(Job.id.desc())
    )
    if project is not None:
        query = query.where(Job.project == project)
    split = "test" if phase == "final" else "val"
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
            value=_value(row.metrics or [], metric, split),
        )
        for row in await session.execute(query)
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
