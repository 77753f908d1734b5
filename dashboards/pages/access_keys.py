"""Keys: whose there are, when they were last used and until when they work; made, renewed and revoked."""

from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dashboards.api import client_of
from dashboards.navigation import Nav
from dashboards.rendering import render
from dashboards.session import form
from service.client import ProblemError
from service.client.access import DAY_S, NewKey, Role

nav = Nav("Access", "/access", 90)

_FILTERS = ("owner", "role", "project")


async def keys(request: Request, *, fault: str = "", made: NewKey | None = None, status: int = 200) -> Response:
    """Shows the keys that the caller may see: admins every one, users their own."""
    asked: dict[str, Any] = {name: request.query_params.get(name) or None for name in _FILTERS}
    client, role = client_of(request), request.state.own.role
    found: list[Any] | None = None
    if role != "reader":
        found = await client.keys.list(**asked, all="all" in request.query_params)
    projects = [project.name for project in await client.projects.list() if project.archived_at is None]
    return render(
        request,
        "access_keys.html",
        status=status,
        keys=found,
        asked=asked,
        all="all" in request.query_params,
        roles=[each.value for each in Role],
        projects=projects,
        fault=fault,
        made=made,
        given={name: values[0] for name, values in (await form(request)).items()} if fault else {},
    )


async def create(request: Request) -> Response:
    """Makes a key and shows its secret, this once."""
    given = {name: values[0].strip() for name, values in (await form(request)).items() if values[0].strip()}
    try:
        days = float(given["days"]) if "days" in given else None
        made = await client_of(request).keys.create(
            given.get("name", ""),
            Role(given.get("role", "user")),
            owner=given.get("owner"),
            project=given.get("project"),
            cluster=given.get("cluster"),
            expires_in_s=None if days is None else days * DAY_S,
        )
    except ValidationError as error:
        return await keys(request, fault="\n".join(map(_sentence, error.errors())), status=422)
    except ValueError:
        return await keys(request, fault="Days is a number, and the role one of the list.", status=422)
    except ProblemError as error:
        return await keys(request, fault=str(error), status=error.status)
    return await keys(request, made=made)


async def act(request: Request) -> Response:
    """Revokes a key, or makes one in its place."""
    key, verb = request.path_params["key"], request.path_params["verb"]
    try:
        if verb == "rotate":
            return await keys(request, made=await client_of(request).keys.rotate(key))
        await client_of(request).keys.revoke(key)
    except ProblemError as error:
        return await keys(request, fault=str(error), status=error.status)
    return RedirectResponse("/access/keys", 303)


async def first(request: Request) -> Response:
    """Leads to the first of the pages."""
    return RedirectResponse("/access/keys")


def _sentence(error: Any) -> str:
    field = ".".join(map(str, error["loc"]))
    if field == "expires_in_s":
        return "Days: above 0 and at most 3,660."
    return f"{field}: {error['msg']}" + (
        ": letters, digits, blanks and . _ @ + -, at most 100, the first a letter or digit"
        if error["type"].startswith("string")
        else ""
    )


routes = [
    Route("/access", first),
    Route("/access/keys", keys),
    Route("/access/keys", create, methods=["POST"]),
    Route("/access/keys/{key}/{verb}", act, methods=["POST"]),
]
