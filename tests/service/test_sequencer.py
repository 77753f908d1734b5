"""Events of all jobs in one order: no writer waits for another, and no reader misses one."""

import asyncio
import random
from typing import Any

import psycopg
import pytest

from service.db import Database
from service.events import sequencer
from service.events.sequencer import number
from tests.service.api import Api, append, numbered

ELECTION = 0x6576656E7473
WRITERS, EVENTS_EACH, JOBS = 200, 4, 40


async def all_events(api: Api, after: int = 0, wait: float = 0.0) -> list[dict[str, Any]]:
    return (await api.get(f"/v1/events?after={after}&limit=5000&wait={wait}", key=api.keys.tracking))["data"]


async def test_a_slow_transaction_holds_up_no_other_writer_and_its_events_come_when_it_has_committed(
    api: Api, database: Database
) -> None:
    slow, quick = await api.submit(), await api.submit()
    await numbered(api)
    start = (await all_events(api))[-1]["position"]
    async with database.transaction() as session:
        await append(session, slow, {"n": 1})
        async with asyncio.timeout(5):
            await api.act(quick, "cancel")
            (seen,) = await all_events(api, start, wait=5)
        assert (seen["job"], seen["data"]["move"]) == (quick, "cancel")
    late = await all_events(api, seen["position"], wait=5)
    assert [e["data"] for e in late] == [{"n": 1}]


@pytest.mark.parametrize("while_it_numbers", [False, True])
async def test_a_process_that_is_elected_and_stands_still_holds_up_readers_for_seconds_only(
    api: Api, monkeypatch: pytest.MonkeyPatch, while_it_numbers: bool
) -> None:
    """As one that was stopped (SIGSTOP): its connection lives, and all that it locks stays locked."""
    monkeypatch.setattr(sequencer, "_OVERDUE_S", 0.5)
    async with await sequencer.connect(api.database.url) as stopped:
        await api.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND objid = (%s & x'ffffffff'::bigint)::oid",
            ELECTION,
        )
        await stopped.execute("SELECT pg_advisory_lock(%s)", (ELECTION,))
        if while_it_numbers:
            await stopped.execute("BEGIN")
            await stopped.execute("UPDATE event_log SET last = last + 5")
        job = await api.submit()
        async with asyncio.timeout(20):
            (seen,) = await all_events(api, wait=20)
            await api.act(job, "cancel")
            (then,) = await all_events(api, seen["position"], wait=20)
        assert (then["position"], then["data"]["move"]) == (seen["position"] + 1, "cancel")
        if not while_it_numbers:
            assert await sequencer.number(stopped) == 0, "it goes on: nothing is left for it to number a second time"
    await numbered(api)


@pytest.mark.timeout(120)
async def test_a_reader_misses_nothing_of_many_writers_while_the_sequencer_is_killed_again_and_again(
    api: Api, database: Database
) -> None:
    jobs = [await api.submit() for _ in range(JOBS)]
    rng = random.Random(7)
    read: list[dict[str, Any]] = []
    written = asyncio.Event()

    async def write(writer: int) -> None:
        for n in range(EVENTS_EACH):
            async with database.transaction() as session:
                await append(session, jobs[writer % JOBS], {"writer": writer, "n": n})
                await asyncio.sleep(rng.random() / 50)  # commits in another order than that of the inserts

    async def follow() -> None:
        after = 0
        while not (written.is_set() and len(read) >= JOBS + WRITERS * EVENTS_EACH):
            page = await all_events(api, after, wait=1)
            read.extend(page)
            after = page[-1]["position"] if page else after

    async def kill() -> int:
        killed = 0
        while not written.is_set():
            ended = await api.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                " AND objid = (%s & x'ffffffff'::bigint)::oid",
                ELECTION,
            )
            killed += len(ended)
            await asyncio.sleep(0.3)
        return killed

    async def rival() -> None:
        """Another process that believes it is the one to number."""
        async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
            while not written.is_set():
                await number(connection)
                await asyncio.sleep(0.005)

    following, killing, competing = (asyncio.create_task(work) for work in (follow(), kill(), rival()))
    await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    written.set()
    async with asyncio.timeout(60):
        await asyncio.gather(following, competing)
    assert await killing >= 1
    positions = [e["position"] for e in read]
    assert positions == sorted(set(positions))
    assert len(read) == JOBS + WRITERS * EVENTS_EACH
    for job in jobs:
        of_job = [e["number"] for e in read if e["job"] == job]
        assert of_job == list(range(1, len(of_job) + 1))
