"""Clusters: nodes and slots, what runs in them, and why one takes nothing; admins drain them and open them again."""

import asyncio
from itertools import groupby

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dashboards.api import client_of
from dashboards.navigation import Nav
from dashboards.rendering import render
from dashboards.session import form
from service.client import ProblemError
from service.client.clusters import SlotView

nav = Nav("Clusters", "/clusters", 60)

_JOBS = 200
"""Running jobs that are named by task and row; the others by their ids."""


async def clusters(request: Request, fault: str = "", status: int = 200) -> Response:
    """Shows the page; asked by htmx, what of it changes. Who is no admin sees how busy slots are, and no more."""
    client = client_of(request)
    block = "now" if request.headers.get("hx-request") else None
    if request.state.own.role != "admin":
        loads = await client.clusters.load()
        return render(request, "clusters.html", status=status, block=block, loads=loads, clusters=None, fault=fault)
    found, running = await asyncio.gather(
        client.clusters.list(), client.jobs.page(state=["running", "starting"], limit=_JOBS)
    )
    shown = [
        (cluster, [(node, list(slots)) for node, slots in groupby(_by_node(cluster.slots), lambda slot: slot.node)])
        for cluster in found
    ]
    jobs = {job.id: job for job in running.jobs}
    return render(request, "clusters.html", status=status, block=block, clusters=shown, jobs=jobs, fault=fault)


async def act(request: Request) -> Response:
    """Drains a place of a cluster, opens it again, or forgets a cluster that is gone."""
    name, verb = request.path_params["name"], request.path_params["verb"]
    fields = {key: values[0] for key, values in (await form(request)).items()}
    kind, _, place = fields.get("place", "").partition(":")
    node, slot = (place if kind == "node" else None), (place if kind == "slot" else None)
    clusters_ = client_of(request).clusters
    try:
        if verb == "drain":
            await clusters_.drain(name, node=node, slot=slot, reason=fields.get("reason", ""), now="now" in fields)
        elif verb == "undrain":
            await clusters_.undrain(name, node=node, slot=slot)
        else:
            await clusters_.forget(name)
    except ValidationError as error:
        return await clusters(request, "; ".join(f"{at['loc'][0]}: {at['msg']}" for at in error.errors()), 422)
    except ProblemError as error:
        return await clusters(request, str(error), error.status)
    return RedirectResponse("/clusters", 303)


def _by_node(slots: list[SlotView]) -> list[SlotView]:
    return sorted(slots, key=lambda slot: (slot.node, slot.name))


routes = [
    Route("/clusters", clusters),
    Route("/clusters/{name}/{verb:str}", act, methods=["POST"]),
]
