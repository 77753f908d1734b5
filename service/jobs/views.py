"""From rows to what clients see."""

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import State
from service.clusters.fit import Slots, seen_slots
from service.jobs.needs import Needs
from service.jobs.schemas import JobView
from service.jobs.tables import Job
from service.limits.queries import full_projects
from service.settings import Settings

_OWN = ("waiting_for", "pause_requested", "cancel_requested", "notices")
_SAME = [name for name in JobView.model_fields if name not in _OWN]


async def views(session: AsyncSession, jobs: Sequence[Job], settings: Settings) -> list[JobView]:
    """Returns the jobs as clients see them, and for those in the queue what they wait for."""
    queued = any(job.state == State.QUEUED for job in jobs)
    slots = await seen_slots(session, settings.worker_seen_s) if queued else None
    full = await full_projects(session, settings) if queued else {}
    return [
        JobView(
            **{name: getattr(job, name) for name in _SAME},
            waiting_for=_waiting_for(job, slots, full) if slots and job.state == State.QUEUED else None,
            pause_requested=job.pause_requested_at is not None,
            cancel_requested=job.cancel_requested_at is not None,
        )
        for job in jobs
    ]


def _waiting_for(job: Job, slots: Slots, full: Mapping[str, int]) -> str:
    if job.project in full:
        return f"its project, which has {full[job.project]} running, as many as it may"
    return slots.waiting_for(Needs.of_lane(job.lane), job.not_before)
