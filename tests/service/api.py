"""What users and workers say to the service, in as few words as tests need."""

import asyncio
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, LiteralString

import httpx2
import psycopg
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import Database
from service.events.log import from_service, store
from service.jobs.tables import Job
from service.keys.bootstrap import Keys
from service.keys.roles import Role
from service.keys.secrets import create_key
from service.recent import Recent

SPEC = {"task": {"name": "vtab-mini/digits"}, "method": {"name": "lora_add", "rank": 4}}
CPU = {"name": "cpu-0", "device": "cpu", "memory_bytes": 8 << 30, "node": "n1"}


def result(accuracy: float = 0.5, *, data: str = "data-1", uri: str | None = None) -> dict[str, Any]:
    """A RunResult whose one number is the accuracy on the test split."""
    return {
        "metrics": [{"task": "digits", "split": "test", "metric": "accuracy", "value": accuracy, "epoch": 3}],
        "trainable_parameters": 10,
        "adapter_parameters": 5,
        "seconds": 2.0,
        "train_seconds": 1.0,
        "images_per_s": 100.0,
        "peak_memory_bytes": 1,
        "adapter": None if uri is None else {"uri": uri, "sha256": checksum(Path(uri))},
        "provenance": {
            "code_version": "1",
            "results_version": 1,
            "weights_hash": "weights-1",
            "data_hash": data,
            "precision": "float32",
            "device": "cpu",
            "cpu_features": "avx2",
            "threads": 1,
            "libraries": {},
        },
    }


@dataclass
class Api:
    """A person's and a worker's calls."""

    http: httpx2.AsyncClient
    keys: Keys
    database: Database
    storage: Path
    recent: Recent
    """What the service need not read again."""
    sent: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    """Highest seq reported, by attempt."""
    tokens: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    """Of the leases, by attempt."""
    workers: dict[str, str] = field(default_factory=dict[str, str])
    """Keys of other clusters, by name."""

    async def call(self, method: str, path: str, *, key: str | None = None, **more: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {key or self.keys.admin}", **more.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **more)

    async def get(self, path: str, **more: Any) -> Any:
        answer = await self.call("GET", path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def submit(self, **request: Any) -> str:
        """A job's id."""
        answer = await self.call("POST", "/v1/jobs", json={"spec": SPEC, **request})
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    async def job(self, job: str) -> dict[str, Any]:
        return await self.get(f"/v1/jobs/{job}")

    async def act(self, job: str, verb: str) -> httpx2.Response:
        return await self.call("POST", f"/v1/jobs/{job}/{verb}")

    async def ask(
        self,
        slots: list[dict[str, Any]] | None = None,
        *,
        wait_s: float = 0.0,
        cluster: str = "local",
        dispatcher: str = "d1",
        holding: list[dict[str, Any]] | None = None,
        all_slots: list[dict[str, Any]] | None = None,
        paths: dict[str, bool] | None = None,
    ) -> httpx2.Response:
        """Asks for work."""
        slots = [CPU] if slots is None else slots
        body = {
            "dispatcher": dispatcher,
            "slots": slots,
            "all_slots": all_slots or slots,
            "holding": holding or [],
            "paths": paths,
            "code_version": "1",
            "wait_s": wait_s,
        }
        return await self.call("POST", "/v1/leases", json=body, key=await self.worker(cluster))

    async def worker(self, cluster: str) -> str:
        """A worker's key of that cluster."""
        if cluster == "local":
            return self.keys.worker
        if cluster not in self.workers:
            async with self.database.transaction() as session:
                self.workers[cluster] = await create_key(session, Role.WORKER, "worker", cluster=cluster)
        return self.workers[cluster]

    async def lease(self, slots: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
        """The answer to `ask`."""
        answer = await self.ask(slots, **more)
        assert answer.status_code == 200, answer.text
        self.tokens |= {(lease["job"], lease["attempt"]): lease["token"] for lease in answer.json()["leases"]}
        return answer.json()

    async def take(self) -> tuple[str, int]:
        """Leases the one waiting job: its id and attempt."""
        (lease,) = (await self.lease())["leases"]
        return lease["job"], lease["attempt"]

    async def send(self, job: str, attempt: int, events: list[dict[str, Any]]) -> httpx2.Response:
        body = {"token": self.tokens[job, attempt], "events": events}
        return await self.call("POST", f"/v1/leases/{job}/{attempt}/reports", json=body, key=self.keys.worker)

    async def report(self, job: str, attempt: int, *events: tuple[str, dict[str, Any]]) -> dict[str, Any]:
        """Sends events under the numbers that follow."""
        first = self.sent.get((job, attempt), 0) + 1
        numbered = [event(first + index, type, data) for index, (type, data) in enumerate(events)]
        answer = await self.send(job, attempt, numbered)
        assert answer.status_code == 200, answer.text
        self.sent[job, attempt] = first + len(events) - 1
        return answer.json()

    async def end(self, job: str, attempt: int, reason: str, **more: Any) -> dict[str, Any]:
        return await self.report(job, attempt, ("end", {"reason": reason, "message": "", "result": None, **more}))

    async def finish(self, accuracy: float = 0.5, **more: Any) -> str:
        """Runs the one waiting job to its end: its id."""
        job, attempt = await self.take()
        await self.end(job, attempt, "succeeded", result=result(accuracy, **more))
        return job

    async def sql(self, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        """What no call can do: let time pass."""
        async with await psycopg.AsyncConnection.connect(self.database.url, autocommit=True) as connection:
            cursor = await connection.execute(query, values)
            self.recent.clear()
            return await cursor.fetchall() if cursor.description else []

    async def expire(self, job: str) -> None:
        """Lets the job's lease run out."""
        await self.sql("UPDATE jobs SET lease_expires_at = now() - interval '1 second' WHERE id = %s", job)

    async def moved_to(self, job: str, state: str) -> None:
        """Returns when the job is in that state."""
        async with asyncio.timeout(10):
            while (await self.job(job))["state"] != state:
                await asyncio.sleep(0.02)


def checksum(file: Path) -> str:
    """As a worker says it of a file that it wrote."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "0" * 64


def event(seq: int, type: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"seq": seq, "at": datetime.now(UTC).isoformat(), "type": type, "data": data}


def log(message: str = "hello") -> tuple[str, dict[str, Any]]:
    return "log", {"level": "info", "message": message}


async def numbered(api: Api) -> None:
    """Returns when every event that was stored has its position."""
    async with asyncio.timeout(10):
        while await api.sql("SELECT 1 FROM job_events WHERE position IS NULL LIMIT 1"):
            await asyncio.sleep(0.01)


async def append(session: AsyncSession, job: str, data: dict[str, Any]) -> None:
    """Stores an event of the job, whatever state it is in."""
    raised = update(Job).where(Job.id == job).values(event_count=Job.event_count + 1).returning(Job.event_count)
    number = (await session.execute(raised)).scalar_one()
    await store(session, [(job, number, [from_service(0, data)])])
