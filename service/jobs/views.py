"""From rows to what clients see."""

from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Catalogue, State
from pace_core.spec.departures import notices
from service.clusters.fit import Slots, seen_slots
from service.jobs.needs import Needs
from service.jobs.schemas import JobView
from service.jobs.tables import Job
from service.limits.queries import full_projects
from service.settings import Settings
from service.suites.tables import Suite

_OWN = ("waiting_for", "pause_requested", "cancel_requested", "notices")
_SAME = [name for name in JobView.model_fields if name not in _OWN]


async def views(session: AsyncSession, jobs: Sequence[Job], settings: Settings) -> list[JobView]:
    """Returns the jobs as clients see them, and for those in the queue what they wait for."""
    queued = any(job.state == State.QUEUED for job in jobs)
    slots = await seen_slots(session, settings.worker_seen_s) if queued else None
    full = await full_projects(session, settings) if queued else {}
    full_suites = await _full_suites(session) if any(job.suite for job in jobs) and queued else {}
    return [
        JobView(
            **{name: getattr(job, name) for name in _SAME},
            waiting_for=_waiting_for(job, slots, full, full_suites) if slots and job.state == State.QUEUED else None,
            pause_requested=job.pause_requested_at is not None,
            cancel_requested=job.cancel_requested_at is not None,
        )
        for job in jobs
    ]


async def view(session: AsyncSession, job: Job, settings: Settings, catalogue: Catalogue) -> JobView:
    """Returns one job as clients see it, with what a reader of its number should know of its spec."""
    (seen,) = await views(session, [job], settings)
    return seen.model_copy(update={"notices": notices(job.spec, job.row, catalogue)})


async def _full_suites(session: AsyncSession) -> dict[str, int]:
    """Suites of which as many jobs run as may, with how many that are."""
    running = (
        select(Job.suite, func.count().label("count")).where(Job.lease_expires_at.is_not(None)).group_by(Job.suite)
    )
    counted = running.subquery()
    full = select(Suite.id, counted.c.count).join(counted, counted.c.suite == Suite.id)
    return {suite: count for suite, count in await session.execute(full.where(counted.c.count >= Suite.max_parallel))}


def _waiting_for(job: Job, slots: Slots, full: Mapping[str, int], full_suites: Mapping[str, int]) -> str:
    if job.project in full:
        return f"its project, which has {full[job.project]} running, as many as it may"
    if job.suite is not None and job.suite in full_suites:
        return f"its suite, of which {full_suites[job.suite]} run, as many as may"
    return slots.waiting_for(Needs.of_lane(job.lane), job.not_before)
