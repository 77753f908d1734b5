"""Sign in with a key or a link, and sign out."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboards.api import client_as, client_of
from dashboards.rendering import render
from dashboards.session import form, own_page, signed_in, signed_out
from service.client import ProblemError

_NO_KEY = "That is no key: a key is one word and begins with pace_."


async def ask(request: Request) -> Response:
    """Shows the form."""
    return render(request, "sign_in.html", next=own_page(request.query_params.get("next", "/")), fault="")


async def sign_in(request: Request) -> Response:
    """Exchanges the key for a session, which the browser keeps in its place."""
    fields = await form(request)
    key, to = fields.get("key", [""])[0].strip(), own_page(fields.get("next", ["/"])[0])
    if not key.isidentifier() or not key.isascii():
        return render(request, "sign_in.html", status=422, next=to, fault=_NO_KEY)
    try:
        async with client_as(request.app.state.api, key) as client:
            session = await client.sessions.begin()
    except ProblemError as error:
        return render(request, "sign_in.html", status=error.status, next=to, fault=error.detail)
    return signed_in(request, session.secret, to)


async def follow(request: Request) -> Response:
    """Exchanges a one-time link, as `pace up` prints it, for a session."""
    try:
        async with client_as(request.app.state.api, "link") as client:
            session = await client.sessions.exchange(request.query_params.get("link", "")[:200] or "none")
    except ProblemError as error:
        return render(request, "sign_in.html", status=error.status, next="/", fault=error.detail)
    return signed_in(request, session.secret, own_page(request.query_params.get("next", "/")))


async def sign_out(request: Request) -> Response:
    """Ends the session, in the service and in the browser."""
    await client_of(request).sessions.end()
    return signed_out(request)


routes = [
    Route("/sign-in", ask),
    Route("/sign-in", sign_in, methods=["POST"]),
    Route("/sign-in/link", follow),
    Route("/sign-out", sign_out, methods=["POST"]),
]
