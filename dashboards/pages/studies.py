"""Studies: searches that run and that have ended, narrowed and read page by page."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboards.api import client_of
from dashboards.navigation import Nav
from dashboards.rendering import render

nav = Nav("Studies", "/studies", 40)

_FILTERS = ("search", "task", "row", "owner", "project", "ended")
_PAGE = 25


async def studies(request: Request) -> Response:
    """Shows a page of studies; asked by htmx, the list alone."""
    asked: dict[str, str] = {name: request.query_params.get(name, "").strip()[:200] for name in _FILTERS}
    if asked["ended"] not in ("true", "false"):
        asked["ended"] = ""
    after = request.query_params.get("after", "")[:100]
    given: dict[str, Any] = {name: value for name, value in {**asked, "after": after}.items() if value}
    found = await client_of(request).studies.page(**given, limit=_PAGE)
    block = "now" if request.headers.get("hx-request") else None
    return render(request, "studies.html", block=block, page=found, asked=asked, after=after)


routes = [Route("/studies", studies)]
