"""What was read a moment ago is not read again, until it is said to have changed."""

import asyncio

import pytest

from service import recent as module
from service.recent import Recent


class Read:
    """A read that counts, and waits where it is told to."""

    def __init__(self) -> None:
        self.count = 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self) -> int:
        self.count += 1
        mine = self.count
        await self.go.wait()
        return mine


async def test_a_second_read_gets_what_the_first_got() -> None:
    recent, read = Recent(), Read()
    assert [await recent.get("key", "a", read) for _ in range(3)] == [1, 1, 1]
    assert await recent.get("key", "b", read) == 2


async def test_many_who_ask_at_once_share_one_read() -> None:
    recent, read = Recent(), Read()
    assert await asyncio.gather(*(recent.get("key", "a", read) for _ in range(50))) == [1] * 50


async def test_an_entry_is_old_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIVES_S", 0.0)
    recent, read = Recent(), Read()
    assert [await recent.get("key", "a", read) for _ in range(2)] == [1, 2]


async def test_a_topic_ends_the_entries_of_its_kind_and_no_others() -> None:
    recent, read = Recent(), Read()
    await recent.get("key", "a", read)
    await recent.get("supply", None, read)
    recent.forget(["key key_01", "job_01"])
    assert await recent.get("supply", None, read) == 2
    assert await recent.get("key", "a", read) == 3


async def test_what_was_being_read_when_it_changed_is_given_to_nobody_who_asks_later() -> None:
    recent, read = Recent(), Read()
    read.go.clear()
    before = asyncio.create_task(recent.get("key", "a", read))
    await asyncio.sleep(0)
    recent.forget(["key key_01"])
    after = asyncio.create_task(recent.get("key", "a", read))
    await asyncio.sleep(0)
    read.go.set()
    assert (await before, await after) == (1, 2)
    assert await recent.get("key", "a", read) == 2


async def test_a_read_that_fails_fails_for_who_asked_and_is_tried_again() -> None:
    recent, read = Recent(), Read()

    async def fail() -> int:
        raise ValueError("away")

    asked = await asyncio.gather(*(recent.get("key", "a", fail) for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in asked] == ["away"] * 3
    assert await recent.get("key", "a", read) == 1


async def test_one_who_gives_up_waiting_takes_nothing_from_the_others() -> None:
    recent, read = Recent(), Read()
    read.go.clear()
    first, second = (asyncio.create_task(recent.get("key", "a", read)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    read.go.set()
    assert await second == 1
