"""Waiting inside the service, and its end."""

import asyncio
from contextlib import suppress

import psycopg
import pytest

from service.wake import CHANNEL, Waiter, Wakes


@pytest.mark.parametrize("turns", range(5))
async def test_a_wait_that_is_cancelled_just_as_it_is_woken_is_cancelled(turns: int) -> None:
    waiter = Waiter(asyncio.Event())

    async def look_for_ever() -> None:
        while True:
            await waiter.wait()

    task = asyncio.create_task(look_for_ever())
    await asyncio.sleep(0)
    waiter.woken.set()
    for _ in range(turns):  # of the event loop, between the wake and the cancellation
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=2)
    task.cancel()
    assert done, "the cancellation was lost"


async def test_a_notification_that_cannot_be_read_ends_no_listener(postgres_url: str) -> None:
    wakes = Wakes(postgres_url)
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection, asyncio.timeout(20):
        with wakes.waiter("a topic") as waiter:  # before the listener, whose first act is to wake everyone
            listening = asyncio.create_task(wakes.listen())
            await waiter.woken.wait()  # it listens
            for payload in ("", "no JSON", "5", "[]", '["", 5]', '["", ["a topic"]]', '{"a": 1}'):
                waiter.woken.clear()
                await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))
                await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, '["other", "a topic"]'))
                await waiter.woken.wait()
    assert not listening.done()
    listening.cancel()
    with suppress(asyncio.CancelledError):
        await listening
