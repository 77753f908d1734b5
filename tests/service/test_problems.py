"""What Postgres refuses becomes the answer that says what to do. A small app on a real Postgres."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import psycopg
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from service.db import sqlalchemy_url
from service.problems import install

_QUERIES = {
    "standby": ["SET TRANSACTION READ ONLY", "CREATE TABLE cannot_be (id integer)"],
    "slow": ["SET LOCAL statement_timeout = 1", "SELECT pg_sleep(1)"],
    "long": [
        "CREATE TEMPORARY TABLE t (a text PRIMARY KEY)",
        "INSERT INTO t SELECT string_agg(md5(n::text), '') FROM generate_series(1, 400) AS n",
    ],
    "ours": ["SELECT no_such_column"],
}


@pytest_asyncio.fixture
async def http(postgres_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    app, engine = (
        FastAPI(),
        create_async_engine(sqlalchemy_url(postgres_url), pool_size=1, max_overflow=0, pool_timeout=0.1),
    )
    install(app, lambda path: [])

    @app.get("/{name}")
    async def ask(name: str) -> None:  # pyright: ignore[reportUnusedFunction]
        async with engine.begin() as connection:
            for query in _QUERIES[name]:
                await connection.execute(text(query))

    @app.get("/idle/too-long")
    async def idle() -> None:  # pyright: ignore[reportUnusedFunction]
        async with engine.begin() as connection:
            await connection.execute(text("SET idle_in_transaction_session_timeout = 1"))
            pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as other:
                there = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
                while await (await other.execute(there, (pid,))).fetchone():
                    await asyncio.sleep(0.001)
            await connection.execute(text("SELECT 1"))

    @app.get("/many/at-once")
    async def at_once() -> None:  # pyright: ignore[reportUnusedFunction]
        async with engine.begin(), engine.begin():
            pass

    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://here") as client:
        yield client
    await engine.dispose()


@pytest.mark.parametrize("name", ["standby", "idle/too-long", "slow", "many/at-once"])
async def test_a_database_that_cannot_answer_now_is_503_and_told_to_come_again(
    http: httpx2.AsyncClient, name: str
) -> None:
    answer = await http.get(f"/{name}")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
    assert answer.headers["Retry-After"]


async def test_what_is_too_long_to_be_stored_is_said_to_be_so_instead_of_asked_for_again(
    http: httpx2.AsyncClient,
) -> None:
    answer = await http.get("/long")
    assert (answer.status_code, "cannot be stored" in answer.json()["detail"]) == (422, True)


async def test_a_mistake_of_ours_is_500(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/ours")).status_code == 500
