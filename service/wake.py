"""Wakes requests that wait for the database to change.

A commit wakes the waiters of its own process at once; those of other API processes by NOTIFY, which one task sends for
all commits of the process. Transactions send no NOTIFY themselves: Postgres lets only one such transaction commit at a
time.
"""

import asyncio
import json
import os
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Annotated, TypeVar

import psycopg
import structlog
from pydantic import Field, TypeAdapter
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

T = TypeVar("T")
CHANNEL = "pace"
_FALLBACK_S = 30.0  # a wait looks again this often whatever happens, in case a notification was lost
_PROBE_S = 15.0  # a listening connection is asked this often whether it still lives, and has as long to answer
_GATHER_S = 0.01  # what is told meanwhile goes into one message
_TOPICS_A_MESSAGE = 100  # a payload holds 8,000 bytes
_MESSAGE = TypeAdapter(Annotated[list[str], Field(min_length=1)])
"""Who sends it, and topics."""
_log = structlog.get_logger()

QUEUE = "queue"
"""Topic: a job became claimable."""
EVENTS = "events"
"""Topic: events were numbered for the readers of all jobs. A job's own id is a topic too."""
APPENDED = "appended"
"""Topic: events were stored that have no position yet."""
SUPPLY = "supply"
"""Topic: what a queued job waits for may be another thing now: slots, what is closed, how much runs."""
PROJECT = "project"
"""Topic: a project was archived or restored, or has other limits."""


def notify(session: AsyncSession, *topics: str) -> None:
    """Wakes the waiters of the topics, in every API process, once the session's transaction has committed."""
    session.info.setdefault("topics", set()).update(topics)


async def tell_services(session: AsyncSession, *topics: str) -> None:
    """Wakes the waiters of every API process at the commit, from a process that is none of them: a command."""
    await session.execute(select(func.pg_notify(CHANNEL, json.dumps(["", *topics]))))


class Waiter:
    """One request's wait. Make it before looking, so that nothing is missed between look and wait."""

    def __init__(self, closing: asyncio.Event) -> None:
        self.woken = asyncio.Event()
        self._closing = closing

    async def wait(self, seconds: float = _FALLBACK_S) -> None:
        """Returns when woken, after `seconds`, or a little earlier: look again in a loop."""
        if self._closing.is_set():
            return
        try:
            # not `wait_for`, which in Python 3.11 loses a cancellation that comes as the wake does
            async with asyncio.timeout(min(seconds, _FALLBACK_S)):
                await self.woken.wait()
        except TimeoutError:
            return
        self.woken.clear()


class Wakes:
    """Everyone in this process who waits, and the two connections over which processes wake each other."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.hear: Callable[[Iterable[str]], None] = lambda topics: None
        """Is told every topic, of this process and of others."""
        self._waiters: defaultdict[str, set[Waiter]] = defaultdict(set)
        self._closing = asyncio.Event()
        self._me = os.urandom(6).hex()
        self._unsent: set[str] = set()
        self._to_send = asyncio.Event()

    @property
    def closing(self) -> bool:
        """Whether the process is about to end: long polls answer at once."""
        return self._closing.is_set()

    @contextmanager
    def waiter(self, *topics: str) -> Generator[Waiter]:
        """Registers a waiter that the topics wake."""
        waiter = Waiter(self._closing)
        for topic in topics:
            self._waiters[topic].add(waiter)
        try:
            yield waiter
        finally:
            for topic in topics:
                self._waiters[topic].discard(waiter)
                if not self._waiters[topic]:
                    del self._waiters[topic]

    async def poll(
        self,
        topics: tuple[str, ...],
        wait_s: float,
        look: Callable[[bool], Awaitable[T | None]],
        gather_s: float = 0.0,
    ) -> T:
        """Waits in a long poll for what `look` finds, at once, `gather_s` after a topic is woken, or after `wait_s`.

        `look` is called with whether it is the last look; then it returns its answer, whatever that is; before, None
        means that there is nothing yet.
        """
        deadline = time.monotonic() + wait_s
        with self.waiter(*topics) as waiter:
            while True:
                left = deadline - time.monotonic()
                answer = await look(left <= 0 or self.closing)
                if answer is not None:
                    return answer
                await waiter.wait(left)
                await asyncio.sleep(gather_s)

    def tell(self, topics: set[str]) -> None:
        """Wakes the topics' waiters here, and soon those of the other processes."""
        self._wake(topics)
        self._unsent |= topics
        self._to_send.set()

    def close(self) -> None:
        """Lets every wait return."""
        self._closing.set()
        self._wake(list(self._waiters))

    async def send(self) -> None:
        """Runs for ever: sends what `tell` was given to the other processes; connects again after a loss."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
                    while True:
                        await self._to_send.wait()
                        self._to_send.clear()
                        topics, self._unsent = sorted(self._unsent), set()
                        for start in range(0, len(topics), _TOPICS_A_MESSAGE):
                            message = json.dumps([self._me, *topics[start : start + _TOPICS_A_MESSAGE]])
                            async with asyncio.timeout(_PROBE_S):
                                await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, message))
                        await asyncio.sleep(_GATHER_S)
            except (psycopg.Error, OSError) as error:  # whoever waits elsewhere looks again by itself after a while
                _log.warning("notifying connection lost", error=str(error))
                await asyncio.sleep(1.0)

    async def listen(self) -> None:
        """Runs for ever; connects again after a loss, and wakes everyone since something may have been missed.

        The connection is asked for a sign of life now and then: one that only seems open is a loss too.
        """
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    self._wake(list(self._waiters))
                    while True:
                        async for notification in connection.notifies(timeout=_PROBE_S):
                            self._heard(notification.payload)
                        async with asyncio.timeout(_PROBE_S):
                            await connection.execute("SELECT")
            except (psycopg.Error, OSError) as error:  # a timeout is the latter
                _log.warning("listening connection lost", error=str(error))
                await asyncio.sleep(1.0)

    def _heard(self, payload: str) -> None:
        """Wakes the waiters that another process names. Whoever reaches the database can send anything."""
        try:
            sender, *topics = _MESSAGE.validate_json(payload)
        except ValueError:
            _log.warning("a notification cannot be read", payload=payload[:100])
            return
        if sender != self._me:
            self._wake(topics)

    def _wake(self, topics: Iterable[str]) -> None:
        self.hear(topics)
        for topic in topics:
            for waiter in self._waiters.get(topic, ()):
                waiter.woken.set()
