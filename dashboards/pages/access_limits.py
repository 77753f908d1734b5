"""Projects, what they may have and what they have."""

import math

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dashboards.api import client_of
from dashboards.rendering import render
from dashboards.session import form
from service.client import ProblemError

_LIMITS = {
    "max_queued": ("Jobs in the queue", 1),
    "max_running": ("Jobs that run", 1),
    "highest_priority": ("Highest priority of users", 1),
    "default_max_runtime_s": ("Hours of a job that does not say", 3600),
    "max_stored_bytes": ("Stored GB", 10**9),
}
"""Limits of a project: what they are called here, and what one unit of that is."""
_FRACTIONS = "default_max_runtime_s"


async def limits(request: Request, *, fault: str = "", status: int = 200) -> Response:
    """Shows the limits of the key's own project, and the projects that it sees."""
    client = client_of(request)
    own = (await client.limits()).project
    given = {name: values[0] for name, values in (await form(request)).items()} if fault else {}
    return render(
        request,
        "access_limits.html",
        status=status,
        limits=own,
        projects=await client.projects.list(),
        fields=_LIMITS,
        fault=fault,
        given=given,
        about=request.path_params.get("project"),
    )


async def create(request: Request) -> Response:
    """Makes a project."""
    name = (await form(request)).get("name", [""])[0].strip()
    try:
        await client_of(request).projects.create(name)
    except ProblemError as error:
        return await limits(request, fault=str(error), status=error.status)
    return RedirectResponse("/access/limits", 303)


async def change(request: Request) -> Response:
    """Gives a project limits of its own, archives or restores it."""
    project, verb = request.path_params["project"], request.path_params["verb"]
    projects = client_of(request).projects
    try:
        if verb == "limits":
            await projects.limit(project, **_read({name: text[0] for name, text in (await form(request)).items()}))
        elif verb == "archive":
            await projects.archive(project)
        else:
            await projects.restore(project)
    except ProblemError as error:
        return await limits(request, fault=str(error), status=error.status)
    except ValueError as error:
        return await limits(request, fault=str(error), status=422)
    return RedirectResponse("/access/limits", 303)


def _read(given: dict[str, str]) -> dict[str, float | None]:
    """Raises ValueError with a sentence for the person; an empty field goes back to the settings' limit."""
    found: dict[str, float | None] = {}
    for name, (title, unit) in _LIMITS.items():
        text = given.get(name, "").strip()
        try:
            number = float(text) * unit if text else None
        except ValueError:
            number = math.nan
        if number is not None and not 0 <= number < 2**53:
            raise ValueError(f"{title}: {text[:40]!r} is no number that can be meant; give one from 0 on.")
        found[name] = number if number is None or name == _FRACTIONS else round(number)
    return found


routes = [
    Route("/access/limits", limits),
    Route("/access/limits", create, methods=["POST"]),
    Route("/access/limits/{project}/{verb}", change, methods=["POST"]),
]
