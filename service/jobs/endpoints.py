"""Submit, list, read, change and delete jobs."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from pace_core.spec import RunSpec, State, estimate
from pace_core.spec.departures import notices
from service.audit import log
from service.clusters.fit import seen_slots
from service.clusters.needs import Needs
from service.db import Database, Transaction
from service.jobs.idempotency import replayed, row_of
from service.jobs.ledger import Submission
from service.jobs.place import place_of
from service.jobs.queries import JobFilters, attempts, count_by_state, find, page, queued_lines
from service.jobs.reuse import done_already
from service.jobs.schemas import (
    AttemptView,
    JobPage,
    JobPatch,
    JobRequest,
    JobTotals,
    JobView,
    TrackingLink,
    Validated,
)
from service.jobs.submission import asked_job, checked, project_of, resolve, start_of, with_counts
from service.jobs.tables import Job
from service.jobs.views import recent_supply, shown, view, views, waiting
from service.keys.auth import Reader, Tracking, User, still_valid
from service.keys.secrets import topic
from service.limits.queries import check_priority, check_room_for_one, check_tags, of_project
from service.problems import Conflict, Problem
from service.wake import Wakes

_PATH = "/v1/jobs"
router = APIRouter(prefix=_PATH, tags=["jobs"])


@router.post(
    "",
    status_code=202,
    response_model=JobView,
    responses={200: {"model": Validated | JobView, "description": "With validate_only; or what `reuse` has found"}},
    summary="Submit a job",
)
async def post_job(
    request: Request,
    caller: User,
    body: JobRequest,
    validate_only: bool = False,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Checks the spec whole and queues the run.

    With `validate_only` nothing is stored: the answer is the resolved spec and what it would take. With an
    `Idempotency-Key` header the request can be sent again: the first answer comes back, with
    `Idempotent-Replayed: true`, and no second job is made. With `reuse` in the body, a job that has done this
    already is the answer, with status 200.
    """
    state = request.app.state
    database: Database = state.database
    catalogue = state.catalogue()
    if validate_only:
        spec, row = resolve(body, catalogue)
        async with database.lone() as session:
            await start_of(session, body, spec, caller)
            slots = await seen_slots(session, state.settings.worker_seen_s)
            project = await project_of(session, body.project, caller)
            spec = await with_counts(session, body, spec, project.name)
            done = await done_already(session, project.name, spec, row)
        probe = asked_job(body, spec, catalogue)
        answer = Validated(
            spec=spec.json_dict(),
            row=row,
            estimate=estimate(spec, catalogue),
            waiting_for=slots.lacking(Needs.of_lane(probe.lane)),
            notices=notices(spec.json_dict(), row, catalogue),
            done=done,
        )
        return JSONResponse(answer.model_dump(mode="json"))

    once = None if idempotency_key is None else await row_of(request, caller, _PATH, idempotency_key)
    try:
        job, project = await checked(database, body, caller, catalogue, state.settings)
        done = await _done(database, job) if body.reuse else None
        if done is None:
            await check_room_for_one(database, state.settings, project)
    except Problem:
        if once and (earlier := await _earlier(database, once)):
            return earlier  # whatever has changed since
        raise
    if done is not None:
        return JSONResponse(shown(done, None, catalogue).model_dump(mode="json"))
    answer = shown(job, await recent_supply(database, state.settings), catalogue)
    audit = log.entry(request, caller, "job.submit", job.id, job.project, priority=job.priority)
    kept = once and {**once, "status": 202, "answer": answer.model_dump(mode="json")}
    created_at = await state.intake.store(Submission(job, audit, kept))
    if created_at is None:
        assert once is not None, "nothing else keeps a job from being stored"
        earlier = await _earlier(database, once)
        assert earlier is not None, "whoever took the key has committed"
        return earlier
    location = {"Location": f"{_PATH}/{job.id}"}
    answer = answer.model_copy(update={"created_at": created_at})
    return Response(answer.model_dump_json(), 202, location, media_type="application/json")


