"""How fast the service takes, gives and shows jobs, beside plain Postgres and a bare FastAPI in the same run.

    python -m perf.rates [--jobs 100000]

Starts Postgres and the API by themselves, in a temporary folder, on one machine with the clients; no worker, so that
nothing runs the jobs. Seconds depend on what else the machine does: read them beside the references, and the seconds of
work (CPU) that the API needs, which depend on it less.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
import psycopg
from psycopg.types.json import Jsonb

from perf.served import only_api, served
from perf.submissions import JOB, only_postgres
from service.keys.bootstrap import Keys, bootstrap
from service.local.ports import free_port

COUNT = 400
CLIENTS = 8
SLOTS = 16
WAITERS = 200
WATCHED_S = 10.0
ECHO = """
import sys, uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

class Body(BaseModel):
    spec: dict

app = FastAPI()

@app.post("/echo")
async def echo(body: Body) -> Body:
    return body

uvicorn.run(app, port=int(sys.argv[1]), log_config=None)
"""
# One submitted job as the pattern; half of the copies wait, half have succeeded.
FILL = """
    INSERT INTO jobs (id, project, owner, name, "row", tags, priority, state, attempt, failures, max_attempts,
                      runtime_s, spec, benchmark, task, phase, seed, device, memory_bytes, lane, event_count,
                      cell, value, reason, ended_at, result)
    SELECT 'job_' || lpad(n::text, 26, '0'), project, 'owner' || mod(n, 20), 'run ' || n, 'row' || mod(n, 40), '{}', 50,
           CASE WHEN done THEN 'succeeded' ELSE 'queued' END, 0, 0, 3, 1.0, spec || jsonb_build_object('seed', n),
           benchmark, (ARRAY['digits', 'glyphs', 'textures', 'cells', 'location', 'orientation', 'count', 'distance'])
           [1 + mod(n, 8)], phase, n, device, memory_bytes, lane, 0,
           CASE WHEN done THEN 'cell' || mod(n, 320) END, CASE WHEN done THEN random() END,
           CASE WHEN done THEN 'succeeded' END, CASE WHEN done THEN now() END, CASE WHEN done THEN '{}'::jsonb END
    FROM (SELECT n, n <= %(jobs)s / 2 AS done FROM generate_series(1, %(jobs)s) AS n) AS numbers,
         (SELECT * FROM jobs LIMIT 1) AS template
"""


def main() -> None:
    """Prints every figure as it is measured."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--jobs", type=int, default=100_000, help="stored jobs, half of them queued")
    jobs: int = given.parse_args().jobs
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, of which others keep {load:.1f} busy")
    with tempfile.TemporaryDirectory() as folder, only_postgres(Path(folder) / "postgres") as database_url:
        keys = asyncio.run(bootstrap(database_url))
        _postgres_alone(database_url)
        with _echo() as (url, process):
            asyncio.run(_posts("bare FastAPI echo", url, "/echo", "", process))
        with only_api(database_url, Path(folder)) as (url, process):
            asyncio.run(_service(url, keys, database_url, process, jobs))


