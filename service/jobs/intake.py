"""Takes submissions into the database: those that come while one statement is under way share the next."""

import asyncio
from datetime import datetime

from sqlalchemy.exc import DataError, IntegrityError

from service.db import Database
from service.jobs import ledger
from service.jobs.ledger import Submission

_MOST = 100  # in one statement


class Intake:
    """The submissions of this process that are on their way into the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[Submission, asyncio.Future[datetime | None]]] = []
        self._storing: asyncio.Task[None] | None = None

    async def store(self, submission: Submission) -> datetime | None:
        """Stores it; returns when that was, once it is committed. None where its idempotency key was taken already."""
        stored = asyncio.get_running_loop().create_future()
        self._waiting.append((submission, stored))
        if self._storing is None:
            self._storing = asyncio.create_task(self._store_all())
        return await stored

    async def _store_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
            await self._store(batch)
        self._storing = None

    async def _store(self, batch: list[tuple[Submission, asyncio.Future[datetime | None]]]) -> None:
        try:
            async with self._database.lone() as session:
                made = await ledger.submit_all(session, [submission for submission, _ in batch])
        except (DataError, IntegrityError) as error:
            if len(batch) > 1:  # one of them cannot be stored, for which the others are not to pay
                for one in batch:
                    await self._store([one])
            else:
                _fail(batch, error)
        except Exception as error:
            _fail(batch, error)
        else:
            for submission, stored in batch:
                if not stored.done():  # whoever asked is still there
                    stored.set_result(made.get(submission.job.id))


def _fail(batch: list[tuple[Submission, asyncio.Future[datetime | None]]], error: Exception) -> None:
    for _, stored in batch:
        if not stored.done():
            stored.set_exception(error)
