"""Stops a suite whose jobs fail alike, one after the other."""

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import State
from service.jobs import ledger
from service.jobs.tables import Job
from service.studies.tables import Study
from service.suites.tables import Suite


async def stop_if_all_fail(session: AsyncSession, job: Job) -> None:
    """Cancels, after a failed job, what waits of its suite, where the last ones of it that ended failed for one reason.

    Waits for nobody: where another transaction holds the suite, the next failure looks again.
    """
    if job.suite is None:
        return
    held = select(Suite).where(Suite.id == job.suite, Suite.stop_after.is_not(None), Suite.stopped.is_(None))
    suite = (await session.execute(held.with_for_update(skip_locked=True))).scalar_one_or_none()
    if suite is None or suite.stop_after is None:
        return
    last = await session.execute(
        select(Job.state, Job.reason, Job.message)
        .where(
            Job.suite == suite.id,
            Job.ended_at >= suite.counted_from,
            Job.state.in_((State.SUCCEEDED, State.FAILED)),
        )
        .order_by(Job.ended_at.desc(), Job.id.desc())
        .limit(suite.stop_after)
    )
    ends = last.all()
    reasons = {end.reason if end.state == State.FAILED else None for end in ends}
    if len(ends) < suite.stop_after or len(reasons) > 1 or None in reasons:
        return
    why = f"{len(ends)} jobs in a row failed alike ({ends[0].reason}: {ends[0].message})"
    await session.execute(update(Suite).where(Suite.id == suite.id).values(stopped=why))
    searching = (Study.parent == suite.id, Study.searched_at.is_(None), Study.failed.is_(None))
    await session.execute(update(Study).where(*searching).values(failed=f"The suite stopped: {why}"[:2_000]))
    waiting = select(Job.id).where(Job.suite == suite.id, Job.state == State.QUEUED)
    ids = (await session.execute(waiting.with_for_update(skip_locked=True))).scalars().all()
    if ids:
        await ledger.cancel_all_idle(session, ids, f"The suite stopped: {why}")
