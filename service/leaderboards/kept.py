"""Tables kept until a job moves or is deleted."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import Database

_MOST = 64  # tables of one process
_AT_ONCE = 2  # each holds a connection: the others are for whoever asks for something else

Key = tuple[str, str, str | None]
"""Benchmark, phase and project."""


class Version(NamedTuple):
    """Version of the jobs: tables made at equal versions are equal."""

    moves: int
    last_moved: str | None
    """The job of the last move: a database that was set back draws the same positions again, but for other jobs."""
    deletions: int


async def state_of(session: AsyncSession) -> Version | None:
    """Returns the version now; None between a move and its numbering, when nothing kept may be trusted."""
    found = await session.execute(
        text("""
            SELECT coalesce(position, 0), job, (SELECT coalesce(max(deletions), 0) FROM event_log),
                   EXISTS (SELECT 1 FROM job_events WHERE type = 'state' AND position IS NULL)
            FROM (VALUES (1)) AS always LEFT JOIN (
                SELECT position, job FROM job_events WHERE type = 'state' AND position IS NOT NULL
                ORDER BY position DESC LIMIT 1
            ) AS newest ON true
        """)
    )
    moves, last_moved, deletions, unnumbered = found.one()
    return None if unnumbered else Version(moves, last_moved, deletions)


class _Flight:
    """Computation of a table, which all who ask for it share."""

    def __init__(self, version: Version | None) -> None:
        self.begun = False
        self.versions = {version}
        """Of the jobs: as whoever asked first saw them, and as it read them then."""
        self.table: asyncio.Task[bytes] | None = None

    def serves(self, version: Version | None) -> bool:
        """Tells whether it reads the jobs at that version or later."""
        return not self.begun or (version is not None and version in self.versions)


class Kept:
    """The newest tables of this process, as they were sent. Two at a time are made, and each once for all who ask."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tables: OrderedDict[Key, tuple[Version, bytes]] = OrderedDict()
        self._flights: dict[Key, _Flight] = {}
        self._few = asyncio.Semaphore(_AT_ONCE)

    async def table(self, key: Key, version: Version | None, make: Callable[[AsyncSession], Awaitable[bytes]]) -> bytes:
        """Returns the table, made at that version of the jobs or later."""
        found = self._tables.get(key)
        if found and found[0] == version:
            return found[1]
        flight = self._flights.get(key)
        if flight is None or flight.table is None or not flight.serves(version):
            flight = self._flights[key] = _Flight(version)
            flight.table = asyncio.create_task(self._make(key, flight, make))
        return await asyncio.shield(flight.table)  # whoever asked may go, the others wait on

    async def _make(self, key: Key, flight: _Flight, make: Callable[[AsyncSession], Awaitable[bytes]]) -> bytes:
        try:
            async with self._few:
                flight.begun = True
                async with self._database.transaction() as session:
                    version = await state_of(session)
                    flight.versions.add(version)
                    made = await make(session)
            if version is not None:
                self._tables[key] = version, made
                self._tables.move_to_end(key)
                if len(self._tables) > _MOST:
                    self._tables.popitem(last=False)
            return made
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]
