"""Reads studies and their trials."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import false, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import State, load_benchmarks
from service.jobs.tables import Job
from service.keys.auth import Caller
from service.paging import is_task, narrowed, newest_first
from service.problems import NotFound
from service.studies.schemas import RungView, StudyFilters, StudyRequest, StudyView, TrialView
from service.studies.space import rungs_of
from service.studies.tables import Rung, Study, Trial
from service.suites.queries import open_suites
from service.suites.queries import views as suite_views
from service.suites.tables import Suite


async def find(session: AsyncSession, study_id: str, caller: Caller, *, lock: bool = False) -> Study:
    """Returns the study, its row locked where it is to be changed. Raises NotFound where the caller sees none."""
    study = await session.get(Study, study_id, with_for_update=lock, populate_existing=True)
    if study is None or not caller.sees(study.project):
        raise NotFound(f"there is no study {study_id!r}, or it belongs to a project that this key does not see")
    return study


async def page(session: AsyncSession, caller: Caller, filters: StudyFilters) -> tuple[Sequence[Study], str | None]:
    """Returns one page of studies, newest first, and the cursor of the next one."""
    query = narrowed(select(Study), Study, filters)
    if filters.row is not None:
        query = query.where(Study.row == filters.row)
    if filters.task is not None:
        query = query.where(is_task(filters.task, Study.benchmark, Study.task))
    if filters.ended is not None:
        searching = Study.searched_at.is_(None) & Study.failed.is_(None) & Study.cancelled_at.is_(None)
        open_ = searching | Study.suite.in_(open_suites())
        query = query.where(~func.coalesce(open_, false()) if filters.ended else open_)
    if filters.untracked:
        query = query.where(Study.searched_at.is_not(None), ~Study.tracked)
    if caller.bounded:
        query = query.where(Study.project == caller.project)
    return await newest_first(session, query, Study.id, "study", filters.limit, filters.after)


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
    over = study.searched_at is not None
    return [_trial(trial, of_trial.get(trial.number, []), whole, over) for trial in found.scalars()]


def _trial(trial: Trial, rows: Sequence[Any], whole: int, over: bool) -> TrialView:
    done = [row.Rung for row in rows if row.Rung.value is not None]
    # a run that the scheduler stopped on its way is cancelled, which is no failure
    bad = next((r for r in rows if r.Rung.value is None and r.state in (State.FAILED, State.CANCELLED)), None)
    message = trial.refused or (f"{bad.reason}: {bad.message}" if bad else None)
    if message:
        state: Literal["running", "finished", "stopped", "failed"] = "failed"
    elif len(done) == whole:
        state = "finished"
    else:
        state = "stopped" if trial.stopped_at is not None or over else "running"
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


def metric_of(benchmark: str | None, task: str) -> str:
    """Returns what a benchmark's task is measured by; the user's own by accuracy."""
    found = load_benchmarks().get(benchmark or "")
    return found.metric_of(task) if found else "accuracy"


def epochs_of(request: StudyRequest, rungs: Iterable[tuple[int, int]]) -> int:
    """Returns the epochs of rungs, each a trial and its epochs; of rungs that are one run the longest alone counts."""
    if request.rungs == "schedules":
        return sum(epochs for _, epochs in rungs)
    longest: dict[int, int] = {}
    for trial, epochs in rungs:
        longest[trial] = max(epochs, longest.get(trial, 0))
    return sum(longest.values())


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
        epochs_spent=epochs_of(
            request, [(t.number, rung.epochs) for t in found for rung in t.rungs if rung.value is not None]
        ),
        best=best_of(found, request.mode),
        importance=study.importance or {},
        suite=study.suite,
        parent=study.parent,
        created_at=study.created_at,
        searched_at=study.searched_at,
        ended_at=(final.ended_at if final else study.searched_at) if state in _ENDED else None,
        mlflow_url=study.mlflow_url,
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
