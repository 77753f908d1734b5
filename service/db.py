"""The database as the service uses it: one engine, one transaction a request."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy import DateTime, MetaData, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

_CONNECT_S = 10
# Nothing that a request asks takes this long in a database that is well; what hangs is ended and answered with 503.
_TIMEOUTS = "-c statement_timeout=30s -c lock_timeout=20s -c idle_in_transaction_session_timeout=120s"
_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Base of every table."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map = {  # noqa: RUF012
        str: Text,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(none_as_null=True),
    }


class Database:
    """Connections to Postgres.

    `on_commit` is given the topics that a transaction collected with `service.wake.notify`, once it has committed.
    """

    def __init__(
        self, url: str, pool_size: int = 10, on_commit: Callable[[set[str]], None] = lambda topics: None
    ) -> None:
        self.url = url
        """As libpq reads it: `postgresql://…`."""
        self._on_commit = on_commit
        self._engine = create_async_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            connect_args={"connect_timeout": _CONNECT_S, "options": _TIMEOUTS},
        )
        # guarded UPDATEs are the truth; what was read before them is not patched up behind our back
        self._sessions = async_sessionmaker(
            self._engine, expire_on_commit=False, execution_options={"synchronize_session": False}
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncSession]:
        """Opens a session in a transaction: committed at the end, rolled back where the block raises."""
        async with self._sessions.begin() as session:
            yield session
        topics: set[str] = session.info.get("topics", set())
        if topics:
            self._on_commit(topics)

    async def close(self) -> None:
        await self._engine.dispose()


def sqlalchemy_url(url: str) -> str:
    """Returns the URL with SQLAlchemy's name of our driver."""
    for prefix in ("postgresql+psycopg://", "postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    raise ValueError(f"PACE_DATABASE_URL must begin with postgresql://, not {url.split('://')[0]!r}")


async def _transaction(request: Request) -> AsyncGenerator[AsyncSession]:
    database: Database = request.app.state.database
    async with database.transaction() as session:
        yield session


# scope function: committed before the answer leaves, so whoever reads the answer can read what it says
Transaction = Annotated[AsyncSession, Depends(_transaction, scope="function")]
