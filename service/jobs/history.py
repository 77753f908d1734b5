"""History of a job: events, their stream, logs, metrics."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field

from pace_core.spec import EventType, State
from pace_core.spec.events import AnyType
from service.db import Database, Transaction
from service.events.queries import of_job
from service.events.schemas import LOGGED, EventPage, EventView, log_line
from service.jobs.queries import find
from service.jobs.tables import Job
from service.keys.auth import Reader, still_valid
from service.keys.secrets import topic
from service.problems import Unauthorized
from service.wake import Wakes

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["history"])


class MetricPoint(BaseModel):
    epoch: int | None
    step: int | None
    value: float | None
    """Null where the number was not finite."""
    at: datetime
    attempt: int


@router.get("/events", summary="A job's events")
async def get_events(
    session: Transaction,
    caller: Reader,
    job_id: str,
    after: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
    type: Annotated[list[AnyType], Query(max_length=20)] = [],  # noqa: B006
) -> EventPage:
    """Lists a job's events, oldest first; go on with `after=next_cursor`."""
    await find(session, job_id, caller)
    found = [EventView.model_validate(row) for row in await of_job(session, job_id, after, limit, type)]
    return EventPage(data=found, has_more=len(found) == limit, next_cursor=found[-1].number if found else after)


async def _visible(session: Transaction, caller: Reader, job_id: str) -> None:
    await find(session, job_id, caller)


@router.get("/events/stream", summary="A job's events as they come", response_class=EventSourceResponse)
async def stream_events(
    request: Request,
    job_id: str,
    caller: Reader,
    _: Annotated[None, Depends(_visible)],
    after: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    last_event_id: Annotated[int | None, Header(ge=0, lt=2**31)] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Streams server-sent events: the id is the event's number, the event its type, the data the whole event.

    Goes on after `Last-Event-ID` or `after`; closes with `event: end` when the job has ended, and without a word when
    the key has stopped working.
    """
    database: Database = request.app.state.database
    wakes: Wakes = request.app.state.wakes
    last = after if last_event_id is None else last_event_id
    yield ServerSentEvent(retry=3000)
    with wakes.waiter(job_id, topic(caller.key_id)) as waiter:
        while not wakes.closing:
            try:
                await still_valid(database, caller)
            except Unauthorized:
                return  # whoever connects again gets the message
            async with database.transaction() as session:
                job = await session.get(Job, job_id)
                found = await of_job(session, job_id, last, limit=500)
            for row in found:
                event = EventView.model_validate(row)
                yield ServerSentEvent(id=str(event.number), event=event.type, data=event)
                last = event.number
            if job is None or (State(job.state).ended and last >= job.event_count):
                said = {"state": job.state, "reason": job.reason} if job else {"state": "deleted", "reason": None}
                yield ServerSentEvent(event="end", data=said)
                return
            if not found:
                await waiter.wait()


@router.get("/logs", summary="A job's log", responses={200: {"content": {"text/plain": {}, "application/json": {}}}})
async def get_logs(
    session: Transaction,
    caller: Reader,
    job_id: str,
    after: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=20000)] = 5000,
    format: Literal["text", "json"] | None = None,
    accept: Annotated[str, Header()] = "",
) -> Response:
    """Returns what the run and the service said, in order: as text, or JSON by `format=json` or the Accept header."""
    await find(session, job_id, caller)
    found = await of_job(session, job_id, after, limit, LOGGED)
    lines = [log_line(EventView.model_validate(event)) for event in found]
    last = lines[-1].number if lines else after
    if format == "json" or (format is None and "application/json" in accept):
        data = [line.model_dump(mode="json") for line in lines]
        return JSONResponse({"data": data, "has_more": len(lines) == limit, "next_cursor": last})
    text = "".join(
        f"{line.at:%Y-%m-%dT%H:%M:%SZ} [{line.attempt}] {line.level.upper():7} {line.message}\n" for line in lines
    )
    return PlainTextResponse(text, headers={"X-Next-Cursor": str(last)})


@router.get("/metrics", summary="A job's measured curves")
async def get_metrics(
    session: Transaction,
    caller: Reader,
    job_id: str,
    key: Annotated[list[Annotated[str, Field(max_length=200)]], Query(max_length=100)] = [],  # noqa: B006
) -> dict[str, dict[str, list[MetricPoint]]]:
    """Returns measurements by key (`train/loss`, `val/accuracy`, …), in the order of steps.

    A step that a resumed attempt ran again stands once, as the newest attempt measured it.
    """
    await find(session, job_id, caller)
    curves: dict[str, dict[Any, MetricPoint]] = {}
    for event in await of_job(session, job_id, types=[EventType.METRICS]):
        epoch, step = event.data.get("epoch"), event.data.get("step")
        for name, value in event.data.get("values", {}).items():
            if not key or name in key:
                point = MetricPoint(epoch=epoch, step=step, value=value, at=event.at, attempt=event.attempt)
                curves.setdefault(name, {})[epoch, step] = point
    return {"data": {name: _sorted(points) for name, points in sorted(curves.items())}}


def _sorted(points: dict[Any, MetricPoint]) -> list[MetricPoint]:
    return sorted(points.values(), key=lambda point: (point.step or 0, point.epoch or 0))
