"""Appends to the events of a job, under numbers that no reader can miss."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import insert, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Event, EventType
from service.events.tables import JobEvent
from service.jobs.tables import Job
from service.wake import notify

_ORDER = 0x6576656E7473  # "events": the advisory lock under which global numbers are drawn


class NewEvent(NamedTuple):
    """An event that has no number yet."""

    attempt: int
    seq: int | None
    at: datetime
    type: EventType
    data: dict[str, Any]


def from_run(attempt: int, event: Event) -> NewEvent:
    """What a run said, as it can be stored."""
    return NewEvent(attempt, event.seq, event.at, event.type, storable(event.data))


def from_service(attempt: int, data: dict[str, Any]) -> NewEvent:
    """A move that the service made."""
    return NewEvent(attempt, None, datetime.now(UTC), EventType.STATE, storable(data))


async def append(session: AsyncSession, job: str, events: Sequence[NewEvent]) -> None:
    """Stores events of one job and wakes their readers at commit.

    The caller must already hold the locks of every row that its transaction will write: the global order is locked
    from here to the commit, so that no number becomes visible before a lower one.
    """
    if not events:
        return
    counted = await session.execute(
        update(Job).where(Job.id == job).values(event_count=Job.event_count + len(events)).returning(Job.event_count)
    )
    first = counted.scalar_one() - len(events) + 1
    await session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ORDER})
    drawn = await session.execute(
        text("SELECT nextval(pg_get_serial_sequence('job_events', 'id')) FROM generate_series(1, :count)"),
        {"count": len(events)},
    )
    rows = [
        {"id": id, "job": job, "number": first + index, **event._asdict()}
        for index, (id, event) in enumerate(zip(sorted(drawn.scalars()), events, strict=True))
    ]
    await session.execute(insert(JobEvent), rows)
    await notify(session, job)


def storable(data: Any) -> Any:
    """JSON as Postgres takes it: no NaN or infinity (they become null), no NUL characters in text."""
    match data:
        case float():
            return data if math.isfinite(data) else None
        case str():
            return data.replace("\x00", "\ufffd")
        case dict():
            return {storable(str(key)): storable(value) for key, value in data.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        case list() | tuple():
            return [storable(item) for item in data]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return data
