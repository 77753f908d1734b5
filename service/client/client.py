"""The client: asynchronous, and the same with ordinary calls."""

from types import TracebackType
from typing import Self

import httpx2

from service.client._sync import Face, Loop, call
from service.client.address import find_address
from service.client.connection import Connection
from service.client.worker import AsyncWorker


class AsyncClient:
    """One service, by URL and API key; without them the environment's, or the stack's that runs here.

    Raises NoService where no service is known.
    """

    def __init__(
        self, url: str | None = None, key: str | None = None, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self.address = find_address(url, key)
        self._connection = Connection(self.address, transport)
        self.worker = AsyncWorker(self._connection)

    async def close(self) -> None:
        """Closes the connections."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Worker(Face[AsyncWorker]):
    """AsyncWorker with ordinary calls."""

    lease = call(AsyncWorker.lease)
    report = call(AsyncWorker.report)
    heartbeat = call(AsyncWorker.heartbeat)
    events = call(AsyncWorker.events)
    cursor = call(AsyncWorker.cursor)
    set_cursor = call(AsyncWorker.set_cursor)


class Client:
    """AsyncClient with ordinary calls."""

    def __init__(
        self, url: str | None = None, key: str | None = None, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self.behind = AsyncClient(url, key, transport=transport)
        self.loop = Loop()
        self.address = self.behind.address
        self.worker = Worker(self.behind.worker, self.loop)

    def close(self) -> None:
        """Closes the connections and ends the client's thread."""
        self.loop.run(self.behind.close())
        self.loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
