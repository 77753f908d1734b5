"""Cancel, pause, resume and retry; each can be repeated without harm."""

from fastapi import APIRouter, Request, Response
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import State
from service.audit import log
from service.db import Transaction
from service.jobs import ledger
from service.jobs.queries import find
from service.jobs.schemas import JobView
from service.jobs.submission import again
from service.jobs.tables import Job
from service.jobs.views import view
from service.keys.auth import User
from service.limits.queries import check_room, highest_priority
from service.problems import Conflict
from service.projects.queries import open_project
from service.suites.tables import SuiteRun

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])


@router.post("/cancel", summary="Cancel a job")
async def cancel(request: Request, session: Transaction, caller: User, job_id: str) -> JobView:
    """Cancels a job: at once where no worker holds it, else after the step that runs."""
    job = await find(session, job_id, caller, lock=True)
    if State(job.state).leased:
        await ledger.request(session, job.id, cancel=True)
    elif job.state in (State.QUEUED, State.PAUSED):
        await ledger.cancel_idle(session, job.id)
    elif job.state != State.CANCELLED:
        raise Conflict(f"the job has ended already ({job.state})")
    log.record(session, request, caller, "job.cancel", job.id, job.project, state=job.state)
    return await _now(request, session, job)


@router.post("/pause", summary="Pause a job")
async def pause(request: Request, session: Transaction, caller: User, job_id: str) -> JobView:
    """Pauses a job: at once where it waits, else after the step that runs, with a checkpoint from which it resumes."""
    job = await find(session, job_id, caller, lock=True)
    if State(job.state).leased:
        if job.cancel_requested_at is not None:
            raise Conflict("the job is being cancelled")
        await ledger.request(session, job.id, pause=True)
    elif job.state == State.QUEUED:
        await ledger.hold(session, job.id)
    elif job.state != State.PAUSED:
        raise Conflict(f"the job has ended already ({job.state})")
    log.record(session, request, caller, "job.pause", job.id, job.project, state=job.state)
    return await _now(request, session, job)


@router.post("/resume", summary="Let a paused job go on")
async def resume(request: Request, session: Transaction, caller: User, job_id: str) -> JobView:
    """Takes back a pause that no worker has followed yet; a job that was not paused stays as it is."""
    job = await find(session, job_id, caller, lock=True)
    if State(job.state).ended:
        raise Conflict(f"the job has ended already ({job.state}); `retry` runs it again as a new job")
    if job.state == State.PAUSED:
        await ledger.resume(session, job.id)
    elif State(job.state).leased:
        await ledger.request(session, job.id, pause=False)
    log.record(session, request, caller, "job.resume", job.id, job.project, state=job.state)
    return await _now(request, session, job)


@router.post("/retry", status_code=202, summary="Run an ended job again, as a new job")
async def retry(request: Request, session: Transaction, caller: User, response: Response, job_id: str) -> JobView:
    """Makes a new job that names the old one in `retry_of`. Until it has ended, retrying again answers the same.

    A priority above what the caller may ask for, as an admin may have given it, is cut to that.
    """
    old = await find(session, job_id, caller, lock=True)
    if not State(old.state).ended:
        raise Conflict(f"the job is {old.state}; it can be retried when it has ended")
    found = await session.execute(
        select(Job).where(Job.retry_of == old.id, Job.ended_at.is_(None)).order_by(Job.id.desc()).limit(1)
    )
    job = found.scalar_one_or_none()
    if job is None:
        await open_project(session, old.project, "/project")
        limits = await check_room(session, request.app.state.settings, old.project)
        job = again(old, request.app.state.catalogue(), highest_priority(limits, caller))
        await ledger.submit(session, job)
        await session.execute(update(SuiteRun).where(SuiteRun.job == old.id).values(job=job.id))
        log.record(session, request, caller, "job.submit", job.id, job.project, retry_of=old.id, priority=job.priority)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return await _now(request, session, job)


async def _now(request: Request, session: AsyncSession, job: Job) -> JobView:
    job = await session.get_one(Job, job.id, populate_existing=True)
    state = request.app.state
    return await view(session, job, state.settings, state.catalogue())
