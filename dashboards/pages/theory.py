"""Theory: gradient norms and FP-distance of chosen runs over their epochs, as far as they were measured."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboards.api import client_of
from dashboards.figures import Figure, curves
from dashboards.navigation import Nav
from dashboards.rendering import render
from service.client import Job
from service.client.models import Point

nav = Nav("Theory", "/theory", 50)

_MEASURED = {
    "gradient_norm_loss": "Gradient norm of the loss",
    "gradient_norm_output": "Gradient norm of the outputs",
    "fp_distance": "FP-distance: how far the outputs went from the pretrained ones",
}
_MOST = 12
"""Runs that are drawn at once: more lines cannot be told apart."""
_FILTERS = ("suite", "task", "row")


async def theory(request: Request) -> Response:
    """Shows the runs that the address names: by `job`, several times, or by `suite`, `task` and `row`."""
    client = client_of(request)
    named = [name for text in request.query_params.getlist("job") for name in text.replace(",", " ").split()]
    asked = {name: request.query_params.get(name, "").strip()[:200] for name in _FILTERS}
    given: dict[str, Any] = {name: text for name, text in asked.items() if text}
    more = False
    jobs: Sequence[Job] = []
    if named:
        jobs, more = await asyncio.gather(*map(client.jobs.get, named[:_MOST])), len(named) > _MOST
    elif given:
        page = await client.jobs.page(**given, limit=_MOST)
        jobs, more = page.jobs, page.next_cursor is not None
    metrics = await asyncio.gather(*(client.jobs.metrics(job.id) for job in jobs))
    of = list(zip(jobs, metrics, strict=True))
    return render(
        request,
        "theory.html",
        jobs=named,
        asked=asked,
        figures=_figures(of),
        found=jobs,
        without=[job for job, points in of if not _measured(points)],
        more=more,
        most=_MOST,
    )


def _figures(of: Sequence[tuple[Job, Mapping[str, Sequence[Point]]]]) -> list[tuple[str, Figure, str]]:
    """A drawing of each quantity that one of the runs has: id, figure, and what it shows in words."""
    found: list[tuple[str, Figure, str]] = []
    for name, title in _MEASURED.items():
        lines = {
            f"{job.task} / {job.row} / {job.seed} ({job.id[-5:]})": points
            for job, metrics in of
            for key, points in metrics.items()
            if key.rpartition("/")[2] == name
        }
        if not lines:
            continue
        figure = curves(title, lines)
        values = [point.value for points in lines.values() for point in points if point.value is not None]
        if values and min(values) > 0:
            figure["layout"]["yaxis"] = {"type": "log"}
        figure["layout"] |= {"height": 360, "showlegend": True}
        found.append((name, figure, f"{title}, over epochs, of {len(lines)} run{'s' if len(lines) > 1 else ''}"))
    return found


def _measured(metrics: Mapping[str, Sequence[Point]]) -> bool:
    return any(key.rpartition("/")[2] in _MEASURED for key in metrics)


routes = [Route("/theory", theory)]
