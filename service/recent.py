"""Recent answers of the database, so that not every request reads it again.

An entry lives for a second at most, and goes at once where this process or another says that it changed: the kinds of
entries are topics of `service.wake`, or their first words.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Hashable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
_LIVES_S = 1.0
_MANY = 1_000


class Recent:
    """The newest reads of this process, by kind and key."""

    def __init__(self) -> None:
        self._entries: defaultdict[str, dict[Hashable, tuple[float, asyncio.Task[Any]]]] = defaultdict(dict)

    async def get(self, kind: str, key: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Returns what `read` gave a moment ago, or gives now; who asks meanwhile waits for the same answer.

        What it raises is raised here, and not kept.
        """
        entries = self._entries[kind]
        found = entries.get(key)
        if found is None or found[0] <= time.monotonic():
            if len(entries) > _MANY:
                self._entries[kind] = entries = {k: e for k, e in entries.items() if e[0] > time.monotonic()}
            found = entries[key] = time.monotonic() + _LIVES_S, asyncio.create_task(read())
        task: asyncio.Task[T] = found[1]
        try:
            return task.result() if task.done() else await asyncio.shield(task)
        except BaseException:
            if task.done() and entries.get(key) is found:
                del entries[key]
            raise

    def forget(self, topics: Iterable[str]) -> None:
        """Forgets what these topics say has changed, and what is being read of it now: that may be too old already."""
        for topic in topics:
            self._entries.pop(topic.partition(" ")[0], None)

    def clear(self) -> None:
        """Forgets everything."""
        self._entries.clear()
