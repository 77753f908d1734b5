"""Refuses requests that are too large, before they are read whole."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import Problem, TooLarge, Unauthorized, answer
from service.settings import Settings

_PATIENCE = 10
"""A body this many times too long is taken off the wire, and kept nowhere: who still sends reads no answer."""
_OF_STRANGERS = 10_000
"""Bytes that are read, and parsed, before a key is asked for."""


class BodyLimit:
    """Limit on request bodies; it counts what arrives, whether its length was announced or it comes in pieces."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        large = f"{scope['path']}/".startswith(("/v1/leases/", "/v1/datasets/"))
        most = self._settings.max_report_bytes if large else self._settings.max_body_bytes
        patience = _PATIENCE * most
        refusal: Problem = TooLarge(
            f"the body is longer than {most:,} bytes, which is the most here; `GET /v1/limits` names every limit"
        )
        headers = Headers(scope=scope)
        if not headers.get("authorization", "").lower().startswith("bearer "):
            most = _OF_STRANGERS
            refusal = Unauthorized(
                "send your API key as `Authorization: Bearer pace_…`; a body is read from who has one"
            )
        announced = headers.get("content-length", "")
        if announced.isdecimal() and (len(announced) > 18 or int(announced) > most):
            await _pass_over(receive, patience)
            await answer(refusal)(scope, receive, send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                if taken > most:
                    if message.get("more_body"):
                        await _pass_over(receive, patience)
                    raise HTTPException(refusal.status, refusal.detail)
            return message

        await self._app(scope, counted, send)


async def _pass_over(receive: Receive, most: int) -> None:
    taken = 0
    while taken <= most:
        message = await receive()
        taken += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return
