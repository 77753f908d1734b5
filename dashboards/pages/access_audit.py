"""The audit: who changed what."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboards.api import client_of
from dashboards.rendering import render

_FILTERS = ("actor", "action", "target", "project")
_PAGE = 50


async def audit(request: Request) -> Response:
    """Shows a page of changes, newest first; tells whoever is no admin that they are an admin's to read."""
    asked = {name: request.query_params.get(name, "").strip()[:200] for name in _FILTERS}
    before = request.query_params.get("before", "")
    page = None
    if request.state.own.role == "admin":
        page = await client_of(request).audit.page(
            actor=asked["actor"] or None,
            action=asked["action"] or None,
            target=asked["target"] or None,
            project=asked["project"] or None,
            before=int(before) if before.isascii() and before.isdecimal() and 0 < int(before) < 2**63 else None,
            limit=_PAGE,
        )
    return render(request, "access_audit.html", page=page, asked=asked, before=before, fault="")


routes = [Route("/access/audit", audit)]
