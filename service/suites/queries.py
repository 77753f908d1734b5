"""Reads suites."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import ColumnElement, CompoundSelect, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import ENDED, LEASED, State
from service.jobs.tables import Job
from service.keys.auth import Caller
from service.paging import is_task, narrowed, newest_first
from service.problems import NotFound
from service.studies.tables import Rung, Study, Trial
from service.suites.schemas import SuiteFilters, SuiteView
from service.suites.tables import Suite, SuiteRun

_ENDED = {*ENDED, "refused", "deleted"}


async def find(session: AsyncSession, suite_id: str, caller: Caller, *, lock: bool = False) -> Suite:
    """Returns the suite, its row locked where it is to be changed. Raises NotFound where the caller sees none."""
    suite = await session.get(Suite, suite_id, with_for_update=lock, populate_existing=True)
    if suite is None or not caller.sees(suite.project):
        raise NotFound(f"there is no suite {suite_id!r}, or it belongs to a project that this key does not see")
    return suite


async def page(session: AsyncSession, caller: Caller, filters: SuiteFilters) -> tuple[Sequence[Suite], str | None]:
    """Returns one page of suites, newest first, and the cursor of the next one."""
    query = narrowed(select(Suite), Suite, filters)
    if caller.bounded:
        query = query.where(Suite.project == caller.project)
    if filters.job is not None:
        query = query.where(Suite.id.in_(select(SuiteRun.suite).where(SuiteRun.job == filters.job)))
    if filters.row is not None:
        query = query.where(_has_run(SuiteRun.row == filters.row))
    if filters.task is not None:
        query = query.where(_has_run(is_task(filters.task, Suite.benchmark, SuiteRun.task)))
    if filters.ended is not None:
        query = query.where(Suite.id.in_(open_suites()) != filters.ended)
    return await newest_first(session, query, Suite.id, "suite", filters.limit, filters.after)


def _has_run(of: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(SuiteRun.suite).where(SuiteRun.suite == Suite.id, of).exists()


def open_suites() -> CompoundSelect[str]:
    """Selects the suites of which a job has not ended, or a search that is to find a job's settings."""
    working = select(SuiteRun.suite).join(Job, Job.id == SuiteRun.job).where(Job.ended_at.is_(None))
    searching = select(SuiteRun.suite).join(Study, Study.id == SuiteRun.study)
    goes_on = (Study.searched_at.is_(None), Study.failed.is_(None), Study.cancelled_at.is_(None))
    return working.union_all(searching.where(SuiteRun.job.is_(None), *goes_on))


async def views(session: AsyncSession, suites: Sequence[Suite]) -> list[SuiteView]:
    """Returns the suites as clients see them; all of them are counted in one query."""
    without = case(
        (SuiteRun.refused.is_not(None), "refused"),
        (SuiteRun.study.is_not(None), search_state()),
        else_="deleted",
    )
    state = func.coalesce(Job.state, without)
    counted = await session.execute(
        select(
            SuiteRun.suite,
            state.label("state"),
            func.count().label("runs"),
            func.count().filter(SuiteRun.reused).label("reused"),
            func.sum(SuiteRun.seconds).label("seconds"),
            func.count(SuiteRun.seconds).label("known"),
            func.max(Job.ended_at).label("ended_at"),
        )
        .join(Job, Job.id == SuiteRun.job, isouter=True)
        .join(Study, Study.id == SuiteRun.study, isouter=True)
        .where(SuiteRun.suite.in_([suite.id for suite in suites]))
        .group_by(SuiteRun.suite, state)
    )
    of_suite: dict[str, list[Any]] = {}
    for row in counted:
        of_suite.setdefault(row.suite, []).append(row)
    searched = await _trials(session, [suite.id for suite in suites if suite.request.get("search") is not None])
    return [_view(suite, of_suite.get(suite.id, []), *searched.get(suite.id, (0, 0))) for suite in suites]


def search_state() -> ColumnElement[str]:
    """Returns how a run stands whose study is still to find its settings, or has not found any."""
    return case(
        (Study.cancelled_at.is_not(None), "cancelled"),
        (Study.failed.is_not(None), "failed"),
        (Study.searched_at.is_not(None), "deleted"),
        (Study.paused_at.is_not(None), "paused"),
        (Study.drivers == 0, "queued"),
        else_="searching",
    )


def trial_ended() -> ColumnElement[bool]:
    """Tells whether the trial has a result of its last rung, or was stopped or refused before."""
    last = select(Rung.trial).where(
        Rung.study == Trial.study, Rung.trial == Trial.number, Rung.epochs == Study.epochs, Rung.value.is_not(None)
    )
    return or_(Trial.stopped_at.is_not(None), Trial.refused.is_not(None), last.exists())


async def _trials(session: AsyncSession, suites: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Suite → trials that its studies were asked for, and how many have ended."""
    if not suites:
        return {}
    asked = select(Study.parent, func.sum(Study.trials)).where(Study.parent.in_(suites)).group_by(Study.parent)
    ended = (
        select(Study.parent, func.count())
        .join(Trial, Trial.study == Study.id)
        .where(Study.parent.in_(suites), or_(trial_ended(), Study.searched_at.is_not(None)))
        .group_by(Study.parent)
    )
    done = {suite: count for suite, count in await session.execute(ended)}
    return {suite: (int(count), done.get(suite, 0)) for suite, count in await session.execute(asked) if suite}


def _view(suite: Suite, rows: Sequence[Any], trials: int, trials_ended: int) -> SuiteView:
    counts: dict[str, int] = {row.state: row.runs for row in rows}
    left = [row for row in rows if row.state not in _ENDED]
    known = all(row.known == row.runs for row in left)
    asked = suite.request
    return SuiteView(
        id=suite.id,
        project=suite.project,
        owner=suite.owner,
        name=suite.name,
        benchmark=suite.benchmark,
        phase=suite.phase,
        state=_state(suite, counts),
        counts=counts,
        runs=sum(counts.values()),
        reused=sum(row.reused for row in rows),
        rows=asked["labels"],
        tasks=[task if isinstance(task, str) else task["name"] for task in asked["tasks"]],
        seeds=asked["seeds"],
        trials=trials,
        trials_ended=trials_ended,
        max_parallel=suite.max_parallel,
        stop_after=suite.stop_after,
        stopped=suite.stopped,
        cancel_requested=suite.cancel_requested_at is not None,
        minutes_left=sum(row.seconds for row in left) / 60 if known else None,
        created_at=suite.created_at,
        ended_at=max((row.ended_at for row in rows if row.ended_at), default=None) if not left else None,
        mlflow_url=suite.mlflow_url,
    )


def _state(
    suite: Suite, counts: Mapping[str, int]
) -> Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]:
    open_states = counts.keys() - _ENDED
    if open_states == {State.PAUSED}:
        return "paused"
    if open_states:
        begun = open_states & {*LEASED, "searching"} or counts.keys() & ENDED
        return "running" if begun else "queued"
    if counts.keys() & {State.FAILED, State.CANCELLED, "deleted"}:
        return "cancelled" if suite.cancel_requested_at is not None else "failed"
    return "succeeded"
