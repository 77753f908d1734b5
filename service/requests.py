"""Gives every request an id and a line in the log."""

import re
import time

import structlog
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.ids import new_id

_log = structlog.get_logger()
_GIVEN = re.compile(r"[A-Za-z0-9_.:-]{1,100}")


def install(app: FastAPI) -> None:
    """Adds the middleware."""
    app.add_middleware(_Requests)


class _Requests:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
        request_id = given if _GIVEN.fullmatch(given) else new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id
        started, status = time.monotonic(), 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                level = _log.debug if status < 400 else _log.info if status < 500 else _log.error
                seconds = round(time.monotonic() - started, 4)
                level("request", method=scope["method"], path=scope["path"], status=status, seconds=seconds)
