"""Brings the database to this version's schema."""

import asyncio
from importlib import import_module
from pathlib import Path

import psycopg

_VERSIONS = Path(__file__).parent / "migrations" / "versions"


async def migrate(url: str) -> None:
    """Runs the migrations that are missing, in one transaction, one process at a time."""
    if not await asyncio.to_thread(_is_current, url):
        # Alembic is loaded where there is something to do: a tenth of the start is its import
        upgrade = import_module("service.migrations.upgrade")
        await asyncio.to_thread(upgrade.upgrade, url)


def _is_current(url: str) -> bool:
    newest = max(path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*.py"))
    with psycopg.connect(url) as connection:
        known = connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone()
        if known != (True,):
            return False
        return connection.execute("SELECT version_num FROM alembic_version").fetchone() == (newest,)
