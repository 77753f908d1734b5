"""Sign-in: the cookie, and what every request must show.

The cookie holds a session of the API (`POST /v1/sessions`), never the key. A request that changes something must come
from one of our own pages: by its Origin, and by a token that only these pages hold.
"""

import hashlib
import hmac
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from dashboards.api import client_as
from service.client import ProblemError

OPEN = ("/sign-in", "/static/")
"""What a signed-out visitor may ask for."""
_COOKIE_S = 30 * 86_400
_SAFE = ("GET", "HEAD")
_LONGEST_FORM = 2_000_000
"""Bytes: a spec of the longest that the API takes, as browsers write it."""


class SignedIn:
    """Middleware that lets nobody in who is not signed in, and nothing be changed but from our own pages.

    `tokens`: whether a change must show the pages' token too, or coming from this origin is enough.
    """

    def __init__(self, app: ASGIApp, api: ASGIApp, *, tokens: bool = True) -> None:
        self._app = app
        self._api = api
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        changes = request.method not in _SAFE
        if changes and not _from_here(request):
            await PlainTextResponse("This request came from another site; open the page again.", 403)(
                scope, receive, send
            )
            return
        if request.url.path.startswith(OPEN):
            await self._app(scope, receive, send)
            return
        secret = request.cookies.get(cookie_name(request), "")
        if not (secret.isascii() and secret.isidentifier()):  # what no session is, and no header could carry
            await (await _sign_in(request))(scope, receive, send)
            return
        async with client_as(self._api, secret) as client:
            try:
                own = await client.sessions.own_key()
            except ProblemError as error:
                if error.status != 401:
                    raise
                await (await _sign_in(request))(scope, receive, send)
                return
            token = csrf_token(secret)
            scope.setdefault("state", {}).update(client=client, own=own, csrf=token)
            if changes and self._tokens:
                fields = await form(request)
                given = request.headers.get("x-csrf-token") or fields.get("csrf", [""])[0]
                if not hmac.compare_digest(given.encode(), token.encode()):
                    await PlainTextResponse("This page is too old; open it again.", 403)(scope, receive, send)
                    return
                scope["state"]["form"] = fields
            await self._app(scope, receive, send)


def cookie_name(request: Request) -> str:
    """Returns the cookie's name, in which the port stands: browsers share cookies among the ports of a host."""
    return f"pace-session-{request.url.port or request.url.scheme}"


def signed_in(request: Request, secret: str, to: str) -> Response:
    """Returns the answer that begins the session in the browser and goes on to that page."""
    response = RedirectResponse(to, 303)
    response.set_cookie(
        cookie_name(request),
        secret,
        max_age=_COOKIE_S,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return response


def signed_out(request: Request) -> Response:
    """Returns the answer that ends the session in the browser."""
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(cookie_name(request))
    return response


def own_page(path: str) -> str:
    """Returns the path where it is one of ours, else `/`: nobody is sent elsewhere after signing in."""
    parts = urlsplit(path)
    local = path.startswith("/") and not path.startswith(("//", "/\\")) and not (parts.scheme or parts.netloc)
    return path if local and path.isprintable() and "\\" not in path else "/"


def csrf_token(secret: str) -> str:
    """Returns the token of that session's pages, from which nobody gets the session."""
    return hmac.new(secret.encode(), b"csrf", hashlib.sha256).hexdigest()


async def form(request: Request) -> dict[str, list[str]]:
    """Returns the fields of the form that came with the request, each with all its values.

    Raises HTTPException 413 for one that is longer than any of ours; strangers send forms too.
    """
    read = getattr(request.state, "form", None)
    if read is not None:
        return read
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _LONGEST_FORM:
            raise HTTPException(413, "This form is too long")
    fields: dict[str, list[str]] = {}
    for name, value in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True):
        fields.setdefault(name, []).append(value)
    return fields


def _from_here(request: Request) -> bool:
    origin = request.headers.get("origin", "")
    return bool(origin) and urlsplit(origin).netloc == request.headers.get("host", "")


async def _sign_in(request: Request) -> Response:
    """Sends a visitor to the sign-in page, from which they come back to where they wanted to go.

    A form with a field `again`, the path of its page, comes back with all that was typed in it.
    """
    if request.method not in _SAFE or request.headers.get("hx-request"):
        fields = {} if request.method in _SAFE else await form(request)
        again = own_page(fields.get("again", ["/"])[0])
        typed = [(name, text) for name, texts in fields.items() if name.startswith("/") for text in texts if text]
        to = "/sign-in" if again == "/" else f"/sign-in?next={quote(f'{again}?{urlencode(typed)}')}"
        if again != "/" and not request.headers.get("hx-request"):
            return RedirectResponse(to, 303)
        return PlainTextResponse("You are signed out.", 401, headers={"HX-Redirect": to})
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse("/sign-in" if wanted == "/" else f"/sign-in?next={quote(wanted)}", 303)
