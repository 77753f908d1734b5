"""Begins a study's search anew, and ends it: with all that is known."""

from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Catalogue, State
from service.jobs import ledger
from service.jobs.submission import again
from service.jobs.tables import Job
from service.keys.auth import Caller
from service.limits.queries import check_room, highest_priority
from service.settings import Settings
from service.studies.tables import Rung, Study

ANEW: dict[str, Any] = {
    "searched_at": None,
    "failed": None,
    "drivers": 0,
    "token_hash": None,
    "lease_expires_at": None,
    "tracked": False,
}
"""A study that another driver is to take, with all that is known."""


async def cancel(session: AsyncSession, study: Study) -> None:
    """Ends the search and its trials."""
    live = select(Job.id).where(Job.study == study.id, Job.ended_at.is_(None)).order_by(Job.id).with_for_update()
    ids = (await session.execute(live)).scalars().all()
    await ledger.request_all(session, ids, cancel=True)
    await ledger.cancel_all_idle(session, ids, "The study was cancelled.")
    await mark(session, study, cancelled_at=func.coalesce(Study.cancelled_at, func.now()), token_hash=None)


async def retry(session: AsyncSession, study: Study, caller: Caller, catalogue: Catalogue, settings: Settings) -> int:
    """Queues a new job for each of its trials that failed, for the search to go on with; how many there are."""
    failed = await session.execute(
        select(Job)
        .join(Rung, Rung.job == Job.id)
        .where(Rung.study == study.id, Rung.value.is_(None), Job.state.in_((State.FAILED, State.CANCELLED)))
        .order_by(Job.id)
    )
    old = failed.scalars().unique().all()
    limits = await check_room(session, settings, study.project, len(old))
    for job in old:
        new = again(job, catalogue, highest_priority(limits, caller))
        await ledger.submit(session, new)
        await session.execute(
            update(Rung).where(Rung.study == study.id, Rung.job == job.id, Rung.value.is_(None)).values(job=new.id)
        )
    return len(old)


async def mark(session: AsyncSession, study: Study, **values: Any) -> None:
    """Writes fields of the study."""
    await session.execute(update(Study).where(Study.id == study.id).values(**values))
    await session.refresh(study)
