"""Jobs are not lost, and nobody is blamed, for what befell the service, its clock or its database."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

import service.health.endpoints
import service.jobs.submission
import service.keys.endpoints
import service.leases.reaper
from service.db import Database
from service.leases.reaper import reap_for_ever
from tests.service.api import SPEC, Api, log, numbered


async def test_a_poll_whose_asker_is_gone_takes_no_job(api: Api) -> None:
    with pytest.raises(httpx2.TimeoutException):
        await api.call("POST", "/v1/leases", key=api.keys.worker, timeout=0.5, json=lease_request(wait_s=60.0))
    job = await api.submit(max_attempts=1)
    await asyncio.sleep(0.5)  # let the abandoned poll be woken; it is no failure if it was ended before
    assert (await api.job(job))["state"] == "queued"


async def test_an_attempt_that_never_said_anything_uses_up_none(api: Api) -> None:
    job = await api.submit(max_attempts=1)
    await api.take()
    await api.expire(job)
    await api.moved_to(job, "queued")
    assert (await api.job(job))["failures"] == 0


class Behind(datetime):
    """A clock an hour behind the database's."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
def wrong_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (service.health.endpoints, service.jobs.submission, service.keys.endpoints):
        monkeypatch.setattr(module, "datetime", Behind)


@pytest.mark.usefixtures("wrong_clock")
async def test_a_wrong_clock_of_the_api_neither_loses_a_job_nor_hides_a_worker(api: Api) -> None:
    job = await api.submit(max_runtime_s=600)
    await api.take()
    await api.report(job, 1, log())
    await api.sql("UPDATE attempts SET renewed_at = now() - interval '6 seconds' WHERE job = %s", job)
    await api.sql("UPDATE jobs SET lease_expires_at = now() + interval '2 seconds' WHERE id = %s", job)
    assert (await api.report(job, 1))["directive"] == "continue"
    left = await api.sql("SELECT lease_expires_at > now() + interval '30 seconds' FROM jobs WHERE id = %s", job)
    assert left == [(True,)]
    await api.sql("UPDATE attempts SET started_at = now() - interval '11 minutes' WHERE job = %s", job)
    assert (await api.report(job, 1))["directive"] == "stop"
    waiting = await api.submit()
    await api.sql("UPDATE clusters SET seen_at = now() - interval '10 minutes'")
    assert "none was heard of since" in (await api.job(waiting))["waiting_for"]


@pytest.mark.usefixtures("wrong_clock")
async def test_a_job_is_as_old_as_the_database_says(api: Api) -> None:
    send = {"json": {"spec": SPEC}, "headers": {"Idempotency-Key": "k"}}
    first, again = [(await api.call("POST", "/v1/jobs", **send)).json() for _ in range(2)]
    assert again == first
    age = await api.sql("SELECT extract(epoch FROM now() - %s::timestamptz)", first["created_at"])
    assert 0 <= age[0][0] < 60
    assert (await api.job(first["id"]))["created_at"] == first["created_at"]
    (event,) = (await api.call("GET", f"/v1/jobs/{first['id']}/events")).json()["data"]
    assert event["at"] == first["created_at"]


@pytest.mark.usefixtures("wrong_clock")
async def test_a_wrong_clock_of_the_api_neither_shortens_nor_lengthens_the_life_of_a_key(api: Api) -> None:
    made = await api.call("POST", "/v1/keys", json={"name": "laptop", "expires_in_s": 600})
    rotated = await api.call("POST", f"/v1/keys/{made.json()['id']}/rotate", json={"expires_in_s": 600})
    for answer in (made, rotated):
        id = answer.json()["id"]
        left = await api.sql("SELECT extract(epoch FROM expires_at - now()) FROM api_keys WHERE id = %s", id)
        assert 500 < left[0][0] <= 600


async def test_workers_have_time_to_be_heard_after_the_service_was_suspended(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await api.submit()
    await api.take()
    await api.report(job, 1, log())
    rounds: list[float] = []

    real = service.leases.reaper._database_s

    async def clock(database: Database) -> float:
        if database is not api.database:  # the service's own look
            return await real(database)
        rounds.append(time.monotonic())
        return len(rounds) * 1000.0  # between two looks a quarter of an hour passes

    monkeypatch.setattr(service.leases.reaper, "_database_s", clock)
    reaping = asyncio.create_task(reap_for_ever(api.database, every_s=0.01, grace_s=0.2))
    try:
        async with asyncio.timeout(10):
            while len(rounds) < 4:
                await asyncio.sleep(0.01)
    finally:
        reaping.cancel()
    assert rounds[3] - rounds[2] > 0.15  # every look found that it had been away, and waited


@pytest.mark.parametrize(
    "at",
    ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "1969-12-31T23:59:59Z", "2200-01-01T00:00:00Z", 1e18],
)
async def test_an_event_of_a_clock_that_is_out_of_all_bounds_is_refused_and_stops_no_reader(
    api: Api, at: str | float
) -> None:
    job = await api.submit()
    await api.take()
    refused = await api.send(job, 1, [{"seq": 1, "at": at, "type": "log", "data": {"level": "info", "message": "x"}}])
    assert refused.status_code == 422
    await numbered(api)
    for path in (f"/v1/jobs/{job}/events", f"/v1/jobs/{job}/logs", "/v1/events"):
        assert (await api.call("GET", path)).status_code == 200


