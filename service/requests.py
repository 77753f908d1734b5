"""Gives every request an id and a line in the log."""

import re
import time
from collections.abc import Callable

import structlog
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.ids import new_id
from service.keys.auth import Caller
from service.keys.roles import PARTS

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
                caller: Caller | None = scope["state"].get("caller")
                seconds = round(time.monotonic() - started, 4)
                _level(status, caller)(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    seconds=seconds,
                    key=caller.key_id if caller else None,
                )


def _level(status: int, caller: Caller | None) -> Callable[..., None]:
    """Returns how loud the line is. What goes well between the parts of the installation several times a second, and
    for strangers (`/healthz`), would bury what people do."""
    if status >= 500:
        return _log.error
    return _log.debug if status < 400 and (caller is None or caller.role in PARTS) else _log.info
