"""Takes in what attempts say: events, signs of life, ends."""

import posixpath
from hmac import compare_digest
from typing import Any

from pydantic import ValidationError
from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import LEASED, REASONS, Directive, Event, EventType, Fault
from pace_core.spec.events import SHAPES
from pace_core.spec.leases import Report, ReportResponse
from service.db import Database
from service.events.log import from_run, storable
from service.jobs import ledger
from service.jobs.ledger import End, Heard, Said
from service.jobs.tables import Attempt, Job
from service.keys.secrets import hashed
from service.leases.settle import settle
from service.problems import Invalid, LeaseFenced, NotFound, ReportGap
from service.settings import Settings

_CURRENT = (
    select(Job, Attempt)
    .join(Attempt, Attempt.job == Job.id)
    .where(Job.id == bindparam("job"), Attempt.number == bindparam("attempt"))
    .with_for_update()  # both: whoever waited for the job is to see the attempt as it is by then
)
_RENEW_S = 2.0  # reports that only ask for the directive come several times a second and need no write each


async def take_report(
    database: Database, settings: Settings, cluster: str, job_id: str, attempt_number: int, report: Report
) -> ReportResponse:
    """Stores the new events, renews the lease and makes the moves they mean, all or none.

    Events already stored are passed over, so a report can be repeated. Raises LeaseFenced for an attempt that is no
    longer current or that the reporter does not hold, ReportGap where events between the stored and the reported
    ones are missing.
    """
    events = [_as_stored(event) for event in report.events]
    said = Said(job_id, attempt_number, cluster, hashed(report.token))
    if _is_plain(events):
        async with database.lone() as session:
            heard = await _hear(session, settings, said, events)
        if heard is not None:
            return _answer(heard)
    return await _take_with_care(database, settings, said, events)


def _is_plain(events: list[Event]) -> bool:
    """Tells whether one statement stores the events, if they are the next ones: most reports are so."""
    if not events:
        return True
    try:
        _check_order(events, events[0].seq - 1)
    except (Invalid, ReportGap):
        return False
    return events[-1].type is not EventType.END


async def _take_with_care(database: Database, settings: Settings, said: Said, events: list[Event]) -> ReportResponse:
    """Takes a report that ends the attempt, repeats what is stored, or is to be refused and told why."""
    async with database.transaction() as session:
        found = (await session.execute(_CURRENT, {"job": said.job, "attempt": said.attempt})).one_or_none()
        if found is None:
            raise NotFound(f"no attempt {said.attempt} of job {said.job} was ever leased")
        job, attempt = found
        if attempt.cluster != said.cluster or not compare_digest(attempt.token_hash, said.token_hash):
            raise LeaseFenced("the report does not show the token of this lease, or its key is of another cluster")
        new = [event for event in events if event.seq > attempt.last_seq]
        if job.attempt != said.attempt or job.state not in LEASED:
            if attempt.said_end and events and not new:
                return ReportResponse(acknowledged=attempt.last_seq, directive="stop")  # its answer was lost
            raise LeaseFenced(f"attempt {said.attempt} of {said.job} is over; the job is {job.state}")
        _check_order(new, attempt.last_seq)
        heard = await _hear(session, settings, said, new)
        assert heard is not None, "its row is locked, and it is the current one"
        if not (new and new[-1].type is EventType.END):
            return _answer(heard)
        await _end(session, job, attempt, new[-1], heard.timed_out, settings.retry_after_s)
        return ReportResponse(acknowledged=new[-1].seq, directive="stop")


async def _hear(session: AsyncSession, settings: Settings, said: Said, new: list[Event]) -> Heard | None:
    training = [e.data for e in new if e.type is EventType.PROGRESS and "step" in e.data]
    if not new:
        return await ledger.hear(session, said, settings.lease_s, min(_RENEW_S, settings.lease_s / 10))
    said = said._replace(
        after=new[0].seq - 1,
        events=[from_run(said.attempt, event) for event in new],
        progress=training[-1] if training else None,
    )
    return await (ledger.begin if new[0].seq == 1 else ledger.hear)(session, said, settings.lease_s)


def _as_stored(event: Event) -> Event:
    return event.model_copy(update={"data": storable(event.data)})


def _check_order(new: list[Event], last_seq: int) -> None:
    for expected, event in enumerate(new, start=last_seq + 1):
        if event.seq != expected:
            raise ReportGap(f"event {expected} is missing; send from there on", acknowledged=last_seq)
        if event.type is EventType.STATE:
            raise Invalid(f"event {event.seq} is of type state, which only the service writes")
        _check_shape(event)
    if any(event.type is EventType.END for event in new[:-1]):
        raise Invalid("events follow the end of the attempt")


def _check_shape(event: Event) -> None:
    """Raises Invalid where the data is not what readers of such an event rely on, such as metrics without numbers."""
    shape = SHAPES.get(event.type) if isinstance(event.type, EventType) else None
    if shape is None:
        return
    try:
        shape.model_validate(event.data)
    except ValidationError as error:
        faults = [
            Fault(pointer="/".join(["/data", *map(str, item["loc"])]), code="wrong_type", message=item["msg"])
            for item in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        raise Invalid(f"event {event.seq} is no event of type {event.type}", faults) from None


async def _end(
    session: AsyncSession, job: Job, attempt: Attempt, event: Event, timed_out: bool, retry_after_s: float
) -> None:
    data = event.data
    reason, message = data.get("reason"), str(data.get("message") or "")
    if reason not in REASONS:
        message = f"the worker ended with the unknown reason {reason!r}. {message}".rstrip()
        reason = "crashed"
    if reason == "succeeded" and _leads_out(data.get("result"), attempt.folder):
        reason, message = "crashed", "the worker's result names an adapter outside of its attempt's folder"
    end = End(reason, message or REASONS[reason].sentence, by_report=True)
    await settle(session, job, end, result=data.get("result"), timed_out=timed_out, retry_after_s=retry_after_s)


def _leads_out(result: Any, folder: str) -> bool:
    """Whether the result's adapter lies elsewhere than below the attempt's folder."""
    adapter: Any = result.get("adapter") if isinstance(result, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if not isinstance(adapter, dict):
        return False  # none; whatever else it is, the result cannot be read
    uri = str(adapter.get("uri")).removeprefix("file://")  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    scheme, found, path = uri.rpartition("://")
    return not f"{scheme}{found}{posixpath.normpath(path)}".startswith(f"{folder.removeprefix('file://')}/")


def _answer(heard: Heard) -> ReportResponse:
    directive: Directive = "continue"
    if heard.cancel or heard.timed_out:
        directive = "stop"
    elif heard.evicted or heard.pause:
        directive = "pause"
    return ReportResponse(acknowledged=heard.last_seq, directive=directive)