async def test_a_time_without_a_zone_is_utc(api: Api) -> None:
    job = await api.submit()
    await api.take()
    said = {"seq": 1, "at": "2026-01-01T12:00:00", "type": "log", "data": {"level": "info", "message": "x"}}
    assert (await api.send(job, 1, [said])).status_code == 200
    (event,) = (await api.get(f"/v1/jobs/{job}/events?type=log"))["data"]
    assert event["at"] == "2026-01-01T12:00:00Z"


@pytest.mark.parametrize(
    ("type", "data"),
    [
        ("metrics", {"epoch": 1, "step": 2, "values": [1]}),
        ("metrics", {"epoch": 1, "step": 2, "values": {"train/loss": "low"}}),
        ("metrics", {"epoch": "first", "values": {}}),
        ("metrics", {"epoch": "1", "values": {}}),
        ("metrics", {"epoch": True, "values": {}}),
        ("metrics", {"epoch": -1, "values": {}}),
        ("metrics", {"epoch": 10**30, "values": {}}),
        ("metrics", {"values": {"val/accuracy": 0.5}}),
        ("metrics", {"epoch": 1, "values": {"val/accuracy": "0.5"}}),
        ("metrics", {"epoch": 1, "values": {"val/accuracy": "nan"}}),
        ("metrics", {"epoch": 1, "values": {"val/accuracy": True}}),
        ("metrics", {"epoch": 1, "values": {"val/accuracy": 10**400}}),
        ("metrics", {"epoch": 1, "values": {"k" * 201: 0.5}}),
        ("metrics", {"epoch": 1, "values": {f"k{n}": 0.5 for n in range(1_001)}}),
        ("log", {"level": "info", "message": "x" * 100_001}),
        ("end", {"reason": "crashed", "message": "x" * 100_001}),
        ("progress", {"epoch": "1"}),
        ("progress", {"images_per_s": "fast"}),
        ("checkpoint", {"step": 1.5}),
        ("log", {"level": "loud", "message": "x"}),
        ("log", {"level": "info", "message": {"not": "text"}}),
        ("progress", {"step": [1]}),
        ("stage", {}),
        ("end", {"reason": 7}),
        ("end", {"message": "why"}),
    ],
)
async def test_an_event_of_the_wrong_form_is_refused_and_harms_nobody(
    api: Api, type: str, data: dict[str, Any]
) -> None:
    job = await api.submit()
    await api.take()
    event = {"seq": 1, "at": datetime.now(UTC).isoformat(), "type": type, "data": data}
    refused = await api.send(job, 1, [event])
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"].startswith("/data")
    assert (await api.get(f"/v1/jobs/{job}/metrics")) == {"data": {}}
    assert (await api.report(job, 1, log()))["acknowledged"] == 1


async def test_a_database_that_does_not_answer_is_503_and_told_to_come_again(api: Api) -> None:
    blocked = asyncio.Event()

    async def cut() -> None:
        while not blocked.is_set():
            await api.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND query LIKE '%%FROM jobs%%' AND application_name = ''"
            )

    cutting = asyncio.create_task(cut())
    seen: set[int] = set()
    try:
        async with asyncio.timeout(30):
            while 503 not in seen:
                answer = await api.call("GET", "/v1/jobs")
                seen.add(answer.status_code)
                if answer.status_code == 503:
                    assert answer.headers["Retry-After"]
                    assert answer.json()["type"] == "/problems/unavailable"
    finally:
        blocked.set()
        await cutting
    assert seen <= {200, 503}


def lease_request(wait_s: float) -> dict[str, Any]:
    slot = {"name": "cpu-0", "device": "cpu", "memory_bytes": 8 << 30, "node": "n1"}
    return {
        "dispatcher": "d1",
        "slots": [slot],
        "all_slots": [slot],
        "holding": [],
        "data": {},
        "code_version": "1",
        "wait_s": wait_s,
    }
