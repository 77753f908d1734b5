"""Jobs side by side: their curves in one drawing, and what their specs say differently."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboards.api import client_of
from dashboards.figures import curves
from dashboards.rendering import render
from dashboards.specs import changes

_MOST = 6


async def compare(request: Request) -> Response:
    """Shows the jobs that the address names, six at most."""
    client = client_of(request)
    ids = list(dict.fromkeys(id for id in request.query_params.getlist("job") if id))[:_MOST]
    jobs = await asyncio.gather(*map(client.jobs.get, ids))
    measured = await asyncio.gather(*map(client.jobs.metrics, ids))
    names = [f"{number}: {job.task} / {job.row} / {job.seed}" for number, job in enumerate(jobs, 1)]
    drawn = [
        curves(title, {name: of.get(key, ()) for name, of in zip(names, measured, strict=True)}, percent=percent)
        for title, key, percent in (
            ("Training loss", "train/loss", False),
            ("Validation accuracy, %", "val/accuracy", True),
            ("Test accuracy, %", "test/accuracy", True),
        )
        if any(of.get(key) for of in measured)
    ]
    return render(
        request,
        "compare.html",
        jobs=jobs,
        figures=drawn,
        changes=changes(*(job.spec for job in jobs)) if jobs else [],
    )


routes = [Route("/compare", compare)]
