"""The moves of a job: every verb from every state does what the table of moves says, or nothing."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import ENDED, LEASED, MOVES, State
from service.clusters.needs import Needs
from service.db import Database
from service.events.tables import JobEvent
from service.ids import new_id
from service.jobs import ledger
from service.jobs.ledger import End, Said
from service.jobs.tables import Attempt, Job
from service.keys.bootstrap import Keys
from tests.service.api import result

END = End("lost", "gone", by_report=False)
ABOUT = {"cluster": "d1", "slot": "s", "node": "n", "device": "cpu", "token_hash": "h"}

Verb = Callable[[AsyncSession, str], Awaitable[Any]]

VERBS: dict[str, Verb] = {
    "claim": lambda session, job: ledger.claim(session, {job: ABOUT}, 60.0, "/storage"),
    "begin": lambda session, job: ledger.begin(session, Said(job, 1, "d1", "h"), 60.0),
    "pause": lambda session, job: ledger.pause(session, job, 1, END),
    "hold": ledger.hold,
    "resume": ledger.resume,
    "requeue": lambda session, job: ledger.requeue(session, job, 1, END),
    "succeed": lambda session, job: ledger.succeed(session, job, 1, END, result(), "cell"),
    "fail": lambda session, job: ledger.fail(session, job, 1, END),
    "cancel": lambda session, job: ledger.cancel(session, job, 1, END),
}


async def job_in(session: AsyncSession, state: State) -> str:
    """A job in that state whose newest attempt is 1."""
    ended = state in ENDED
    job = Job(
        id=new_id("job"),
        project="default",
        owner="ada",
        name="",
        row="",
        tags={},
        priority=50,
        state=state,
        attempt=1,
        failures=0,
        max_attempts=3,
        runtime_s=0.0,
        lease_expires_at=datetime.now(UTC) + timedelta(hours=1) if state in LEASED else None,
        spec={},
        task="t",
        phase="final",
        seed=0,
        device="auto",
        lane=Needs("auto", 0).lane,
        event_count=0,
        reason="succeeded" if ended else None,
        result=result() if ended else None,
        ended_at=func.now() if ended else None,
    )
    session.add(job)
    await session.flush()
    await session.execute(insert(Attempt).values(job=job.id, number=1, folder="f", last_seq=0, said_end=False, **ABOUT))
    return job.id


def test_every_move_of_the_table_has_its_verb() -> None:
    assert set(VERBS) == set(MOVES)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("name", MOVES)
async def test_a_verb_moves_from_its_sources_only_and_writes_one_event_or_nothing(
    database: Database, keys: Keys, name: str, state: State
) -> None:
    async with database.transaction() as session:
        job = await job_in(session, state)
        before = await session.get_one(Job, job, populate_existing=True)
        columns = {key: value for key, value in vars(before).items() if not key.startswith("_")}
        moved = bool(await VERBS[name](session, job))
    async with database.transaction() as session:
        after = await session.get_one(Job, job)
        events = list((await session.execute(select(JobEvent).where(JobEvent.job == job))).scalars())
    if state in MOVES[name].sources:
        assert moved
        assert after.state == MOVES[name].target
        (event,) = events
        assert (event.number, event.data["move"], event.data["state"]) == (1, name, after.state)
        assert (after.lease_expires_at is not None) == (after.state in LEASED)
        assert (after.ended_at is not None) == (after.state in ENDED)
    else:
        assert not moved
        assert events == []
        assert {key: getattr(after, key) for key in columns} == columns


@pytest.mark.parametrize("name", ["begin", "pause", "requeue", "succeed", "fail", "cancel"])
async def test_what_an_older_attempt_says_moves_nothing(database: Database, keys: Keys, name: str) -> None:
    async with database.transaction() as session:
        job = await job_in(session, State.STARTING)
        (await session.get_one(Job, job)).attempt = 2
        await session.flush()
        assert not await VERBS[name](session, job)
    async with database.transaction() as session:
        assert (await session.get_one(Job, job)).state == "starting"


async def test_a_job_that_a_worker_holds_is_not_cancelled_behind_its_back(database: Database, keys: Keys) -> None:
    async with database.transaction() as session:
        job = await job_in(session, State.RUNNING)
        assert not await ledger.cancel_idle(session, job)
        assert await ledger.request(session, job, cancel=True)
    async with database.transaction() as session:
        found = await session.get_one(Job, job)
        assert found.state == "running"
        assert found.cancel_requested_at is not None
