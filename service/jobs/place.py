"""A queued job's place in the queue."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.jobs.schemas import QueuePlace
from service.jobs.tables import Job

_COUNTED = 10_000
_LATELY_S = 3600.0
_PLACE = text("""
    SELECT (SELECT count(*) FROM (
                SELECT FROM jobs WHERE state = 'queued' AND not_before IS NULL
                   AND (priority > :priority OR (priority = :priority AND id < :job)) LIMIT :counted) AS before),
           (SELECT count(*) FROM (
                SELECT FROM jobs WHERE ended_at > now() - make_interval(secs => :lately_s) AND ended_at IS NOT NULL
                   AND attempt > 0 LIMIT :counted) AS ended)
""")


async def place_of(session: AsyncSession, job: Job) -> QueuePlace:
    """Returns the place of a queued job, as all of the queue stands."""
    values = {"priority": job.priority, "job": job.id, "counted": _COUNTED, "lately_s": _LATELY_S}
    ahead, ended = (await session.execute(_PLACE, values)).one()
    return QueuePlace(ahead=ahead, starts_in_s=round(_LATELY_S * ahead / ended, 1) if ended else None)
