"""The API is killed in the middle of a submission: all of it is there, or nothing."""

import asyncio
from pathlib import Path

import httpx2
import psycopg
import pytest

from perf.served import only_api
from tests.service.api import Api
from tests.service.test_suites import SUITE, submitted

_WAITS = "SELECT count(*) FROM pg_locks WHERE relation = 'suite_runs'::regclass AND NOT granted"
_WRITES = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE query ILIKE '%suite_runs%' AND state <> 'idle' AND pid <> pg_backend_pid()"
)


async def until_counted(connection: psycopg.AsyncConnection, query: str, count: int) -> None:
    """Returns when the query counts so many."""
    async with asyncio.timeout(60):
        while True:
            found = await (await connection.execute(query)).fetchone()  # pyright: ignore[reportArgumentType, reportCallIssue]
            if found is not None and found[0] == count:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("search", [None, {"space": {"regularizer.sigma": [0.1, 0.5]}}], ids=["plain", "searched"])
async def test_of_a_suite_that_is_being_inserted_nothing_is_left(
    api: Api, postgres_url: str, tmp_path: Path, search: object
) -> None:
    async def send(url: str) -> None:
        headers = {"Authorization": f"Bearer {api.keys.admin}"}
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=60) as http:
            await http.post("/v1/suites", json=SUITE | {"search": search})

    with only_api(postgres_url, tmp_path) as (url, process):
        async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as looking:
            async with await psycopg.AsyncConnection.connect(postgres_url) as holding:
                await holding.execute("LOCK TABLE suite_runs IN SHARE MODE")  # writers of runs wait
                sending = asyncio.create_task(send(url))
                await until_counted(looking, _WAITS, 1)  # its jobs are written, its runs are not
                process.kill()
                with pytest.raises(httpx2.TransportError):
                    await sending
            await until_counted(looking, _WAITS, 0)
            await until_counted(looking, _WRITES, 0)
    for path in ("suites", "studies", "jobs"):
        assert (await api.get(f"/v1/{path}"))["data"] == [], path
    assert (await submitted(api))["counts"] == {"queued": 8}
