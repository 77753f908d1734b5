"""The database as the service uses it: one engine, one transaction a request."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy import DateTime, MetaData, Text, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from service.recent import Recent

_CONNECT_S = 10
_RESTED_S = 1.0
# Nothing that a request asks takes this long in a database that is well; what hangs is ended and answered with 503.
_TIMEOUTS = "-c statement_timeout=30s -c lock_timeout=20s -c idle_in_transaction_session_timeout=120s"
# A server that is gone without a word, as after a power cut, is noticed as soon.
_KEEPALIVE = {
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
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
    """Connections to Postgres: `pool_size` for transactions and as many for lone statements, twice that for a moment.

    `on_commit` is given the topics that a transaction collected with `service.wake.notify`, once it has committed.
    """

    def __init__(
        self, url: str, pool_size: int = 10, on_commit: Callable[[set[str]], None] = lambda topics: None
    ) -> None:
        self.url = url
        """As libpq reads it: `postgresql://…`."""
        self.recent = Recent()
        """What requests read a moment ago."""
        self._on_commit = on_commit
        self._engine = _engine(url, pool_size)
        # of its own: a connection that changes between the two ways at every use costs as much as the statement
        self._lone_engine = _engine(url, pool_size, isolation_level="AUTOCOMMIT", pool_reset_on_return=None)
        # guarded UPDATEs are the truth; what was read before them is not patched up behind our back
        self._sessions = async_sessionmaker(
            self._engine, expire_on_commit=False, execution_options={"synchronize_session": False}
        )
        self._lone = async_sessionmaker(self._lone_engine, expire_on_commit=False)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncSession]:
        """Opens a session in a transaction: committed at the end, rolled back where the block raises."""
        async with self._sessions.begin() as session:
            yield session
        self._tell(session)

    @asynccontextmanager
    async def lone(self) -> AsyncGenerator[AsyncSession]:
        """Opens a session whose statements each stand for themselves, which saves the round trips of a transaction."""
        async with self._lone() as session:
            yield session
        self._tell(session)

    async def close(self) -> None:
        await self._engine.dispose()
        await self._lone_engine.dispose()

    def _tell(self, session: AsyncSession) -> None:
        topics: set[str] = session.info.get("topics", set())
        if topics:
            self._on_commit(topics)


def _engine(url: str, pool_size: int, **more: Any) -> AsyncEngine:
    engine = create_async_engine(
        sqlalchemy_url(url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_use_lifo=True,  # few connections do most of the work, and know its statements already
        connect_args={"connect_timeout": _CONNECT_S, "options": _TIMEOUTS, **_KEEPALIVE},
        **more,
    )
    event.listen(engine.sync_engine, "checkin", _rested)
    event.listen(engine.sync_engine, "checkout", _still_alive)
    return engine


def _rested(_: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info["at"] = time.monotonic()


def _still_alive(connection: DBAPIConnection, record: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
    """Asks a connection that was not used for a while whether Postgres is still there; the pool opens another if not.

    One that answered a moment ago needs no question: a request would pay a round trip for it.
    """
    if time.monotonic() - record.info.get("at", float("inf")) < _RESTED_S:
        return
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        cursor.close()
        connection.rollback()
    except Exception as error:
        raise DisconnectionError from error


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
