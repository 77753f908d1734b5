"""Tables kept until a job moves or is deleted."""

from collections import OrderedDict
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_MOST = 64  # tables of one process

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


class Kept:
    """The newest tables of this process, as they were sent."""

    def __init__(self) -> None:
        self._tables: OrderedDict[Key, tuple[Version, bytes]] = OrderedDict()

    def get(self, key: Key, version: Version | None) -> bytes | None:
        """Returns the table, where nothing has changed since."""
        found = self._tables.get(key)
        return found[1] if found and found[0] == version else None

    def put(self, key: Key, version: Version | None, table: bytes) -> None:
        """Keeps a table that was made at that version or later."""
        if version is not None:
            self._tables[key] = version, table
            self._tables.move_to_end(key)
            if len(self._tables) > _MOST:
                self._tables.popitem(last=False)
