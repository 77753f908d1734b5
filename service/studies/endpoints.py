"""Submit, list, read, steer and extend studies; and what their drivers ask."""

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import func, select

from pace_core.spec import State
from service.audit import log
from service.clusters.fit import seen_slots
from service.db import Database, Transaction
from service.jobs import ledger
from service.jobs.idempotency import made_once
from service.jobs.schemas import TrackingLink
from service.jobs.tables import Job
from service.keys.auth import Reader, Tracking, User, Worker, cluster_of, still_valid
from service.keys.secrets import topic
from service.problems import Conflict
from service.studies import driving, order, steering, submission
from service.studies.driver_schemas import (
    DriverDirective,
    DriverEnd,
    DriverRequest,
    DriverResponse,
    RungAnswer,
    RungRequest,
    Shown,
    StudyLease,
    TrialStopped,
)
from service.studies.queries import find, page, request_of, trials, view
from service.studies.report import report_of
from service.studies.report_schemas import StudyReport
from service.studies.schemas import (
    StudyExtension,
    StudyFilters,
    StudyPage,
    StudyPlan,
    StudyRequest,
    StudyView,
    TrialView,
)
from service.studies.space import rungs_of, trials_of
from service.studies.tables import Study, Trial
from service.suites import submission as suites
from service.suites.queries import find as find_suite
from service.wake import Wakes

router = APIRouter(prefix="/v1/studies", tags=["studies"])


