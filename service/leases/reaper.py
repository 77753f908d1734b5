"""Ends the attempts of workers that fell silent."""

import asyncio

import structlog
from sqlalchemy import delete, func, select

from service.db import Database
from service.jobs.ledger import End
from service.jobs.tables import IdempotencyKey, Job
from service.leases.settle import settle

_KEEP_ANSWERS_S = 48 * 3600.0
_log = structlog.get_logger()


async def reap_for_ever(database: Database, every_s: float, grace_s: float) -> None:
    """Looks for lost attempts again and again; several processes may do so at once.

    After a time in which the service or its database was away, workers first have `grace_s` to be heard again.
    """
    pause_s = grace_s
    while True:
        await asyncio.sleep(pause_s)
        try:
            while await reap_one(database):
                pass
            await _forget_answers(database)
            pause_s = every_s
        except Exception:  # whatever it was, lost attempts must be found again later
            _log.exception("cannot look for lost attempts")
            pause_s = grace_s


async def reap_one(database: Database) -> str | None:
    """Ends one attempt whose lease has run out, in a transaction of its own; the job's id, None where there is none."""
    async with database.transaction() as session:
        found = await session.execute(
            select(Job)
            .where(Job.lease_expires_at < func.now())
            .order_by(Job.lease_expires_at)
            .limit(1)
            .with_for_update(skip_locked=True)  # whom another process or a late report holds is not lost to us
        )
        job = found.scalar_one_or_none()
        if job is None:
            return None
        await settle(session, job, End("lost", f"nothing was heard of attempt {job.attempt} any more", False))
        _log.warning("attempt lost", job=job.id, attempt=job.attempt)
        return job.id


async def _forget_answers(database: Database) -> None:
    async with database.transaction() as session:
        old = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, _KEEP_ANSWERS_S)
        await session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < old))
