"""From rows to what clients see."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import State
from service.jobs.schemas import JobView
from service.jobs.tables import Job
from service.leases.fit import seen_slots

_OWN = ("waiting_for", "pause_requested", "cancel_requested", "notices")
_SAME = [name for name in JobView.model_fields if name not in _OWN]


async def views(session: AsyncSession, jobs: Sequence[Job], worker_seen_s: float) -> list[JobView]:
    """Returns the jobs as clients see them, and for those in the queue what they wait for."""
    queued = any(job.state == State.QUEUED for job in jobs)
    slots = await seen_slots(session, worker_seen_s) if queued else None
    return [
        JobView(
            **{name: getattr(job, name) for name in _SAME},
            waiting_for=slots.waiting_for(job.device, job.memory_bytes)
            if slots and job.state == State.QUEUED
            else None,
            pause_requested=job.pause_requested_at is not None,
            cancel_requested=job.cancel_requested_at is not None,
        )
        for job in jobs
    ]
