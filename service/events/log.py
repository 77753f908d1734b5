"""Appends to the events of a job; their place among all jobs' events is drawn later, by the sequencer."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Event, EventType
from service.events.tables import EventLog, JobEvent
from service.wake import APPENDED, notify


class NewEvent(NamedTuple):
    """An event that has no number yet."""

    attempt: int
    seq: int | None
    at: datetime
    type: EventType | str
    data: dict[str, Any]


def from_run(attempt: int, event: Event) -> NewEvent:
    """Returns an event of a run, whose data are storable, as a row."""
    return NewEvent(attempt, event.seq, event.at, event.type, event.data)


def from_service(attempt: int, data: dict[str, Any]) -> NewEvent:
    """Returns the event of a move that the service made."""
    return NewEvent(attempt, None, datetime.now(UTC), EventType.STATE, storable(data))


async def store(session: AsyncSession, of_jobs: Sequence[tuple[str, int, Sequence[NewEvent]]]) -> None:
    """Stores events of jobs whose event_count the caller writes: (job, number of its first event, its events).

    The job's row stays locked until the commit: a job's events become visible in order.
    """
    rows = [
        {"job": job, "number": number, **event._asdict()}
        for job, first, events in of_jobs
        for number, event in enumerate(events, start=first)
    ]
    await session.execute(insert(JobEvent), rows)
    notify(session, APPENDED, *(job for job, _, _ in of_jobs))


async def count_deletion(session: AsyncSession) -> None:
    """Says that a job goes, with all its events: what was made of them is out of date."""
    counted = insert(EventLog).values(id=1, last=0, deletions=1)
    raised = counted.on_conflict_do_update(index_elements=[EventLog.id], set_={"deletions": EventLog.deletions + 1})
    await session.execute(raised)


def storable(data: Any) -> Any:
    """Returns JSON as Postgres takes it: no NaN or infinity (they become null), no NUL or half characters in text."""
    match data:
        case float():
            return data if math.isfinite(data) else None
        case str():
            return data.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
        case dict():
            return {storable(str(key)): storable(value) for key, value in data.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        case list() | tuple():
            return [storable(item) for item in data]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return data
