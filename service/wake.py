"""Wakes requests that wait for the database to change, by LISTEN and NOTIFY."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

T = TypeVar("T")
CHANNEL = "pace"
_FALLBACK_S = 5.0  # a wait looks again this often whatever happens, in case a notification was lost
_log = structlog.get_logger()

QUEUE = "queue"
"""Topic: a job became claimable."""
EVENTS = "events"
"""Topic: any job has a new event. A job's own id is a topic too."""


async def notify(session: AsyncSession, topic: str) -> None:
    """Wakes the waiters of that topic, in every API process, when the transaction commits."""
    await session.execute(text("SELECT pg_notify(:channel, :topic)"), {"channel": CHANNEL, "topic": topic})


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
            await asyncio.wait_for(self.woken.wait(), min(seconds, _FALLBACK_S))
        except TimeoutError:
            return
        self.woken.clear()


class Wakes:
    """The process's one listening connection and everyone who waits on it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiters: defaultdict[str, set[Waiter]] = defaultdict(set)
        self._closing = asyncio.Event()

    @property
    def closing(self) -> bool:
        """Whether the process is about to end: long polls answer at once."""
        return self._closing.is_set()

    @contextmanager
    def waiter(self, *topics: str) -> Generator[Waiter]:
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

    async def poll(self, topics: tuple[str, ...], wait_s: float, look: Callable[[bool], Awaitable[T | None]]) -> T:
        """A long poll: what `look` finds, at once, when a topic is woken, or after `wait_s`.

        `look` is told whether it is the last look; then it gives its answer, whatever that is, and before that None
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

    def close(self) -> None:
        """Lets every wait return."""
        self._closing.set()
        self._wake_all()

    async def listen(self) -> None:
        """Runs for ever; connects again after a loss, and wakes everyone since something may have been missed."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    self._wake_all()
                    async for notification in connection.notifies():
                        self._wake(notification.payload)
            except psycopg.Error as error:
                _log.warning("listening connection lost", error=str(error))
                await asyncio.sleep(1.0)

    def _wake(self, topic: str) -> None:
        topics = {topic} if topic == QUEUE else {topic, EVENTS}
        for name in topics & self._waiters.keys():
            for waiter in self._waiters[name]:
                waiter.woken.set()

    def _wake_all(self) -> None:
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.woken.set()
