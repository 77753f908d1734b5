"""The first page: what runs, what waits and why, and what wants attention."""

import asyncio
from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboards.api import client_of
from dashboards.navigation import Nav
from dashboards.rendering import render
from service.client import Job

nav = Nav("Overview", "/", 0)

_NIGHT = timedelta(hours=14)
"""What ended since then is told of: from the evening before to a morning's first look."""
_SHOWN = 12


async def overview(request: Request) -> Response:
    """Shows the page; asked by htmx, what of it changes."""
    client = client_of(request)
    since = (datetime.now(UTC) - _NIGHT).isoformat()
    totals, night, running, failed, results, loads = await asyncio.gather(
        client.jobs.totals(),
        client.jobs.totals(ended_since=since),
        client.jobs.page(state=["running", "starting"], sort="oldest", limit=_SHOWN),
        client.jobs.page(state=["failed"], sort="ended", ended_since=since, limit=5),
        client.jobs.page(state=["succeeded"], sort="ended", limit=8),
        client.clusters.load(),
    )
    ready = await client.ready()
    return render(
        request,
        "overview.html",
        block="now" if request.headers.get("hx-request") else None,
        totals=totals,
        night=night.states,
        hours=int(_NIGHT.total_seconds() // 3600),
        since=since,
        running=[(job, done(job), left_s(job)) for job in running.jobs],
        failed=failed.jobs,
        results=results.jobs,
        loads=loads,
        trouble={name: part for name, part in ready.parts.items() if part.status in ("failing", "silent")},
    )


def done(job: Job) -> float:
    """Returns what share of its training's steps a job has made."""
    return job.progress.step / job.progress.steps if job.progress and job.progress.steps else 0.0


def left_s(job: Job) -> float | None:
    """Returns the seconds that the rest of the training takes at the pace so far; None while that says nothing yet."""
    share = done(job)
    if job.started_at is None or share < 0.02:
        return None
    return (datetime.now(UTC) - job.started_at).total_seconds() * (1 - share) / share


routes = [Route("/", overview)]
