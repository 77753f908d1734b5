"""Brings the database to this version's schema."""

import asyncio
from importlib import import_module
from pathlib import Path

import psycopg

_VERSIONS = Path(__file__).parent / "migrations" / "versions"


async def migrate(url: str) -> None:
    """Runs the migrations that are missing, in one transaction, one process at a time.

    Raises NewerDatabase where a newer version of the service has been at work here.
    """
    if not await asyncio.to_thread(_is_current, url):
        # Alembic is loaded where there is something to do: a tenth of the start is its import
        upgrade = import_module("service.migrations.upgrade")
        await asyncio.to_thread(upgrade.upgrade, url)


class NewerDatabase(RuntimeError):
    """The database is of a newer version than this service."""


def newest_revision() -> str:
    """Returns the revision to which this version of the service brings the database."""
    return max(path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*.py"))


def _is_current(url: str) -> bool:
    newest = newest_revision()
    with psycopg.connect(url) as connection:
        known = connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone()
        if known != (True,):
            return False
        (found,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
        if found > newest:
            raise NewerDatabase(
                f"the database is at revision {found}, this service knows up to {newest}: it is the older one. "
                "Install the newer version again, or give it a database of its own (PACE_DATABASE_URL)"
            )
        return found == newest
