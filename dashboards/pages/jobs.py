"""All jobs: find some, and do the same to many."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dashboards.api import client_of
from dashboards.navigation import Nav
from dashboards.rendering import query, render
from dashboards.session import form
from service.client.jobs import Outcome

nav = Nav("Jobs", "/jobs", 10)

_FILTERS = ("search", "task", "row", "owner", "tag", "suite", "project", "ended_since", "since", "sort")
_ORDERS = {
    "newest": "newest first",
    "oldest": "oldest first",
    "ended": "ended last, first",
    "best": "best result first",
}
_SIZE = 50
_VERBS = ("cancel", "pause", "resume", "retry", "delete")


async def jobs(request: Request) -> Response:
    """Shows a page of the list; asked by htmx, the list alone."""
    return await _list(request)


async def act(request: Request) -> Response:
    """Does what was asked to the chosen jobs, and says how it went above the list."""
    fields = await form(request)
    verb, chosen = fields.get("verb", [""])[0], fields.get("job", [])[:200]
    if verb == "compare":
        to = f"/compare{query(job=chosen[:6])}"
        return Response(headers={"HX-Redirect": to}) if _by_htmx(request) else RedirectResponse(to, 303)
    outcomes = await client_of(request).jobs.batch(verb, chosen) if verb in _VERBS and chosen else []
    return await _list(request, verb=verb, outcomes=outcomes)


async def _list(request: Request, verb: str = "", outcomes: list[Outcome] | None = None) -> Response:
    client = client_of(request)
    given: dict[str, Any] = {name: request.query_params.get(name, "").strip() for name in _FILTERS}
    given["state"] = [state for state in request.query_params.getlist("state") if state]
    asked = {name: value for name, value in given.items() if value}
    page, totals = await asyncio.gather(
        client.jobs.page(**asked, after=request.query_params.get("after") or None, limit=_SIZE),
        client.jobs.totals(**{name: value for name, value in asked.items() if name != "sort"}),
    )
    return render(
        request,
        "jobs.html",
        block="list" if _by_htmx(request) else None,
        jobs=page.jobs,
        next=f"/jobs{query(**asked, after=page.next_cursor)}" if page.next_cursor else "",
        first=f"/jobs{query(**asked)}" if request.query_params.get("after") else "",
        here=f"/jobs{query(**asked, after=request.query_params.get('after'))}",
        states=totals.states,
        given=given,
        orders=_ORDERS,
        verbs=_VERBS if request.state.own.role in ("user", "admin") else (),
        verb=verb,
        done=sum(outcome.done for outcome in outcomes or ()),
        refused=[outcome for outcome in outcomes or () if not outcome.done],
    )


def _by_htmx(request: Request) -> bool:
    return "hx-request" in request.headers


routes = [Route("/jobs", jobs), Route("/jobs", act, methods=["POST"])]
