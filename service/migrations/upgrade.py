"""Runs Alembic's migrations."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import NullPool, create_engine, text

from service.db import sqlalchemy_url

_LOCK = 0x70616365  # "pace"; several processes may start at once


def upgrade(url: str, revision: str = "head") -> None:
    """Brings the database to the revision; does nothing where another process has done so meanwhile."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