async def _done(database: Database, job: Job) -> Job | None:
    async with database.lone() as session:
        done = await done_already(session, job.project, RunSpec.model_validate(job.spec), job.row)
        return await session.get(Job, done) if done else None


async def _earlier(database: Database, once: dict[str, Any]) -> Response | None:
    async with database.lone() as session:
        return await replayed(session, _PATH, once)


@router.get("", summary="List jobs, newest first")
async def list_jobs(request: Request, caller: Reader, filters: Annotated[JobFilters, Query()]) -> JobPage:
    """Pages by cursor: pass `next_cursor` as `after`, with the same filters."""
    database: Database = request.app.state.database
    async with database.lone() as session:
        jobs, cursor = await page(session, filters, caller)
    data = await views(database, jobs, request.app.state.settings)
    return JobPage(data=data, has_more=cursor is not None, next_cursor=cursor)


@router.get("/totals", summary="Count jobs by state")
async def get_totals(request: Request, caller: Reader, filters: Annotated[JobFilters, Query()]) -> JobTotals:
    """Counts the jobs that a list with these filters would have, and says what the queued ones wait for."""
    database: Database = request.app.state.database
    async with database.lone() as session:
        states = await count_by_state(session, filters, caller)
        lines = await queued_lines(session, filters, caller) if State.QUEUED in states else []
    seen = await recent_supply(database, request.app.state.settings) if lines else None
    return JobTotals(states=states, waiting=waiting(lines, seen) if seen else [])


@router.get("/{job_id}", summary="Read a job")
async def get_job(
    request: Request, caller: Reader, job_id: str, wait: Annotated[float, Query(ge=0, le=60)] = 0.0
) -> JobView:
    """Returns a job. With `wait`, the answer comes when the job has ended, or after that many seconds."""
    state = request.app.state
    database: Database = state.database
    wakes: Wakes = state.wakes

    async def look(last: bool) -> JobView | None:
        await still_valid(database, caller)
        async with database.lone() as session:
            job = await find(session, job_id, caller)
            place = await place_of(session, job) if last and job.state == State.QUEUED else None
        if not (State(job.state).ended or last):
            return None
        seen = await recent_supply(database, state.settings) if job.state == State.QUEUED else None
        return shown(job, seen, state.catalogue(), place)

    return await wakes.poll((job_id, topic(caller.key_id)), wait, look)


@router.patch("/{job_id}", summary="Change name, priority or tags")
async def patch_job(request: Request, session: Transaction, caller: User, job_id: str, body: JobPatch) -> JobView:
    job = await find(session, job_id, caller, lock=True)
    if body.priority is not None and State(job.state).ended:
        raise Conflict(f"the job has ended ({job.state}); its priority changes nothing any more")
    settings = request.app.state.settings
    check_priority(await of_project(session, settings, job.project), caller, body.priority)
    check_tags(settings, len(body.tags or {}))
    changes = body.model_dump(exclude_none=True)
    was = {name: getattr(job, name) for name in changes}
    for name, value in changes.items():
        setattr(job, name, value)
    log.record(session, request, caller, "job.change", job.id, job.project, was=was, now=changes)
    await session.flush()
    return await _view(request, session, job)


@router.get("/{job_id}/attempts", summary="Every attempt of a job")
async def get_attempts(session: Transaction, caller: Reader, job_id: str) -> dict[str, list[AttemptView]]:
    await find(session, job_id, caller)
    found = await attempts(session, job_id)
    return {"data": [AttemptView.model_validate(attempt, from_attributes=True) for attempt in found]}


@router.put("/{job_id}/tracking", summary="Say where the tracking shows a job", tags=["tracking"])
async def put_tracking(
    request: Request, session: Transaction, caller: Tracking, job_id: str, body: TrackingLink
) -> JobView:
    job = await find(session, job_id, caller, lock=True)
    job.mlflow_url = body.url
    await session.flush()
    return await _view(request, session, job)


async def _view(request: Request, session: Transaction, job: Job) -> JobView:
    state = request.app.state
    return await view(session, job, state.settings, state.catalogue())
