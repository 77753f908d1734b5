"""Reads events."""

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.events.tables import JobEvent


async def of_job(
    session: AsyncSession, job: str, after: int = 0, limit: int | None = None, types: Collection[str] = ()
) -> Sequence[JobEvent]:
    """Lists a job's events whose number is above `after`, oldest first."""
    query = select(JobEvent).where(JobEvent.job == job, JobEvent.number > after).order_by(JobEvent.number).limit(limit)
    if types:
        query = query.where(JobEvent.type.in_(types))
    return (await session.execute(query)).scalars().all()


async def of_all(session: AsyncSession, after: int, limit: int) -> Sequence[JobEvent]:
    """Returns every job's numbered events whose position is above `after`, in that order."""
    query = select(JobEvent).where(JobEvent.position > after).order_by(JobEvent.position).limit(limit)
    return (await session.execute(query)).scalars().all()
