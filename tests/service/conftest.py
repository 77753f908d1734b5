"""A real Postgres and a real HTTP server, once a session; empty tables and fresh keys for every test."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import psycopg
import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from pace_core.spec import Catalogue
from service import postgres
from service.app import create_app
from service.db import Database
from service.keys.bootstrap import Keys
from service.keys.roles import Role
from service.keys.secrets import create_key
from service.migrate import migrate
from service.schema import METADATA
from service.settings import Settings
from tests.service.api import Api
from tests.service.small_catalogue import small_catalogue

OWNERS = {Role.ADMIN: "ada", Role.USER: "ada", Role.READER: "rita", Role.WORKER: "worker", Role.TRACKING: "tracking"}


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("postgres") / "data"
    url = postgres.start(folder)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")  # tests survive no power cut, and run four times as fast
        connection.execute("SELECT pg_reload_conf()")
    yield url
    postgres.stop(folder)


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return small_catalogue()


@pytest.fixture(scope="session")
def settings(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        database_url=postgres_url,
        storage=str(tmp_path_factory.mktemp("storage")),
        reap_every_s=0.3,
        reap_grace_s=0,
        retry_after_s=0,
    )


@pytest.fixture(scope="session")
def app(settings: Settings, catalogue: Catalogue) -> FastAPI:
    return create_app(settings, lambda: catalogue)


@pytest_asyncio.fixture(scope="session")
async def base_url(app: FastAPI) -> AsyncIterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1, timeout_keep_alive=75)
        )
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await serving


@pytest_asyncio.fixture(scope="session")
async def migrated(postgres_url: str) -> AsyncIterator[Database]:
    await migrate(postgres_url)
    database = Database(postgres_url)
    yield database
    await database.close()


@pytest_asyncio.fixture
async def database(migrated: Database) -> Database:
    """A migrated database with nothing in it."""
    for _ in range(5):
        try:
            await _empty(migrated)
        except OperationalError as error:  # the sequencer numbers events of the test before, and locks the other way
            if not isinstance(error.orig, psycopg.errors.DeadlockDetected):
                raise
        else:
            break
    return migrated


async def _empty(database: Database) -> None:
    async with database.transaction() as session:
        # whatever the server still does with a job of the test before comes first
        await session.execute(text("LOCK TABLE jobs IN EXCLUSIVE MODE"))
        for table in reversed(METADATA.sorted_tables):
            await session.execute(table.delete())


@pytest_asyncio.fixture
async def keys(database: Database) -> Keys:
    async with database.transaction() as session:
        return Keys(**{str(role): await create_key(session, role, owner) for role, owner in OWNERS.items()})


@pytest_asyncio.fixture(scope="session")
async def http(base_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=base_url, timeout=60, verify=False) as http:
        yield http


@pytest.fixture
def api(http: httpx2.AsyncClient, keys: Keys, database: Database, settings: Settings, app: FastAPI) -> Api:
    app.state.database.recent.clear()  # the tables were emptied behind the service's back
    return Api(http, keys, database, Path(settings.storage_root), app.state.database.recent)
