"""Forgets what was kept for long enough."""

import asyncio
from datetime import datetime

import structlog
from sqlalchemy import ColumnElement, delete, exists, func, select
from sqlalchemy.orm import InstrumentedAttribute

from pace_core.spec import EventType
from service.audit.tables import AuditEntry
from service.datasets.expiry import expire
from service.db import Database
from service.events.tables import Cursor, JobEvent
from service.jobs.tables import IdempotencyKey, Job
from service.sessions.tables import Session
from service.settings import Settings

_EVERY_S = 300.0
_EVENTS = 10_000
"""Deleted in one transaction."""
_FORGOTTEN = (EventType.LOG, EventType.PROGRESS)
_KEEP_ANSWERS_S = 48 * 3600.0
_log = structlog.get_logger()


async def forget_for_ever(database: Database, settings: Settings) -> None:
    """Forgets at once and then every few minutes; several processes may do so."""
    while True:
        try:
            await forget(database, settings.keep_audit_s)
            while await forget_events(database, settings.keep_events_s) == _EVENTS:
                pass
            while await expire(database, settings.storage_root, settings.keep_uploads_s):
                pass
        except Exception:  # a database that is away; the next time will do
            _log.exception("cannot forget what is old")
        await asyncio.sleep(_EVERY_S)


async def forget(database: Database, keep_audit_s: float) -> None:
    """Deletes entries of the audit that are older than `keep_audit_s`, and answers to submissions after two days;
    sessions that have expired."""
    async with database.transaction() as session:
        await session.execute(delete(IdempotencyKey).where(_before(IdempotencyKey.created_at, _KEEP_ANSWERS_S)))
        await session.execute(delete(Session).where(Session.expires_at < func.now()))
        await session.execute(delete(AuditEntry).where(_before(AuditEntry.at, keep_audit_s)))


async def forget_events(database: Database, keep_s: float) -> int:
    """Deletes some of the log lines and steps of jobs that ended so long ago; how many those were.

    What a reader of all events has not come to yet stays.
    """
    read = ~exists().where(Cursor.position < JobEvent.position)
    old = (
        select(JobEvent.id)
        .join(Job, Job.id == JobEvent.job)
        .where(_before(Job.ended_at, keep_s), JobEvent.type.in_(_FORGOTTEN), JobEvent.position.is_not(None), read)
        .limit(_EVENTS)
    )
    async with database.transaction() as session:
        return len((await session.execute(delete(JobEvent).where(JobEvent.id.in_(old)).returning(JobEvent.id))).all())


def _before(
    column: InstrumentedAttribute[datetime] | InstrumentedAttribute[datetime | None], seconds: float
) -> ColumnElement[bool]:
    return column < func.now() - func.make_interval(0, 0, 0, 0, 0, 0, seconds)
