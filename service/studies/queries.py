"""Reads studies and their trials."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import State
from service.jobs.tables import Job
from service.keys.auth import Caller
from service.paging import newest_first
from service.problems import NotFound
from service.studies.schemas import RungView, StudyRequest, StudyView, TrialView, sort_key
from service.studies.space import rungs_of
from service.studies.tables import Rung, Study, Trial
from service.suites.queries import views as suite_views
from service.suites.tables import Suite

_BINS = 3  # of the values of a range, for importances


async def find(session: AsyncSession, study_id: str, caller: Caller, *, lock: bool = False) -> Study:
    """Returns the study, its row locked where it is to be changed. Raises NotFound where the caller sees none."""
    study = await session.get(Study, study_id, with_for_update=lock, populate_existing=True)
    if study is None or not caller.sees(study.project):
        raise NotFound(f"there is no study {study_id!r}, or it belongs to a project that this key does not see")
    return study


async def page(
    session: AsyncSession, caller: Caller, limit: int, after: str | None
) -> tuple[Sequence[Study], str | None]:
    """Returns one page of studies, newest first, and the cursor of the next one."""
    query = select(Study)
    if caller.bounded:
        query = query.where(Study.project == caller.project)
    return await newest_first(session, query, Study.id, "study", limit, after)


async def trials(session: AsyncSession, study: Study) -> list[TrialView]:
    """Returns every trial, in the order in which they began."""
    rungs = await session.execute(
        select(Rung, Job.state, Job.reason, Job.message)
        .join(Job, Job.id == Rung.job, isouter=True)
        .where(Rung.study == study.id)
        .order_by(Rung.trial, Rung.rung)
    )
    of_trial: dict[int, list[Any]] = {}
    for row in rungs:
        of_trial.setdefault(row.Rung.trial, []).append(row)
    whole = len(rungs_of(request_of(study), study.epochs))
    found = await session.execute(select(Trial).where(Trial.study == study.id).order_by(Trial.number))
    return [_trial(trial, of_trial.get(trial.number, []), whole) for trial in found.scalars()]


def _trial(trial: Trial, rows: Sequence[Any], whole: int) -> TrialView:
    done = [row.Rung for row in rows if row.Rung.value is not None]
    bad = next((row for row in rows if row.state in (State.FAILED, State.CANCELLED)), None)
    message = trial.refused or (f"{bad.reason}: {bad.message}" if bad else None)
    if message:
        state: Literal["running", "finished", "stopped", "failed"] = "failed"
    elif trial.stopped_at is not None:
        state = "stopped"
    else:
        state = "finished" if len(done) == whole else "running"
    return TrialView(
        number=trial.number,
        config=trial.config,
        state=state,
        value=done[-1].value if done else None,
        epochs=done[-1].epochs if done else 0,
        message=message,
        rungs=[
            RungView(
                rung=row.Rung.rung,
                epochs=row.Rung.epochs,
                job=row.Rung.job,
                state=row.state or "deleted",
                value=row.Rung.value,
            )
            for row in rows
        ],
    )


def best_of(found: Sequence[TrialView], mode: str) -> TrialView | None:
    """Returns the best of the trials that ran longest."""
    measured = [trial for trial in found if trial.value is not None and trial.state != "failed"]
    longest = max((trial.epochs for trial in measured), default=0)
    last = [trial for trial in measured if trial.epochs == longest]
    sign = 1 if mode == "max" else -1
    return max(last, key=lambda trial: (sign * (trial.value or 0.0), -trial.number), default=None)


def importances(found: Sequence[TrialView]) -> dict[str, float]:
    """Returns, by field, the share of the values' variance between groups of equal values (of a field with many: of
    equal thirds), over the trials that ran longest. Empty below four trials, or where all are equal."""
    measured = [trial for trial in found if trial.value is not None]
    longest = max((trial.epochs for trial in measured), default=0)
    last = [trial for trial in measured if trial.epochs == longest]
    values = [trial.value or 0.0 for trial in last]
    if len(last) < 4 or statistics.pvariance(values) == 0:
        return {}
    total, mean = statistics.pvariance(values), statistics.fmean(values)
    shares: dict[str, float] = {}
    for path in dict.fromkeys(path for trial in last for path in trial.config):
        groups: dict[Any, list[float]] = {}
        for group, trial in zip(_groups([trial.config.get(path) for trial in last]), last, strict=True):
            groups.setdefault(group, []).append(trial.value or 0.0)
        between = sum(len(some) * (statistics.fmean(some) - mean) ** 2 for some in groups.values())
        shares[path] = between / len(last) / total
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _groups(values: Sequence[Any]) -> list[Any]:
    if len(set(map(repr, values))) <= max(_BINS, len(values) // 3):
        return [repr(value) for value in values]
    ranked = sorted(range(len(values)), key=lambda index: sort_key(values[index]))
    place = {index: rank * _BINS // len(values) for rank, index in enumerate(ranked)}
    return [place[index] for index in range(len(values))]


def request_of(study: Study) -> StudyRequest:
    """Returns the request that the study keeps."""
    return StudyRequest.model_validate(study.request)


async def view(session: AsyncSession, study: Study) -> StudyView:
    """Returns the study as clients see it."""
    found = await trials(session, study)
    request = request_of(study)
    suite = await session.get(Suite, study.suite) if study.suite else None
    final = (await suite_views(session, [suite]))[0] if suite else None
    counts: dict[str, int] = {}
    for trial in found:
        counts[trial.state] = counts.get(trial.state, 0) + 1
    state = await _state(session, study, found, final.state if final else None)
    return StudyView(
        id=study.id,
        project=study.project,
        owner=study.owner,
        name=study.name,
        benchmark=study.benchmark,
        task=study.task,
        row=study.row,
        state=state,
        message=study.failed,
        request=study.request,
        trials=study.trials,
        counts=counts,
        rungs=rungs_of(request, study.epochs),
        epochs_spent=sum(rung.epochs for trial in found for rung in trial.rungs if rung.value is not None),
        best=best_of(found, request.mode),
        importance=importances(found),
        suite=study.suite,
        created_at=study.created_at,
        ended_at=(final.ended_at if final else study.searched_at) if state in _ENDED else None,
    )


_ENDED = ("succeeded", "failed", "cancelled")


async def _state(
    session: AsyncSession, study: Study, found: Sequence[TrialView], final: str | None
) -> Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]:
    if study.cancelled_at is not None:
        return "cancelled"
    if study.failed is not None:
        return "failed"
    if study.searched_at is not None:
        ended: Mapping[str, Literal["succeeded", "failed", "cancelled"]] = {
            "succeeded": "succeeded",
            "failed": "failed",
            "cancelled": "cancelled",
        }
        return "succeeded" if final is None else ended.get(final, "running")
    if study.paused_at is not None:
        return "paused"
    now = (await session.execute(select(func.now()))).scalar_one()
    leased = study.lease_expires_at is not None and study.lease_expires_at > now
    return "running" if leased or found else "queued"
