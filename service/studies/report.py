"""Findings of a study: its best with its confidence, what matters, and what its pictures are drawn of."""

import math
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import EventType
from service.events.tables import JobEvent
from service.jobs.tables import Job
from service.studies.queries import best_of, metric_of, request_of, trials
from service.studies.report_schemas import CurveView, MapView, PointView, StudyReport
from service.studies.schemas import TrialView
from service.studies.tables import Study

_Z = 1.959964  # of a two-sided 95 % interval
_MAPPED = ("regularizer.sigma", "regularizer.lambda")


async def report_of(session: AsyncSession, study: Study) -> StudyReport:
    """Returns what is known by now."""
    request = request_of(study)
    metric = request.metric or f"val/{metric_of(study.benchmark, study.task)}"
    found = await trials(session, study)
    best = best_of(found, request.mode)
    last = [trial for trial in found if best and trial.epochs == best.epochs and trial.value is not None]
    samples = await _samples(session, best, metric)
    low, high = _wilson(best.value, samples) if best and best.value is not None and samples else (None, None)
    alike = [
        trial.number
        for trial in last
        if best and low is not None and high is not None and trial.value is not None
        if trial.number != best.number and low <= trial.value <= high
    ]
    return StudyReport(
        metric=metric,
        mode=request.mode,
        best=best,
        samples=samples,
        low=low,
        high=high,
        alike=alike,
        importance=study.importance or {},
        map=_map(last, list(request.space), study.importance or {}),
        curves=await _curves(session, found, metric),
        trials=found,
    )


async def _samples(session: AsyncSession, best: TrialView | None, metric: str) -> int | None:
    """Images behind the metric, of the best trial's longest rung."""
    job = best.rungs[-1].job if best and best.rungs else None
    result = (await session.execute(select(Job.result).where(Job.id == job))).scalar_one_or_none() if job else None
    for said in (result or {}).get("metrics", []):
        if f"{said['split']}/{said['metric']}" == metric:
            return said.get("samples")
    return None


def _wilson(share: float, count: int) -> tuple[float | None, float | None]:
    """Wilson's interval (Wilson, JASA 1927); none where it is no share."""
    if not 0.0 <= share <= 1.0:
        return None, None
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _map(last: Sequence[TrialView], space: Sequence[str], importance: dict[str, float]) -> MapView | None:
    """Of sigma and lambda where both are searched, else of the two fields that matter most."""
    ranked = sorted(space, key=lambda path: (path not in _MAPPED, -importance.get(path, 0.0)))[:2]
    if len(ranked) < 2:
        return None
    x, y = ranked
    points = [
        PointView(trial=trial.number, x=trial.config[x], y=trial.config[y], value=trial.value)
        for trial in last
        if trial.value is not None and x in trial.config and y in trial.config
    ]
    return MapView(x=x, y=y, points=points)


async def _curves(session: AsyncSession, found: Sequence[TrialView], metric: str) -> list[CurveView]:
    longest = {trial.rungs[-1].job: trial for trial in found if trial.rungs and trial.rungs[-1].job}
    events = await session.execute(
        select(JobEvent.job, JobEvent.data)
        .where(JobEvent.job.in_(longest), JobEvent.type == EventType.METRICS)
        .order_by(JobEvent.job, JobEvent.number)
    )
    of_job: dict[str, dict[int, float]] = {}
    for job, data in events:
        value: Any = data.get("values", {}).get(metric)
        if value is not None:
            of_job.setdefault(job, {})[data.get("epoch") or 0] = value
    return [
        CurveView(
            trial=trial.number, rung=trial.rungs[-1].rung, epochs=list(of_job[job]), values=list(of_job[job].values())
        )
        for job, trial in longest.items()
        if job in of_job
    ]