@router.post(
    "",
    status_code=202,
    response_model=StudyView,
    responses={200: {"model": StudyPlan, "description": "With validate_only"}},
    summary="Submit a study",
)
async def post_study(
    request: Request,
    session: Transaction,
    caller: User,
    body: StudyRequest,
    validate_only: bool = False,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Searches on validation images, then trains the best on all but the test images and tests it once a seed.

    The search runs as soon as a worker's driver takes it; every trial is a job of its own. With `validate_only` nothing
    is stored: the answer is how much it would run, and the time that it takes.
    """
    state = request.app.state
    if validate_only:
        said = await submission.planned(session, body, caller, state.catalogue(), state.settings)
        return JSONResponse(said.model_dump(mode="json"))

    async def made() -> dict[str, Any]:
        study = await submission.submit(session, body, caller, state.catalogue(), state.settings)
        log.record(session, request, caller, "study.submit", study.id, study.project, trials=study.trials)
        return (await view(session, study)).model_dump(mode="json")

    return await made_once(request, session, caller, "/v1/studies", idempotency_key, made)


@router.get("", summary="List studies, newest first")
async def list_studies(session: Transaction, caller: Reader, filters: Annotated[StudyFilters, Query()]) -> StudyPage:
    """Pages by cursor: pass `next_cursor` as `after`."""
    found, cursor = await page(session, caller, filters)
    data = [await view(session, study) for study in found]
    return StudyPage(data=data, has_more=cursor is not None, next_cursor=cursor)


@router.get("/{study_id}", summary="Read a study")
async def get_study(session: Transaction, caller: Reader, study_id: str) -> StudyView:
    return await view(session, await find(session, study_id, caller))


@router.get("/{study_id}/trials", summary="Every trial of a study")
async def get_trials(session: Transaction, caller: Reader, study_id: str) -> dict[str, list[TrialView]]:
    """Returns them in the order in which they began: config, value on validation images, jobs of their rungs."""
    return {"data": await trials(session, await find(session, study_id, caller))}


@router.get("/{study_id}/report", summary="What a study found out")
async def get_report(session: Transaction, caller: Reader, study_id: str) -> StudyReport:
    """Returns the best with its confidence, what matters, the map of two fields, and every learning curve."""
    return await report_of(session, await find(session, study_id, caller))


@router.put("/{study_id}/tracking", summary="Say where the tracking shows a study", tags=["tracking"])
async def put_tracking(session: Transaction, caller: Tracking, study_id: str, body: TrackingLink) -> StudyView:
    study = await find(session, study_id, caller, lock=True)
    await steering.mark(session, study, mlflow_url=body.url, tracked=True)
    return await view(session, study)


@router.post("/{study_id}/pause", summary="Pause a study")
async def pause(request: Request, session: Transaction, caller: User, study_id: str) -> StudyView:
    """Begins no more trials, and holds those that wait; what runs goes on to its end."""
    study = await _open(session, caller, study_id)
    for job in await _jobs(session, study, State.QUEUED):
        await ledger.hold(session, job)
    await steering.mark(session, study, paused_at=func.now())
    log.record(session, request, caller, "study.pause", study.id, study.project)
    return await view(session, study)


@router.post("/{study_id}/resume", summary="Let a study go on")
async def resume(request: Request, session: Transaction, caller: User, study_id: str) -> StudyView:
    """Resumes one whose drivers were lost too."""
    study = await _open(session, caller, study_id)
    for job in await _jobs(session, study, State.PAUSED):
        await ledger.resume(session, job)
    await steering.mark(session, study, paused_at=None, failed=None, drivers=0)
    log.record(session, request, caller, "study.resume", study.id, study.project)
    return await view(session, study)


@router.post("/{study_id}/cancel", summary="Cancel a study")
async def cancel(request: Request, session: Transaction, caller: User, study_id: str) -> StudyView:
    """Ends its trials, and the final runs of its best."""
    study = await find(session, study_id, caller, lock=True)
    await steering.cancel(session, study)
    if study.suite:
        await suites.cancel(session, await find_suite(session, study.suite, caller, lock=True))
    log.record(session, request, caller, "study.cancel", study.id, study.project)
    return await view(session, study)


@router.post("/{study_id}/retry", status_code=202, summary="Run a study's failed trials again")
async def retry(request: Request, session: Transaction, caller: User, study_id: str) -> StudyView:
    """Keeps all that was learnt; the search goes on with them, and ends with the final runs of what is best then."""
    state = request.app.state
    study = await _open(session, caller, study_id)
    jobs = await steering.retry(session, study, caller, state.catalogue(), state.settings)
    if jobs:
        await steering.mark(session, study, **steering.ANEW)
    log.record(session, request, caller, "study.retry", study.id, study.project, jobs=jobs)
    return await view(session, study)


@router.post("/{study_id}/extend", status_code=202, summary="Search more")
async def extend(
    request: Request, session: Transaction, caller: User, study_id: str, body: StudyExtension
) -> StudyView:
    """Adds trials, or values to the space; no trial is run again."""
    study = await _open(session, caller, study_id)
    tried = await session.execute(select(Trial.config).where(Trial.study == study.id))
    wider = submission.extended(request_of(study), body, list(tried.scalars()))
    whole, _, _ = submission.resolved(wider, request.app.state.catalogue())
    await steering.mark(
        session,
        study,
        request=whole.model_dump(mode="json", by_alias=True),
        trials=trials_of(whole),
        **steering.ANEW,
    )
    log.record(session, request, caller, "study.extend", study.id, study.project, trials=study.trials)
    return await view(session, study)


@router.post("/drivers", summary="Ask for a study to drive", tags=["workers"])
async def post_driver(request: Request, session: Transaction, caller: Worker, body: DriverRequest) -> DriverResponse:
    """Returns the oldest that waits, or whose driver is lost; null where there is none."""
    settings = request.app.state.settings
    token = secrets.token_urlsafe(24)
    study = await driving.take(session, cluster_of(caller), body.holding, token, settings.lease_s)
    if study is None:
        return DriverResponse(lease=None)
    asked = request_of(study)
    known, points = await order.of(session, study, asked)
    slots = await seen_slots(session, settings.worker_seen_s)
    lease = StudyLease(
        study=study.id,
        token=token,
        request=asked,
        known=known,
        points=points,
        trials=study.trials,
        rungs=rungs_of(asked, study.epochs),
        concurrency=asked.concurrency or max(2, slots.fitting(None)),
        lease_s=settings.lease_s,
    )
    return DriverResponse(lease=lease)


@router.post("/{study_id}/driver", summary="A driver's sign of life", tags=["workers"])
async def renew(request: Request, session: Transaction, _: Worker, study_id: str, body: Shown) -> DriverDirective:
    study = await driving.held(session, study_id, body.token, request.app.state.settings.lease_s)
    return DriverDirective(directive="stop" if driving.to_stop(study) else "continue")


@router.post("/{study_id}/found", summary="What the study of a driver has found out", tags=["workers"])
async def post_found(request: Request, session: Transaction, _: Worker, study_id: str, body: Shown) -> StudyReport:
    study = await driving.held(session, study_id, body.token, request.app.state.settings.lease_s)
    await driving.note_all(session, study)
    return await report_of(session, study)


@router.post("/{study_id}/rungs", summary="A trial's rung: its job is made where there is none", tags=["workers"])
async def post_rung(request: Request, caller: Worker, study_id: str, body: RungRequest) -> RungAnswer:
    """Waits until the job has ended, or for `wait_s`."""
    state = request.app.state
    database: Database = state.database
    wakes: Wakes = state.wakes

    async def ask(session: Transaction) -> tuple[RungAnswer, str | None]:
        study = await driving.held(session, study_id, body.token, state.settings.lease_s)
        return await driving.rung_of(session, study, body.config, body.rung, state.catalogue(), state.settings)

    async with database.transaction() as session:
        study = await driving.held(session, study_id, body.token, state.settings.lease_s)
        whole_schedules = request_of(study).rungs == "schedules"
        answer, job = await ask(session)
    if answer.ended or job is None:
        return answer

    async def look(last: bool) -> RungAnswer | None:
        await still_valid(database, caller)
        async with database.transaction() as session:
            if whole_schedules and not last:
                ended = await session.execute(select(Job.ended_at).where(Job.id == job))
                if ended.scalar_one_or_none() is None:
                    return None
            now = (await ask(session))[0]
            return now if now.ended or last else None

    return await wakes.poll((job, topic(caller.key_id)), body.wait_s, look)


@router.post("/{study_id}/stopped", summary="The scheduler stopped a trial", tags=["workers"])
async def post_stopped(
    request: Request, session: Transaction, _: Worker, study_id: str, body: TrialStopped
) -> DriverDirective:
    study = await driving.held(session, study_id, body.token, request.app.state.settings.lease_s)
    await driving.stop(session, study, body.trial, body.rung)
    return DriverDirective(directive="stop" if driving.to_stop(study) else "continue")


@router.post("/{study_id}/end", summary="The search is over", tags=["workers"])
async def post_end(request: Request, session: Transaction, _: Worker, study_id: str, body: DriverEnd) -> StudyView:
    """Queues the final runs of the best."""
    state = request.app.state
    study = await driving.held(session, study_id, body.token, state.settings.lease_s)
    if body.failed is not None:
        await steering.mark(session, study, failed=body.failed, token_hash=None, lease_expires_at=None)
    elif not driving.to_stop(study):
        await driving.finish(session, study, body.importance, state.catalogue(), state.settings)
    await session.refresh(study)
    return await view(session, study)


async def _open(session: Transaction, caller: User, study_id: str) -> Study:
    study = await find(session, study_id, caller, lock=True)
    if study.cancelled_at is not None:
        raise Conflict("the study was cancelled; submit it again, or extend another one")
    return study


async def _jobs(session: Transaction, study: Study, state: State) -> list[str]:
    found = select(Job.id).where(Job.study == study.id, Job.state == state).order_by(Job.id)
    return list((await session.execute(found)).scalars())
