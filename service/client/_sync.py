"""Turns asynchronous calls into ordinary ones: they run on one event loop in a thread of its own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

A = TypeVar("A")
T = TypeVar("T")
P = ParamSpec("P")
A_co = TypeVar("A_co", covariant=True)


class Loop:
    """An event loop in a thread of its own, so that the calls also work inside a running loop (notebooks)."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="pace-client", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Returns the coroutine's result; Ctrl-C cancels it."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Ends the thread; no call may follow."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Faced(Protocol[A_co]):
    """An ordinary object in front of an asynchronous one."""

    @property
    def loop(self) -> Loop: ...

    @property
    def behind(self) -> A_co: ...


class Face(Generic[A]):
    """A synchronous face of an asynchronous object."""

    def __init__(self, behind: A, loop: Loop) -> None:
        self.behind = behind
        self.loop = loop


def call(method: Callable[Concatenate[A, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Faced[A], P], T]:
    """Makes an ordinary method of an asynchronous one."""

    @wraps(method)
    def ordinary(self: Faced[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.loop.run(method(self.behind, *args, **kwargs))

    return ordinary


def iterate(method: Callable[Concatenate[A, P], AsyncIterator[T]]) -> Callable[Concatenate[Faced[A], P], Iterator[T]]:
    """Makes an ordinary generator of an asynchronous one."""

    @wraps(method)
    def ordinary(self: Faced[A], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        async def advance() -> T:
            return await anext(items)

        items = method(self.behind, *args, **kwargs)
        while True:
            try:
                item = self.loop.run(advance())
            except StopAsyncIteration:
                return
            yield item

    return ordinary
