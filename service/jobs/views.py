"""Views of rows as clients see them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Catalogue, State
from pace_core.spec.departures import notices
from service.clusters.fit import Slots, seen_slots
from service.clusters.needs import Needs
from service.db import Database
from service.jobs.queries import Line
from service.jobs.schemas import JobView, QueuePlace, Waiting
from service.jobs.tables import LEASED_JOBS, Job
from service.limits.queries import full_projects
from service.settings import Settings
from service.suites.tables import Suite
from service.wake import SUPPLY

_OWN = ("waiting_for", "place", "pause_requested", "cancel_requested", "notices")
_SAME = [name for name in JobView.model_fields if name not in _OWN]


class Supply(NamedTuple):
    """The slots and limits that the queue stands before."""

    slots: Slots
    full_projects: Mapping[str, int]
    """Those that have as many jobs running as they may, with how many that are."""
    full_suites: Mapping[str, int]


async def supply(session: AsyncSession, settings: Settings) -> Supply:
    """Returns the supply as it is in the session's transaction."""
    return Supply(
        await seen_slots(session, settings.worker_seen_s),
        await full_projects(session, settings),
        await _full_suites(session),
    )


async def recent_supply(database: Database, settings: Settings) -> Supply:
    """Returns the supply as it was within the last second, and after the last change that this process heard of."""

    async def read() -> Supply:
        async with database.lone() as session:
            return await supply(session, settings)

    return await database.recent.get(SUPPLY, None, read)


async def views(database: Database, jobs: Sequence[Job], settings: Settings) -> list[JobView]:
    """Returns the jobs as clients see them, and for those in the queue what they wait for.

    Call it outside of a transaction: it may need a connection of its own.
    """
    queued = any(job.state == State.QUEUED for job in jobs)
    seen = await recent_supply(database, settings) if queued else None
    return [shown(job, seen) for job in jobs]


async def view(session: AsyncSession, job: Job, settings: Settings, catalogue: Catalogue) -> JobView:
    """Returns one job as clients see it, with what a reader of its number should know of its spec."""
    return shown(job, await supply(session, settings) if job.state == State.QUEUED else None, catalogue)


def shown(
    job: Job, seen: Supply | None, catalogue: Catalogue | None = None, place: QueuePlace | None = None
) -> JobView:
    """Returns a job as clients see it: where it is queued, with what it waits for; with notices by the catalogue."""
    return JobView(
        **{name: getattr(job, name) for name in _SAME},
        waiting_for=_waiting_for(job, job.id, seen) if seen and job.state == State.QUEUED else None,
        place=place,
        pause_requested=job.pause_requested_at is not None,
        cancel_requested=job.cancel_requested_at is not None,
        notices=notices(job.spec, job.row, catalogue) if catalogue else [],
    )


def waiting(lines: Sequence[Line], seen: Supply) -> list[Waiting]:
    """Sums queued jobs by what they wait for, what most wait for first."""
    sums: dict[str, Waiting] = {}
    for line in lines:
        why = _waiting_for(line, line.first, seen)
        so_far = sums.get(why) or Waiting(waiting_for=why, jobs=0, first=line.first)
        first = min(so_far.first, line.first)
        sums[why] = Waiting(waiting_for=why, jobs=so_far.jobs + line.jobs, first=first)
    return sorted(sums.values(), key=lambda one: -one.jobs)


async def _full_suites(session: AsyncSession) -> dict[str, int]:
    """Suites of which as many jobs run as may, with how many that are."""
    running = select(Job.suite, func.count().label("count")).where(text(LEASED_JOBS)).group_by(Job.suite)
    counted = running.subquery()
    full = select(Suite.id, counted.c.count).join(counted, counted.c.suite == Suite.id)
    return {suite: count for suite, count in await session.execute(full.where(counted.c.count >= Suite.max_parallel))}


def _waiting_for(job: Job | Line, id: str, seen: Supply) -> str:
    if job.project in seen.full_projects:
        return f"its project, which has {seen.full_projects[job.project]} running, the most it may have"
    if job.suite is not None and job.suite in seen.full_suites:
        return f"its suite, which has {seen.full_suites[job.suite]} running, the most it may have"
    return seen.slots.waiting_for(id, Needs.of_lane(job.lane), job.not_before)
