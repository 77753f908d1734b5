"""A connection to Postgres that only seems open, as after a network that broke without a word."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from sqlalchemy import text

from service import wake
from service.db import Database
from service.events import sequencer
from service.wake import Wakes
from tests.service.api import Api, append

SOCKET = ".s.PGSQL.5432"


class Network:
    """Passes on what is said to the server, until it falls silent: what is open then hears nothing any more."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._passing = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self._passing.set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        passing = self._passing
        to_server, from_server = None, None
        try:
            from_server, to_server = await asyncio.open_unix_connection(self._server)
            ways = [self._pass(reader, to_server, passing), self._pass(from_server, writer, passing)]
            tasks = [asyncio.create_task(way) for way in ways]
            self._tasks |= set(tasks)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
        finally:
            for end in (writer, to_server):
                if end is not None:
                    end.close()

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, passing: asyncio.Event) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                if passing.is_set():
                    target.write(data)
                    await target.drain()

    def fall_silent(self) -> None:
        """Loses all that is said on the connections of now; new ones are passed on."""
        self._passing.clear()
        self._passing = asyncio.Event()
        self._passing.set()


@pytest_asyncio.fixture
async def network(database: Database, tmp_path: Path) -> AsyncIterator[Network]:
    (folder,) = parse_qs(urlsplit(database.url).query)["host"]
    network = Network(f"{folder}/{SOCKET}")
    server = await asyncio.start_unix_server(network.accept, tmp_path / SOCKET)
    yield network
    server.close()


@pytest.fixture
def url(network: Network, tmp_path: Path) -> str:
    return f"postgresql://postgres@/pace?host={tmp_path}"


async def until(so: asyncio.Event) -> None:
    async with asyncio.timeout(20):
        await so.wait()


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_events_are_numbered_again_when_the_sequencer_s_connection_fell_silent(
    api: Api, database: Database, network: Network, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service's own sequencer stands by meanwhile: this one has the lock until the server notices its end."""
    monkeypatch.setattr(sequencer, "_PATIENCE_S", 0.5)
    monkeypatch.setattr(sequencer, "_STAND_BY_S", 0.05)
    monkeypatch.setattr(sequencer, "_ELECTION", 12345)  # of its own, so that it need not wait for the service's
    job = await api.submit()
    wakes = Wakes(url)
    numbering = asyncio.create_task(sequencer.number_for_ever(url, wakes))
    async with asyncio.timeout(20):
        while not network.connections:
            await asyncio.sleep(0.01)
        network.fall_silent()
        while network.connections < 2:
            await asyncio.sleep(0.01)
    async with database.transaction() as session:
        await append(session, job, {"n": 1})
    async with asyncio.timeout(20):
        while await api.sql("SELECT 1 FROM job_events WHERE position IS NULL"):
            await asyncio.sleep(0.01)
    assert not numbering.done()
    await ended(numbering)


async def test_whoever_waits_is_woken_over_a_new_connection_when_the_one_that_listens_fell_silent(
    network: Network, url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "_PROBE_S", 0.5)
    here, elsewhere = Wakes(url), Wakes(database.url)
    tasks = [asyncio.create_task(here.listen()), asyncio.create_task(elsewhere.send())]
    with here.waiter("a topic") as waiter:
        await until(waiter.woken)  # it listens
        network.fall_silent()
        waiter.woken.clear()
        await until(waiter.woken)  # it listens again, and something may have been missed
        waiter.woken.clear()
        elsewhere.tell({"a topic"})
        await until(waiter.woken)
    for task in tasks:
        await ended(task)


async def test_others_are_woken_over_a_new_connection_when_the_one_that_tells_them_fell_silent(
    network: Network, url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "_PROBE_S", 0.5)
    here, elsewhere = Wakes(url), Wakes(database.url)
    tasks = [asyncio.create_task(here.send()), asyncio.create_task(elsewhere.listen())]
    with elsewhere.waiter("a topic") as waiter:
        await until(waiter.woken)
        waiter.woken.clear()
        here.tell({"a topic"})
        await until(waiter.woken)
        network.fall_silent()
        waiter.woken.clear()
        here.tell({"a topic"})  # is lost: whoever waits looks again by itself after a while
        async with asyncio.timeout(20):
            while network.connections < 2:
                await asyncio.sleep(0.01)
        here.tell({"a topic"})
        await until(waiter.woken)
    for task in tasks:
        await ended(task)


async def test_every_connection_gives_up_on_a_server_that_hangs_or_is_gone(database: Database) -> None:
    async with database.transaction() as session:
        for name, most in (("statement_timeout", "30s"), ("lock_timeout", "20s")):
            assert (await session.execute(text(f"SHOW {name}"))).scalar_one() == most
        raw = await (await session.connection()).get_raw_connection()
        assert raw.driver_connection is not None
        said = raw.driver_connection.info.get_parameters()
    assert int(said["keepalives_idle"]) + 3 * int(said["keepalives_interval"]) <= 30
    assert int(said["tcp_user_timeout"]) <= 30_000
