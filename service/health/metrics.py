"""Numbers for a monitoring system, as Prometheus reads them."""

from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import text

from service.db import Database
from service.jobs.tables import LEASED_JOBS
from service.keys.auth import Tracking
from service.settings import Settings

router = APIRouter(tags=["health"])

_QUEUED = text("SELECT project, count(*) AS count FROM jobs WHERE state = 'queued' GROUP BY project")
_RUNNING = text(f"SELECT project, count(*) AS count FROM jobs WHERE {LEASED_JOBS} GROUP BY project")
_OLDEST = text("""
    SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0) FROM jobs
    WHERE state = 'queued' AND not_before IS NULL
""")
_SLOTS = text("""
    SELECT name, count(*), count(*) FILTER (WHERE slot->>'trouble' <> '')
    FROM clusters, jsonb_array_elements(slots) AS slot
    WHERE seen_at >= now() - make_interval(secs => :seen_s) GROUP BY name
""")
_EVENTS = text("""
    SELECT coalesce((SELECT last FROM event_log), 0) AS last, (SELECT count(*) FROM job_events WHERE position IS NULL)
""")
_BEHIND = text("SELECT name AS reader, coalesce((SELECT last FROM event_log), 0) - position AS count FROM cursors")
_PARTS = text("""
    SELECT part, cluster, CAST(ok AND at >= now() - make_interval(secs => :silent_s) AS integer) AS count
    FROM heartbeats
""")


@router.get(
    "/metrics",
    summary="Numbers for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def monitor(request: Request, _: Tracking) -> Response:
    """Returns gauges of the whole installation in Prometheus' text format. The key is sent as a bearer token."""
    database: Database = request.app.state.database
    settings: Settings = request.app.state.settings
    async with database.transaction() as session:
        queued, running = await session.execute(_QUEUED), await session.execute(_RUNNING)
        oldest: float = (await session.execute(_OLDEST)).scalar_one()
        of_clusters = list(await session.execute(_SLOTS, {"seen_s": settings.worker_seen_s}))
        last, unnumbered = (await session.execute(_EVENTS)).one()
        behind = await session.execute(_BEHIND)
        parts = await session.execute(_PARTS, {"silent_s": settings.part_silent_s})
    slots = [(name, count) for name, count, _ in of_clusters]
    troubled = [(name, count) for name, _, count in of_clusters]
    lines = [
        *_gauge("jobs_queued", "Jobs in the queue.", "project", queued),
        *_gauge("jobs_running", "Jobs in slots.", "project", running),
        *_gauge("queue_oldest_seconds", "Age of the oldest job that waits for a slot.", "", [(oldest,)]),
        *_gauge("slots", "Slots of clusters that are there.", "cluster", slots),
        *_gauge("slots_in_trouble", "Those that say why they take nothing.", "cluster", troubled),
        *_gauge("events", "Events that have their place among all jobs' events.", "", [(last,)]),
        *_gauge("events_unnumbered", "Events that wait for theirs.", "", [(unnumbered,)]),
        *_gauge("events_behind", "Events that a reader of all events has not read.", "reader", behind),
        *_gauge("part_ok", "Whether a part was heard of lately and is well.", "part,cluster", parts),
    ]
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4; charset=utf-8")


def _gauge(name: str, help: str, labels: str, rows: Iterable[Sequence[Any]]) -> list[str]:
    """Returns the lines of a gauge, whose rows are the values of its labels and the number."""
    lines = [f"# HELP pace_{name} {help}", f"# TYPE pace_{name} gauge"]
    for *values, number in rows:
        pairs = zip(labels.split(","), values, strict=False)
        said = ",".join(f'{label}="{_escaped(value)}"' for label, value in pairs)
        lines.append(f"pace_{name}{{{said}}} {number}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
