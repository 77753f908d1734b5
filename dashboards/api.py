"""The REST API as the pages reach it: in the same process, as whoever is signed in."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, MutableMapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2
from starlette.requests import Request
from starlette.types import ASGIApp

from service.client import AsyncClient

_URL = "http://127.0.0.1"  # never connected to


class InProcess(httpx2.AsyncBaseTransport):
    """Transport into an ASGI app that hands an answer on piece by piece, so that streams of events work too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        begun: asyncio.Future[MutableMapping[str, Any]] = asyncio.get_running_loop().create_future()
        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if sent:
                await asyncio.Event().wait()  # nobody leaves but by cancelling
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                begun.set_result(message)
            elif message["type"] == "http.response.body":
                pieces.put_nowait(message.get("body", b""))

        async def answer() -> None:
            try:
                await self._app(_scope(request), receive, send)
            except Exception as error:  # the app has logged it, and may have answered before
                if not begun.done():
                    begun.set_exception(httpx2.ReadError(str(error)))
            finally:
                pieces.put_nowait(None)
                if not begun.done():
                    begun.set_exception(httpx2.ReadError("no answer"))

        answering = asyncio.create_task(answer())
        try:
            start = await begun
        except BaseException:
            await _end(answering)
            raise
        return httpx2.Response(start["status"], headers=start["headers"], stream=_Pieces(pieces, answering))


class _Pieces(httpx2.AsyncByteStream):
    def __init__(self, pieces: asyncio.Queue[bytes | None], answering: asyncio.Task[None]) -> None:
        self._pieces = pieces
        self._answering = answering

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            yield piece

    async def aclose(self) -> None:
        await _end(self._answering)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _scope(request: httpx2.Request) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": "http",
        "path": request.url.path,
        "raw_path": request.url.raw_path.split(b"?")[0],
        "query_string": request.url.query,
        "server": (request.url.host, request.url.port),
        "client": ("127.0.0.1", 0),
        "root_path": "",
    }


@asynccontextmanager
async def client_as(api: ASGIApp, secret: str) -> AsyncGenerator[AsyncClient]:
    """Opens a client that asks with that key or session."""
    async with AsyncClient(_URL, secret, transport=InProcess(api)) as client:
        yield client


def client_of(request: Request) -> AsyncClient:
    """Returns the client of whoever is signed in."""
    return request.state.client