def _postgres_alone(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE bare (id bigserial PRIMARY KEY, body jsonb)")
        trips = [_seconds(lambda: connection.execute("SELECT 1")) for _ in range(COUNT)]
        inserts = [
            _seconds(lambda: connection.execute("INSERT INTO bare (body) VALUES (%s)", (Jsonb(JOB),)))
            for _ in range(COUNT)
        ]
        connection.execute("DROP TABLE bare")
    _say("psycopg: a round trip", statistics.median(trips), "")
    _say("psycopg: INSERT and COMMIT", statistics.median(inserts), f"{1 / statistics.mean(inserts):.0f} a second")


async def _service(url: str, keys: Keys, database_url: str, process: psutil.Process, jobs: int) -> None:
    await _posts("POST /v1/jobs", url, "/v1/jobs", keys.admin, process)
    await _waiters(url, keys.admin, process)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE projects SET max_queued = 1000000")
        connection.execute(FILL, {"jobs": jobs})
        connection.execute("DELETE FROM jobs WHERE created_at < (SELECT max(created_at) FROM jobs)")
        connection.execute("VACUUM ANALYZE jobs")
    await _claims(url, keys.worker, jobs)
    await _leaderboard(url, keys.admin, jobs)
    await _burst(url, keys.admin)


async def _posts(what: str, url: str, path: str, key: str, process: psutil.Process) -> None:
    left, took = iter(range(COUNT)), list[float]()
    async with _http(url, key) as http:

        async def client() -> None:
            for _ in left:
                took.append(await _timed(lambda: http.post(path, json=JOB)))

        for _ in range(10):  # the first ones read the catalogue and open connections
            (await http.post(path, json=JOB)).raise_for_status()
        worked, before = _work(process), time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        rate = COUNT / (time.perf_counter() - before)
        work = (_work(process) - worked) / COUNT
    p99 = statistics.quantiles(took, n=100)[98]
    _say(
        f"{what}, {CLIENTS} clients",
        statistics.median(took),
        f"p99 {1000 * p99:.0f} ms, {rate:.0f} a second, {1000 * work:.2f} ms of work each",
    )


async def _burst(url: str, key: str) -> None:
    async with _http(url, key, connections=1000) as http:
        before = time.perf_counter()
        answers = await asyncio.gather(*(http.post("/v1/jobs", json=JOB) for _ in range(1000)), return_exceptions=True)
        seconds = time.perf_counter() - before
    failed = sum(getattr(answer, "status_code", 0) != 202 for answer in answers)
    _say("1,000 POST /v1/jobs at once, until the last", seconds, f"{failed} failed")


async def _waiters(url: str, key: str, process: psutil.Process) -> None:
    async with _http(url, key, connections=WAITERS + 1) as http:  # one is to end the job
        job = (await http.post("/v1/jobs", json=JOB)).json()["id"]
        waits = [asyncio.create_task(http.get(f"/v1/jobs/{job}?wait=60")) for _ in range(WAITERS)]
        await asyncio.sleep(5)  # all of them have looked once
        worked = _work(process)
        await asyncio.sleep(WATCHED_S)
        share = (_work(process) - worked) / WATCHED_S
        before = time.perf_counter()
        await http.post(f"/v1/jobs/{job}/cancel")
        await asyncio.gather(*waits)
        woken = time.perf_counter() - before
    _say(f"{WAITERS} waiting clients, from the end of their job", woken, f"{100 * share:.1f} % of a core meanwhile")


async def _claims(url: str, key: str, jobs: int) -> None:
    async with _http(url, key) as http:
        names = [f"a{n}-{slot}" for n in range(10) for slot in range(SLOTS)] + [f"b{n}" for n in range(40)]
        every = {name: {"name": name, "device": "cpu", "memory_bytes": 64 << 30, "node": name} for name in names}
        holding: list[dict[str, Any]] = []

        async def lease(free: list[str]) -> list[dict[str, Any]]:
            slots = {"slots": [every[name] for name in free], "all_slots": list(every.values())}
            body = {"dispatcher": "d", **slots, "holding": holding, "code_version": "1", "wait_s": 0}
            answer = (await http.post("/v1/leases", json=body)).raise_for_status().json()
            assert len(answer["leases"]) == len(free)
            holding.extend({key: got[key] for key in ("job", "attempt", "slot")} for got in answer["leases"])
            return answer["leases"]

        async def both(name: str) -> None:
            (got,) = await lease([name])
            event = {"seq": 1, "at": "2026-01-01T00:00:00Z", "type": "log", "data": {"level": "info", "message": "x"}}
            report = {"token": got["token"], "events": [event]}
            (await http.post(f"/v1/leases/{got['job']}/{got['attempt']}/reports", json=report)).raise_for_status()

        many = [await _timed_any(lambda n=n: lease([f"a{n}-{slot}" for slot in range(SLOTS)])) for n in range(10)]
        one = [await _timed_any(lambda n=n: both(f"b{n}")) for n in range(40)]
    _say(f"claim of {SLOTS} slots at {jobs // 2:,} queued", statistics.median(many), f"worst {1000 * max(many):.0f} ms")
    _say("claim of one and its first report", statistics.median(one), f"worst {1000 * max(one):.0f} ms")


async def _leaderboard(url: str, key: str, jobs: int) -> None:
    async with _http(url, key) as http:
        worst = 0.0
        done = asyncio.Event()

        async def watch() -> None:
            nonlocal worst
            while not done.is_set():
                worst = max(worst, await _timed(lambda: http.get("/healthz")))
                await asyncio.sleep(0.005)

        watching = asyncio.create_task(watch())
        anew: list[float] = []
        for _ in range(5):
            await http.post("/v1/jobs", json=JOB)  # a move, after which the table is made anew
            anew.append(await _timed(lambda: http.get("/v1/leaderboards/vtab-mini")))
        again = statistics.median([await _timed(lambda: http.get("/v1/leaderboards/vtab-mini")) for _ in range(5)])
        done.set()
        await watching
    said = f"worst {1000 * max(anew):.0f} ms, /healthz meanwhile at most {1000 * worst:.0f} ms"
    _say(f"leaderboard over {jobs:,} jobs, after a move", statistics.median(anew), said)
    _say("the same again, nothing having changed", again, "")


def _http(url: str, key: str, connections: int = 100) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx2.AsyncClient(base_url=url, headers=headers, timeout=300, limits=limits, trust_env=False)


async def _timed(call: Callable[[], Awaitable[httpx2.Response]]) -> float:
    before = time.perf_counter()
    (await call()).raise_for_status()
    return time.perf_counter() - before


async def _timed_any(call: Callable[[], Awaitable[object]]) -> float:
    before = time.perf_counter()
    await call()
    return time.perf_counter() - before


def _seconds(call: Callable[[], object]) -> float:
    before = time.perf_counter()
    call()
    return time.perf_counter() - before


def _work(process: psutil.Process) -> float:
    said = process.cpu_times()
    return said.user + said.system


def _say(what: str, seconds: float, more: str) -> None:
    print(f"{what:<58} {1000 * seconds:9.2f} ms   {more}", flush=True)


@contextmanager
def _echo() -> Iterator[tuple[str, psutil.Process]]:
    port = free_port()
    with served([sys.executable, "-c", ECHO, str(port)], port, "/openapi.json", {}) as echo:
        yield echo


if __name__ == "__main__":
    main()
