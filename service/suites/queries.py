"""Reads suites."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import ENDED, LEASED, State
from service.jobs.tables import Job
from service.keys.auth import Caller
from service.paging import newest_first
from service.problems import NotFound
from service.suites.schemas import SuiteView
from service.suites.tables import Suite, SuiteRun

_ENDED = {*ENDED, "refused", "deleted"}


async def find(session: AsyncSession, suite_id: str, caller: Caller, *, lock: bool = False) -> Suite:
    """Returns the suite, its row locked where it is to be changed. Raises NotFound where the caller sees none."""
    suite = await session.get(Suite, suite_id, with_for_update=lock, populate_existing=True)
    if suite is None or not caller.sees(suite.project):
        raise NotFound(f"there is no suite {suite_id!r}, or it belongs to a project that this key does not see")
    return suite


async def page(
    session: AsyncSession, caller: Caller, limit: int, after: str | None, job: str | None
) -> tuple[Sequence[Suite], str | None]:
    """Returns one page of suites, newest first, and the cursor of the next one."""
    query = select(Suite)
    if caller.bounded:
        query = query.where(Suite.project == caller.project)
    if job is not None:
        query = query.where(Suite.id.in_(select(SuiteRun.suite).where(SuiteRun.job == job)))
    return await newest_first(session, query, Suite.id, "suite", limit, after)


async def views(session: AsyncSession, suites: Sequence[Suite]) -> list[SuiteView]:
    """Returns the suites as clients see them; all of them are counted in one query."""
    state = func.coalesce(Job.state, case((SuiteRun.refused.is_not(None), "refused"), else_="deleted"))
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
        .where(SuiteRun.suite.in_([suite.id for suite in suites]))
        .group_by(SuiteRun.suite, state)
    )
    of_suite: dict[str, list[Any]] = {}
    for row in counted:
        of_suite.setdefault(row.suite, []).append(row)
    return [_view(suite, of_suite.get(suite.id, [])) for suite in suites]


def _view(suite: Suite, rows: Sequence[Any]) -> SuiteView:
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
        begun = open_states & LEASED or counts.keys() & ENDED
        return "running" if begun else "queued"
    if counts.keys() & {State.FAILED, State.CANCELLED, "deleted"}:
        return "cancelled" if suite.cancel_requested_at is not None else "failed"
    return "succeeded"
