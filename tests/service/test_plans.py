"""At 100,000 jobs every query that a request makes reads an index, never the whole table."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import URL, event, make_url, text
from sqlalchemy.engine import Connection, Engine

from service.db import sqlalchemy_url
from service.leases.reaper import reap_one
from service.retention import forget, forget_events
from service.settings import Settings
from tests.service.api import CPU, Api

JOBS = 100_000
LARGE = ("jobs", "job_events", "attempts")

# Half of the jobs wait, half have succeeded; owners, rows, tags and names as a year of work leaves them.
_FILL = """
    INSERT INTO jobs (id, project, owner, name, "row", tags, priority, state, attempt, failures, max_attempts,
                      runtime_s, spec, benchmark, task, phase, seed, device, memory_bytes, lane, event_count,
                      created_at, cell, value, reason, ended_at, result)
    SELECT 'job_' || lpad(n::text, 26, '0'), 'default', 'owner' || mod(n, 20), 'run ' || n, 'row' || mod(n, 40),
           jsonb_build_object('sheet', mod(n, 500)::text), 50, CASE WHEN done THEN 'succeeded' ELSE 'queued' END,
           0, 0, 3, 1.0, spec || jsonb_build_object('seed', n), 'vtab-mini',
           'digits', 'final', n, 'auto', 1 << 30, '["auto", 1073741824]', 1,
           now() - (100000 - n) * interval '1 second',
           CASE WHEN done THEN 'cell' || mod(n, 40) END, CASE WHEN done THEN 0.5 END,
           CASE WHEN done THEN 'succeeded' END, CASE WHEN done THEN now() END, CASE WHEN done THEN '{}'::jsonb END
    FROM (SELECT n, n <= 50000 AS done FROM generate_series(1, 100000) AS n) AS numbers,
         (SELECT spec FROM jobs) AS template
"""
_ATTEMPTS = """
    INSERT INTO attempts (job, number, cluster, slot, node, device, folder, last_seq, said_end, ended_at)
    SELECT id, 1, 'd1', 's', 'n' || mod(seed, 8), 'cpu', 'f', 3, true, now() FROM jobs WHERE state = 'succeeded'
"""
_EVENTS = """
    INSERT INTO job_events (job, number, attempt, at, type, data, position)
    SELECT id, 1, 0, now(), 'state', '{"move": "submit", "state": "queued", "attempt": 0}',
           row_number() OVER (ORDER BY id)
    FROM jobs
"""


@pytest_asyncio.fixture
async def large(api: Api) -> AsyncIterator[Api]:
    """A service that has seen 100,000 jobs."""
    template = await api.submit()
    await api.sql(_FILL)
    await api.sql("DELETE FROM jobs WHERE id = %s", template)
    await api.sql(_ATTEMPTS)
    await api.sql("UPDATE projects SET max_queued = 1000000")
    await api.sql(_EVENTS)
    await api.sql("INSERT INTO event_log (id, last) VALUES (1, 100000) ON CONFLICT (id) DO UPDATE SET last = 100000")
    await api.sql("VACUUM ANALYZE jobs")
    await api.sql("VACUUM ANALYZE job_events")
    await api.sql("VACUUM ANALYZE attempts")
    yield api
    await api.sql("TRUNCATE jobs CASCADE")


_recording: list[tuple[URL, list[str]]] = []
"""The database that is watched, where tests of pages beside these have another, and what was found."""


def _explain(connection: Connection, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
    if not _recording or connection.engine.url != _recording[0][0]:
        return
    if statement.split(maxsplit=1)[0] in ("SELECT", "WITH", "UPDATE", "DELETE"):
        plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
        _recording[0][1].extend(f"{table}: {statement}" for table in _read_whole(plan[0]["Plan"]) if table in LARGE)


event.listen(Engine, "before_cursor_execute", _explain)  # for good: it may not go while a statement is under way


@pytest.fixture
def scanned(settings: Settings) -> Iterator[list[str]]:
    """What the service asked while a test ran and Postgres would answer by reading a large table whole."""
    _recording.append((make_url(sqlalchemy_url(str(settings.database_url))), []))
    yield _recording[0][1]
    _recording.clear()


def _read_whole(plan: dict[str, Any]) -> Iterator[str]:
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for part in plan.get("Plans", []):
        yield from _read_whole(part)


LISTS = (
    "",
    "?state=running",
    "?state=failed&state=cancelled",
    "?state=queued",
    "?owner=owner3",
    "?owner=nobody",
    "?row=row3&task=vtab-mini/digits",
    "?row=nothing",
    "?tag=sheet=absent",
    "?tag=nothing",
    "?search=nothing of the kind",
    "?benchmark=vtab-1k",
    "?task=my-own",
    "?since=2999-01-01T00:00:00Z",
    "?since=1999-01-01T00:00:00Z&limit=200",
)
OTHERS = (
    "/v1/suites",
    "/v1/suites?ended=false",
    "/v1/studies?ended=true&search=a",
    "/v1/studies",
    "/v1/audit",
    "/v1/limits",
    "/v1/clusters",
    "/v1/deletions",
)


@pytest.mark.timeout(300)
async def test_no_request_reads_all_jobs_and_claims_and_tables_are_right(large: Api, scanned: list[str]) -> None:
    slots = [{**CPU, "name": f"cpu-{n}", "node": f"n{n}"} for n in range(16)]
    leases = (await large.lease(slots))["leases"]
    oldest = [f"job_{n:026}" for n in range(JOBS // 2 + 1, JOBS // 2 + 17)]
    assert sorted(lease["job"] for lease in leases) == oldest
    assert "\n\n".join(dict.fromkeys(scanned)) == ""
    rows = (await large.get("/v1/leaderboards/vtab-mini"))["rows"]  # one table of all of them: an index, or all
    async with large.database.lone() as session:  # what is looked for would be seen
        await session.execute(text("SELECT FROM jobs WHERE message = 'x'"))
    assert any("message = 'x'" in each for each in scanned)
    scanned.clear()
    assert len(rows) == 40
    for row in rows:
        cell = row["cells"]["digits"]
        assert (cell["runs"], len(cell["jobs"])) == (JOBS // 80, 100)
        assert cell["mean"] == pytest.approx(0.5)
    for query in LISTS:
        await large.get(f"/v1/jobs{query}")
    holding = [{name: lease[name] for name in ("job", "attempt", "slot")} for lease in leases]
    (lease,) = (await large.lease([{**CPU, "name": "cpu-16", "node": "n16"}], holding=holding))["leases"]
    job = lease["job"]
    await large.report(job, 1, ("log", {"level": "info", "message": "x"}))
    await large.get(f"/v1/jobs/{job}")
    await large.get(f"/v1/jobs/{job}/events")
    await large.call("GET", f"/v1/jobs/{job}/logs")
    await large.get(f"/v1/jobs/{job}/metrics")
    await large.get(f"/v1/jobs/{job}/attempts")
    await large.get("/v1/events?after=99990", key=large.keys.tracking)
    await large.end(job, 1, "nan")
    retried = await large.act(job, "retry")
    assert retried.status_code == 202, retried.text
    await large.act(retried.json()["id"], "cancel")
    await large.call("DELETE", f"/v1/jobs/{job}")
    await reap_one(large.database)
    for path in OTHERS:
        await large.get(path, key=large.keys.tracking if path == "/v1/deletions" else None)
    await forget(large.database, 1e9)
    assert await forget_events(large.database, 86_400.0) == 0
    assert "\n\n".join(dict.fromkeys(scanned)) == ""
