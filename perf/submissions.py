"""API submissions per second, beside what the same Postgres takes of bare inserts.

    python -m perf.submissions

Starts Postgres and the API by themselves, in a temporary folder; no worker, so that nothing runs the jobs.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psycopg
from psycopg.types.json import Jsonb

from perf.served import only_api
from service import postgres
from service.keys.bootstrap import bootstrap

COUNT = 200
CLIENTS = (1, 8)
JOB = {
    "spec": {
        "task": {"name": "vtab-mini/digits"},
        "method": {"name": "lora_mul_vpt_add", "rank": 8},
        "regularizer": {"name": "pace", "sigma": 0.5, "lambda": 0.1},
    }
}


def main() -> None:
    """Prints submissions a second for one client and for several, and bare inserts of the same JSON."""
    with tempfile.TemporaryDirectory() as folder, only_postgres(Path(folder) / "postgres") as database_url:
        keys = asyncio.run(bootstrap(database_url))
        inserts = inserts_a_second(database_url)
        print(f"bare INSERT and COMMIT of the same JSON, one connection: {inserts:7.0f} a second")
        with only_api(database_url, Path(folder)) as (url, _):
            for clients in CLIENTS:
                rate = asyncio.run(_submissions(url, keys.admin, clients))
                print(
                    f"POST /v1/jobs, {clients} client(s), {COUNT} jobs:           {rate:7.0f} a second"
                    f" ({inserts / rate:.0f} inserts each)"
                )


async def _submissions(url: str, key: str, clients: int) -> float:
    left = iter(range(COUNT))
    async with httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as http:

        async def submit() -> None:
            for _ in left:
                (await http.post("/v1/jobs", json=JOB)).raise_for_status()

        await http.post("/v1/jobs", json=JOB)  # the first one reads the catalogue
        before = time.perf_counter()
        await asyncio.gather(*(submit() for _ in range(clients)))
        return COUNT / (time.perf_counter() - before)


def inserts_a_second(database_url: str) -> float:
    """How many bare INSERT and COMMIT of a job's JSON the same Postgres takes a second."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE bare (id bigserial PRIMARY KEY, body jsonb)")
        before = time.perf_counter()
        for _ in range(COUNT):
            connection.execute("INSERT INTO bare (body) VALUES (%s)", (Jsonb(JOB),))
        return COUNT / (time.perf_counter() - before)


@contextmanager
def only_postgres(folder: Path) -> Iterator[str]:
    """A Postgres without anything else; its URL."""
    try:
        yield postgres.start(folder)
    finally:
        postgres.stop(folder)


if __name__ == "__main__":
    main()
