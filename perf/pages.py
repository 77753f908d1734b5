"""How fast the server renders pages over many jobs, beside a bare page of the API in the same run.

    python -m perf.pages [--jobs 100000]

Starts Postgres, the API and the pages by themselves, in a temporary folder; nothing runs the jobs. The goal is less
than 100 ms a page.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import psycopg
from psycopg.types.json import Jsonb

from perf.rates import FILL, JOB
from perf.served import served
from perf.submissions import only_postgres
from perf.suites import RESULT
from service.keys.bootstrap import Keys, bootstrap
from service.local.ports import free_port

COUNT = 20
# what a page reads of a finished job, and moments a second apart: in life no two jobs end at once
_FINISHED = """
    UPDATE jobs SET result = CASE WHEN ended_at IS NOT NULL THEN %(result)s::jsonb END,
                    created_at = now() - make_interval(secs => %(jobs)s - seed),
                    ended_at = CASE WHEN ended_at IS NOT NULL THEN now() - make_interval(secs => %(jobs)s - seed) END
"""


def main() -> None:
    """Prints each figure as it is measured."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--jobs", type=int, default=100_000, help="stored jobs, half of them queued")
    jobs: int = given.parse_args().jobs
    print(f"{os.cpu_count()} cores, of which others keep {os.getloadavg()[0]:.1f} busy; {jobs:,} jobs")
    with tempfile.TemporaryDirectory() as folder, only_postgres(Path(folder) / "postgres") as database_url:
        keys = asyncio.run(bootstrap(database_url))
        port = free_port()
        environment = {"PACE_DATABASE_URL": database_url, "PACE_STATE_DIR": folder, "PACE_PORT": str(port)}
        with served([sys.executable, "-m", "dashboards.main"], port, "/healthz", environment) as (url, _):
            _fill(url, keys, database_url, jobs)
            _measure(url, keys)


def _fill(url: str, keys: Keys, database_url: str, jobs: int) -> None:
    headers = {"Authorization": f"Bearer {keys.user}"}
    httpx2.post(f"{url}/v1/jobs", json=JOB, headers=headers).raise_for_status()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(FILL, {"jobs": jobs})
        connection.execute("DELETE FROM jobs WHERE created_at < (SELECT max(created_at) FROM jobs)")
        connection.execute(_FINISHED, {"jobs": jobs, "result": Jsonb(RESULT)})
        connection.execute("VACUUM ANALYZE jobs")


def _measure(url: str, keys: Keys) -> None:
    with httpx2.Client(base_url=url, timeout=60) as http:
        headers = {"Authorization": f"Bearer {keys.user}"}
        first = http.get("/v1/jobs?limit=1&sort=best", headers=headers).json()["data"][0]["id"]
        queued = http.get("/v1/jobs?limit=1&state=queued", headers=headers).json()["data"][0]["id"]
        _say("GET /v1/jobs?limit=50", lambda: http.get("/v1/jobs?limit=50", headers=headers))
        http.post("/sign-in", data={"key": keys.user}, headers={"Origin": url})
        for path in (
            *("/", "/jobs", "/jobs?sort=best", "/jobs?sort=ended", "/jobs?state=queued&search=row7"),
            *(f"/jobs/{first}", f"/jobs/{queued}", f"/compare?job={first}&job={queued}"),
            *("/leaderboards", "/leaderboards/vtab-mini", "/leaderboards/vtab-1k"),
        ):
            _say(path.replace(first, "DONE").replace(queued, "QUEUED"), lambda path=path: http.get(path))


def _say(what: str, get: Callable[[], httpx2.Response]) -> None:
    seconds: list[float] = []
    for _ in range(COUNT):
        before = time.perf_counter()
        answer = get()
        seconds.append(time.perf_counter() - before)
        assert answer.status_code == 200, f"{what}: {answer.status_code} {answer.text.partition('<main')[2][:500]}"
    print(f"{what:45} {1000 * statistics.median(seconds):7.1f} ms   worst {1000 * max(seconds):.0f} ms")


if __name__ == "__main__":
    main()
