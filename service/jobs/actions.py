"""Cancel, pause, resume, retry and delete, one job or many. All but the last can be repeated without harm."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import State
from service.audit import log
from service.db import Database, Transaction
from service.events.log import count_deletion
from service.events.tables import DeletedJob
from service.jobs import ledger
from service.jobs.files import delete_files
from service.jobs.queries import find
from service.jobs.schemas import Batch, BatchView, JobView, Outcome, Verb
from service.jobs.submission import again
from service.jobs.tables import Job
from service.jobs.views import view
from service.keys.auth import Caller, User
from service.limits.queries import check_room, highest_priority
from service.problems import Conflict, Problem
from service.projects.queries import open_project
from service.suites.tables import SuiteRun

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])
many = APIRouter(prefix="/v1/jobs", tags=["jobs"])


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


@router.delete("", status_code=204, summary="Delete an ended job and its files")
async def delete_job(request: Request, caller: User, job_id: str) -> None:
    database: Database = request.app.state.database
    async with database.transaction() as session:
        job = await find(session, job_id, caller, lock=True)
        if not State(job.state).ended:
            raise Conflict(f"the job is {job.state}; cancel it first")
        await count_deletion(session)  # before the events go: the sequencer locks in this order too
        await session.delete(job)
        session.add(DeletedJob(id=job_id))  # should this process not come to the files, another one does
        said = {"name": job.name, "task": job.task, "state": job.state, "owner": job.owner}
        log.record(session, request, caller, "job.delete", job.id, job.project, **said)
    # after the commit: files without a row are only waste, a row without its files would be a lie
    await delete_files(request.app.state.settings.storage_root, job_id)


_ALONE: dict[Verb, Callable[[Request, AsyncSession, Caller, str], Awaitable[object]]] = {
    "cancel": cancel,
    "pause": pause,
    "resume": resume,
    "retry": lambda request, session, caller, job: retry(request, session, caller, Response(), job),
}


@many.post("/batch", summary="Do the same to many jobs")
async def post_batch(request: Request, caller: User, body: Batch) -> BatchView:
    """Does to each job what its own endpoint would, and says of each how that went. Each is done by itself: where one
    is refused, the others go on."""
    database: Database = request.app.state.database
    outcomes: list[Outcome] = []
    for job in dict.fromkeys(body.jobs):
        try:
            if body.verb == "delete":
                await delete_job(request, caller, job)
            else:
                async with database.transaction() as session:
                    await _ALONE[body.verb](request, session, caller, job)
            outcomes.append(Outcome(job=job, done=True))
        except Problem as problem:
            outcomes.append(Outcome(job=job, done=False, detail=problem.detail))
    return BatchView(data=outcomes)


async def _now(request: Request, session: AsyncSession, job: Job) -> JobView:
    job = await session.get_one(Job, job.id, populate_existing=True)
    state = request.app.state
    return await view(session, job, state.settings, state.catalogue())
