"""Submit, list, read, cancel, retry and extend suites."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import func

from pace_core.spec import Catalogue
from service.audit import log
from service.db import Transaction
from service.jobs.idempotency import made_once
from service.jobs.schemas import TrackingLink
from service.keys.auth import Reader, Tracking, User
from service.suites import submission
from service.suites.forms import FORMS
from service.suites.plan import Plan, plan
from service.suites.planned import planned
from service.suites.queries import find, page, views
from service.suites.results import table_of
from service.suites.schemas import (
    SuiteExtension,
    SuiteFilters,
    SuitePage,
    SuitePlan,
    SuiteRequest,
    SuiteTable,
    SuiteView,
)
from service.suites.tables import Suite

router = APIRouter(prefix="/v1/suites", tags=["suites"])


@router.post(
    "",
    status_code=202,
    response_model=SuiteView,
    responses={200: {"model": SuitePlan, "description": "With validate_only"}},
    summary="Submit a suite",
)
async def post_suite(
    request: Request,
    session: Transaction,
    caller: User,
    body: SuiteRequest,
    validate_only: bool = False,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Queues every row on every task with every seed, all of them or none.

    With `validate_only` nothing is stored: the answer is the jobs it would make, their time, and what is done already.
    A row that cannot run on a task is refused with its reason and stands so in the table.
    """
    state = request.app.state
    whole = await _plan(body, state.catalogue())
    if validate_only:
        said = await planned(session, whole, caller, state.catalogue(), state.settings)
        return JSONResponse(said.model_dump(mode="json"))

    async def made() -> dict[str, Any]:
        suite = await submission.submit(session, whole, caller, state.catalogue(), state.settings)
        said = {"runs": len(whole.runs), "priority": body.priority}
        log.record(session, request, caller, "suite.submit", suite.id, suite.project, **said)
        return (await _view(session, suite)).model_dump(mode="json")

    return await made_once(request, session, caller, "/v1/suites", idempotency_key, made)


@router.get("", summary="List suites, newest first")
async def list_suites(session: Transaction, caller: Reader, filters: Annotated[SuiteFilters, Query()]) -> SuitePage:
    """Pages by cursor: pass `next_cursor` as `after`. The jobs of one are `GET /v1/jobs?suite=…`; the suites that a job
    is of, which may be several, `GET /v1/suites?job=…`."""
    found, cursor = await page(session, caller, filters)
    return SuitePage(data=await views(session, found), has_more=cursor is not None, next_cursor=cursor)


@router.get("/{suite_id}", summary="Read a suite")
async def get_suite(session: Transaction, caller: Reader, suite_id: str) -> SuiteView:
    return await _view(session, await find(session, suite_id, caller))


@router.get(
    "/{suite_id}/table",
    response_model=SuiteTable,
    responses={200: {"content": {media: {} for media, _ in FORMS.values()}}},
    summary="A suite's table",
)
async def get_table(
    request: Request,
    session: Transaction,
    caller: Reader,
    suite_id: str,
    format: Literal["json", "csv", "md", "latex", "svg"] = "json",
) -> Response:
    """Returns rows × tasks: mean ± std over seeds, group means, published rows, and what rows differ by. What failed or
    was refused stands there with its reason. JSON, CSV, Markdown, LaTeX, or a picture."""
    table = await table_of(session, await find(session, suite_id, caller), request.app.state.catalogue())
    if format == "json":
        return Response(table.model_dump_json(), media_type="application/json")
    media, write = FORMS[format]
    return Response(write(table), media_type=media)


@router.post("/{suite_id}/cancel", summary="Cancel a suite")
async def cancel(request: Request, session: Transaction, caller: User, suite_id: str) -> SuiteView:
    """Ends the jobs that the suite has submitted: at once those that wait, the others after the step that runs."""
    suite = await find(session, suite_id, caller, lock=True)
    await submission.cancel(session, suite)
    log.record(session, request, caller, "suite.cancel", suite.id, suite.project)
    return await _view(session, suite)


@router.post("/{suite_id}/retry", status_code=202, summary="Run again what failed")
async def retry(request: Request, session: Transaction, caller: User, suite_id: str) -> SuiteView:
    """Queues a new job for each run whose job failed, was cancelled or was deleted; the others stay as they are."""
    state = request.app.state
    suite = await find(session, suite_id, caller, lock=True)
    whole = await _plan(submission.request_of(suite), state.catalogue())
    jobs = await submission.retry(session, suite, caller, state.catalogue(), state.settings)
    jobs += await submission.fill(session, suite, whole, caller, state.catalogue(), state.settings)
    await submission.mark(session, suite, stopped=None, cancel_requested_at=None, counted_from=func.now())
    log.record(session, request, caller, "suite.retry", suite.id, suite.project, jobs=jobs)
    return await _view(session, suite)


@router.post("/{suite_id}/extend", status_code=202, summary="Add tasks, rows, backbones or seeds")
async def extend(
    request: Request, session: Transaction, caller: User, suite_id: str, body: SuiteExtension
) -> SuiteView:
    """Queues what the suite lacks then; what it has is not run again."""
    state = request.app.state
    suite = await find(session, suite_id, caller, lock=True)
    whole = await _plan(submission.extended(suite, body), state.catalogue())
    jobs = await submission.fill(session, suite, whole, caller, state.catalogue(), state.settings)
    await submission.mark(
        session,
        suite,
        request=submission.kept_request(whole),
        stopped=None,
        cancel_requested_at=None,
        counted_from=func.now(),
    )
    log.record(session, request, caller, "suite.extend", suite.id, suite.project, jobs=jobs)
    return await _view(session, suite)


@router.put("/{suite_id}/tracking", summary="Say where the tracking shows a suite", tags=["tracking"])
async def put_tracking(session: Transaction, caller: Tracking, suite_id: str, body: TrackingLink) -> SuiteView:
    suite = await find(session, suite_id, caller, lock=True)
    await submission.mark(session, suite, mlflow_url=body.url)
    return await _view(session, suite)


async def _plan(asked: SuiteRequest, catalogue: Catalogue) -> Plan:
    return await asyncio.to_thread(plan, asked, catalogue)  # whoever else asks meanwhile is answered


async def _view(session: Transaction, suite: Suite) -> SuiteView:
    return (await views(session, [suite]))[0]
