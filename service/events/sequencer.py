"""Gives committed events their place among all jobs' events.

Writers insert events without a position and wait for nobody. Numbering happens after their commits, in batches, under
the lock of one row: a batch sees all commits before it and becomes visible before the next one begins, so a reader
never sees a position while a lower one is still to come.
"""

import asyncio
import math
import time
from collections.abc import Awaitable
from typing import TypeVar

import psycopg
import structlog

from service.wake import APPENDED, EVENTS, Wakes

T = TypeVar("T")
_BATCH = 5_000
_GATHER_S = 0.03  # what comes meanwhile goes into one batch: a busy service is to make thirty a second, not hundreds
_ELECTION = 0x6576656E7473  # "events": the advisory lock of the process that numbers; the others only stand by
_STAND_BY_S = 1.0
_PATIENCE_S = 30.0  # a connection that has not answered by then only seems open
_OVERDUE_S = 5.0  # an event without a number for so long: whoever holds the election does not number, though it lives
_STAND_IN_S = 60.0  # then another one numbers for so long, before it looks again
_NUMBER = """
    WITH fresh AS (
        SELECT id, row_number() OVER (ORDER BY id) AS place
        FROM (SELECT id FROM job_events WHERE position IS NULL ORDER BY id LIMIT %(batch)s) AS unnumbered
    ), numbered AS (
        UPDATE job_events SET position = %(last)s + place FROM fresh WHERE job_events.id = fresh.id RETURNING position
    )
    UPDATE event_log SET last = coalesce((SELECT max(position) FROM numbered), last) WHERE id = 1 RETURNING last
"""
_log = structlog.get_logger()


async def number_for_ever(url: str, wakes: Wakes) -> None:
    """Numbers events whenever some were stored. One process of the service does so at a time; the next one takes over
    within a second of its end, and within seconds of its standing still."""
    while True:
        try:
            async with await connect(url) as connection:
                await _number_for_ever(connection, wakes)
        except (psycopg.Error, OSError) as error:  # a timeout is the latter
            _log.warning("cannot number events", error=str(error) or type(error).__name__)
            await asyncio.sleep(_STAND_BY_S)


async def connect(url: str) -> psycopg.AsyncConnection:
    """Connects to number events. A process that is stopped while it numbers loses the connection, and with it the lock
    of the row for which all others would wait."""
    silent_ms = round(_OVERDUE_S * 1000)
    return await psycopg.AsyncConnection.connect(
        url, autocommit=True, connect_timeout=10, options=f"-c idle_in_transaction_session_timeout={silent_ms}"
    )


async def _number_for_ever(connection: psycopg.AsyncConnection, wakes: Wakes) -> None:
    elected, stands_in_until, overdue = False, -math.inf, _Overdue()
    with wakes.waiter(APPENDED) as waiter:
        while True:
            elected = elected or await _within_patience(_elected(connection))
            if not elected and stands_in_until < time.monotonic() and await _within_patience(overdue.look(connection)):
                _log.warning("the process that numbers events stands still; this one stands in for it")
                stands_in_until = time.monotonic() + _STAND_IN_S
            if not elected and stands_in_until < time.monotonic():
                await asyncio.sleep(_STAND_BY_S)
            elif await _within_patience(number(connection)):
                wakes.tell({EVENTS})
                await asyncio.sleep(_GATHER_S)
            else:
                await waiter.wait(_STAND_BY_S)


class _Overdue:
    """Watch over the first event without a number: one that stays the first is not being numbered.

    What is watched is the row itself and not a time in it, which is of the worker's clock.
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._since = 0.0

    async def look(self, connection: psycopg.AsyncConnection) -> bool:
        """Tells whether the same event has been the first for too long."""
        found = await connection.execute("SELECT id FROM job_events WHERE position IS NULL ORDER BY id LIMIT 1")
        (first,) = await found.fetchone() or (None,)
        now = time.monotonic()
        if first is None or first != self._first:
            self._first, self._since = first, now
        return first is not None and now - self._since > _OVERDUE_S


async def _within_patience(answer: Awaitable[T]) -> T:
    """Awaits it under a timeout. (`wait_for` of Python 3.11 loses a cancellation that comes as the answer does, and the
    process would then never end.)"""
    async with asyncio.timeout(_PATIENCE_S):
        return await answer


async def number(connection: psycopg.AsyncConnection) -> int:
    """Numbers one batch, in a transaction of its own; how many events it had."""
    due = await connection.execute("SELECT 1 FROM job_events WHERE position IS NULL LIMIT 1")
    if await due.fetchone() is None:
        return 0
    async with connection.transaction():
        # the row's lock comes first: what is read after it includes every batch before this one
        before = await connection.execute(
            "INSERT INTO event_log (id, last) VALUES (1, 0) ON CONFLICT (id) DO UPDATE SET last = event_log.last"
            " RETURNING last"
        )
        (last,) = await before.fetchone() or (0,)
        after = await connection.execute(_NUMBER, {"last": last, "batch": _BATCH})
        (now,) = await after.fetchone() or (last,)
    return now - last


async def _elected(connection: psycopg.AsyncConnection) -> bool:
    answer = await connection.execute("SELECT pg_try_advisory_lock(%s)", (_ELECTION,))
    return bool((await answer.fetchone() or (False,))[0])
