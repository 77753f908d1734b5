"""A suite of 950 jobs: its plan, its insertion, its pages and its table, beside bare inserts of the same JSON.

    python -m perf.suites

Starts Postgres and the API by themselves, in a temporary folder; the jobs are drained by a worker that does nothing.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from pace_core.spec import RESULTS_VERSION
from perf.served import only_api
from perf.submissions import inserts_a_second, only_postgres
from service.keys.bootstrap import Keys, bootstrap

ROWS, SEEDS, PAGES = 10, 5, 20
SUITE: dict[str, Any] = {
    "benchmark": "vtab-1k",
    "rows": [
        {"label": f"row {index}", "row": "PACE", "spec": {"regularizer": {"sigma": 0.1 * (1 + index)}}}
        for index in range(ROWS)
    ],
    "seeds": list(range(SEEDS)),
    "overrides": {"task": {"path": "/data/vtab-1k"}},
    "stop_after": None,
}
SLOTS = [{"name": f"cpu-{index}", "device": "cpu", "memory_bytes": 1 << 40, "node": "n"} for index in range(8)]


async def timed(call: Callable[[], Awaitable[httpx2.Response]]) -> tuple[float, Any]:
    """Seconds, and the answer."""
    before = time.perf_counter()
    answer = (await call()).raise_for_status()
    return time.perf_counter() - before, answer.json() if answer.content else None


async def measure(url: str, keys: Keys) -> None:
    """Prints the times of one suite."""
    headers = {"Authorization": f"Bearer {keys.admin}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=600) as http:
        await http.post("/v1/suites?validate_only=true", json=SUITE)  # the first one reads the catalogue
        seconds, plan = await timed(lambda: http.post("/v1/suites?validate_only=true", json=SUITE))
        print(f"validate_only of {plan['new']} jobs ({len(plan['tasks'])} x {ROWS} x {SEEDS}): {seconds:8.3f} s")
        seconds, suite = await timed(lambda: http.post("/v1/suites", json=SUITE))
        print(f"inserting them:                              {seconds:8.3f} s")
        pages: list[float] = []
        after = ""
        for _ in range(PAGES):
            path = f"/v1/jobs?suite={suite['id']}&limit=20{after}"
            seconds, page = await timed(lambda path=path: http.get(path))
            pages.append(seconds)
            after = f"&after={page['next_cursor']}"
        print(f"a page of 20 of its jobs:                    {1000 * statistics.median(pages):8.1f} ms (median)")
        seconds, _ = await timed(lambda: http.get("/v1/suites"))
        print(f"the list of suites:                          {1000 * seconds:8.1f} ms")
        before = time.perf_counter()
        count = await drain(http, keys.worker)
        each = (time.perf_counter() - before) / count
        print(f"drained by {len(SLOTS)} slots on no work:               {1000 * each:8.1f} ms a job, lease and result")
        seconds, _ = await timed(lambda: http.get(f"/v1/suites/{suite['id']}/table"))
        print(f"its table:                                   {seconds:8.3f} s")
        seconds, plan = await timed(lambda: http.post("/v1/suites?validate_only=true", json=SUITE))
        print(f"validate_only again, {plan['reused']} done already:       {seconds:8.3f} s")


async def drain(http: httpx2.AsyncClient, key: str) -> int:
    """Takes every job and says at once that it succeeded; how many there were."""
    headers = {"Authorization": f"Bearer {key}"}
    body = {"dispatcher": "d", "slots": SLOTS, "all_slots": SLOTS, "code_version": "1", "wait_s": 0.0}
    count = 0
    while True:
        answer = await http.post("/v1/leases", json=body, headers=headers)
        leases = answer.raise_for_status().json()["leases"]
        if not leases:
            return count
        await asyncio.gather(*(_end(http, lease, headers) for lease in leases))
        count += len(leases)


async def _end(http: httpx2.AsyncClient, lease: dict[str, Any], headers: dict[str, str]) -> None:
    end = {"reason": "succeeded", "message": "", "result": RESULT}
    event = {"seq": 1, "at": datetime.now(UTC).isoformat(), "type": "end", "data": end}
    body = {"token": lease["token"], "events": [event]}
    path = f"/v1/leases/{lease['job']}/{lease['attempt']}/reports"
    (await http.post(path, json=body, headers=headers)).raise_for_status()


RESULT: dict[str, Any] = {
    "metrics": [
        {"task": "t", "split": split, "metric": "accuracy", "value": 0.5, "epoch": 1} for split in ("val", "test")
    ],
    "trainable_parameters": 1,
    "adapter_parameters": 1,
    "seconds": 1.0,
    "train_seconds": 1.0,
    "images_per_s": 1.0,
    "peak_memory_bytes": 1,
    "adapter": None,
    "provenance": {
        "code_version": "1",
        "results_version": RESULTS_VERSION,
        "weights_hash": "w",
        "data_hash": "d",
        "precision": "float32",
        "device": "cpu",
        "cpu_features": "",
        "threads": 1,
        "libraries": {},
    },
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, only_postgres(Path(folder) / "postgres") as database_url:
        keys = asyncio.run(bootstrap(database_url))
        print(f"bare INSERT and COMMIT of 950 jobs' JSON:    {950 / inserts_a_second(database_url):8.3f} s")
        with only_api(database_url, Path(folder)) as (url, _):
            asyncio.run(measure(url, keys))


if __name__ == "__main__":
    main()
