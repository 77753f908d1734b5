"""Ends the attempts of workers that fell silent."""

import asyncio

import structlog
from sqlalchemy import func, select, text

from service.db import Database
from service.jobs import ledger
from service.jobs.ledger import End
from service.jobs.tables import LEASED_JOBS, Attempt, Job
from service.leases.settle import RETRY_AFTER_S, settle

_log = structlog.get_logger()


async def reap_for_ever(
    database: Database, every_s: float, grace_s: float, retry_after_s: float = RETRY_AFTER_S
) -> None:
    """Looks for lost attempts and for jobs whose delay is over, again and again; several processes may do so at once.

    After a time in which the service or its database was away, workers first have `grace_s` to be heard again.
    """
    pause_s, before = grace_s, None
    while True:
        await asyncio.sleep(pause_s)
        try:
            async with database.transaction() as session:
                await ledger.let_in(session)
            now = await _database_s(database)
            slept = before is not None and now - before > pause_s + max(1.0, grace_s / 2)
            before = now
            if slept:  # this process was stopped for a while, in which no worker could be heard
                pause_s = grace_s
                continue
            while await reap_one(database, retry_after_s):
                pass
            pause_s = every_s
        except Exception:  # whatever it was, lost attempts must be found again later
            _log.exception("cannot look for lost attempts")
            pause_s, before = grace_s, None


async def _database_s(database: Database) -> float:
    async with database.transaction() as session:
        return float((await session.execute(select(func.extract("epoch", func.clock_timestamp())))).scalar_one())


async def reap_one(database: Database, retry_after_s: float = RETRY_AFTER_S) -> str | None:
    """Ends one attempt whose lease has run out, in a transaction of its own; the job's id, None where there is none."""
    async with database.transaction() as session:
        found = await session.execute(
            select(Job)
            .where(text(LEASED_JOBS), Job.lease_expires_at < func.now())
            .order_by(Job.lease_expires_at)
            .limit(1)
            .with_for_update(skip_locked=True)  # whom another process or a late report holds is not lost to us
        )
        job = found.scalar_one_or_none()
        if job is None:
            return None
        heard = await session.execute(
            select(Attempt.last_seq).where(Attempt.job == job.id, Attempt.number == job.attempt)
        )
        end = End("lost", f"nothing was heard of attempt {job.attempt} any more", False)
        # an attempt that never said anything may not have reached a worker at all: it uses up none
        await settle(session, job, end, counts=heard.scalar_one() > 0, retry_after_s=retry_after_s)
        _log.warning("attempt lost", job=job.id, attempt=job.attempt)
        return job.id
