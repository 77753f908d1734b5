"""Waiting inside the service, and its end."""

import asyncio

import pytest

from service.wake import Waiter


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
