"""Forgets what was kept for long enough."""

import asyncio
from datetime import datetime

import structlog
from sqlalchemy import ColumnElement, delete, func
from sqlalchemy.orm import InstrumentedAttribute

from service.audit.tables import AuditEntry
from service.db import Database
from service.jobs.tables import IdempotencyKey

_EVERY_S = 300.0
_KEEP_ANSWERS_S = 48 * 3600.0
_log = structlog.get_logger()


async def forget_for_ever(database: Database, keep_audit_s: float) -> None:
    """Forgets at once and then every few minutes; several processes may do so."""
    while True:
        try:
            await forget(database, keep_audit_s)
        except Exception:  # a database that is away; the next time will do
            _log.exception("cannot forget what is old")
        await asyncio.sleep(_EVERY_S)


async def forget(database: Database, keep_audit_s: float) -> None:
    """Deletes entries of the audit that are older than `keep_audit_s`, and answers to submissions after two days."""
    async with database.transaction() as session:
        await session.execute(delete(IdempotencyKey).where(_before(IdempotencyKey.created_at, _KEEP_ANSWERS_S)))
        await session.execute(delete(AuditEntry).where(_before(AuditEntry.at, keep_audit_s)))


def _before(column: InstrumentedAttribute[datetime], seconds: float) -> ColumnElement[bool]:
    return column < func.now() - func.make_interval(0, 0, 0, 0, 0, 0, seconds)
