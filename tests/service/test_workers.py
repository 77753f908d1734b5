"""Places that take no jobs: drained ones, and those where jobs break."""

import asyncio
from typing import Any

import psycopg
import pytest

import service.leases.claim
from service.jobs.ledger import End
from service.jobs.tables import Job
from service.leases.settle import settle
from tests.service.api import CPU, Api, log, result

A, B = ({**CPU, "name": f"slot-{n}", "node": n} for n in ("a", "b"))


async def leased(api: Api, slots: list[dict[str, Any]], all_slots: list[dict[str, Any]] | None = None) -> list[str]:
    return [lease["job"] for lease in (await api.lease(slots, all_slots=all_slots or [A, B]))["leases"]]


async def drain(api: Api, verb: str = "drain", cluster: str = "local", **body: Any) -> dict[str, Any]:
    answer = await api.call("POST", f"/v1/clusters/{cluster}/{verb}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def breaks(api: Api, slot: dict[str, Any], all_slots: list[dict[str, Any]] | None = None, **request: Any) -> str:
    """A job that breaks in that slot and is not tried again."""
    job = await api.submit(max_attempts=1, **request)
    assert await leased(api, [slot], all_slots) == [job]
    await api.report(job, 1, log())
    await api.end(job, 1, "crashed")
    return job


async def slot(api: Api, name: str) -> dict[str, Any]:
    (cluster,) = (await api.get("/v1/clusters"))["data"]
    return next(slot for slot in cluster["slots"] if slot["name"] == name)


@pytest.mark.parametrize("place", [{}, {"node": "a"}, {"slot": "slot-a"}, {"node": "a", "slot": "slot-a"}])
async def test_what_is_drained_takes_nothing_until_it_is_opened(api: Api, place: dict[str, str]) -> None:
    await api.lease([], all_slots=[A, B])
    await drain(api, **place, reason="new disks")
    job = await api.submit()
    assert await leased(api, [A]) == []
    assert (await slot(api, "slot-a"))["closed"]["reason"] == "new disks"
    if not place:
        assert await leased(api, [B]) == []
        assert "drained: new disks" in (await api.job(job))["waiting_for"]
    else:
        assert (await slot(api, "slot-b"))["closed"] is None
    await drain(api, "undrain", **place)
    assert await leased(api, [A]) == [job]
    audited = {entry["action"] for entry in (await api.get("/v1/audit"))["data"]}
    assert {"cluster.drain", "cluster.undrain"} <= audited


async def test_what_runs_in_a_drained_place_ends_there_or_goes_on_elsewhere(api: Api) -> None:
    job = await api.submit()
    assert await leased(api, [A]) == [job]
    view = await drain(api, node="a")
    assert [slot["job"] for slot in view["slots"]] == [job, None]
    assert (await api.report(job, 1, log()))["directive"] == "continue"
    await drain(api, node="a", now=True)
    assert (await api.report(job, 1, log()))["directive"] == "pause"
    await api.end(job, 1, "paused")
    moved = await api.job(job)
    assert (moved["state"], moved["failures"], moved["pause_requested"]) == ("queued", 0, False)
    assert await leased(api, [A]) == []
    assert await leased(api, [B]) == [job]
    assert (await api.report(job, 2, log()))["directive"] == "continue"


async def test_a_claim_that_a_drain_overtakes_is_stopped_by_it_too(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await api.submit()
    looked, go_on = asyncio.Event(), asyncio.Event()
    real = service.leases.claim.look_at_queue

    async def slow(*given: Any) -> Any:
        queue = await real(*given)
        looked.set()
        await go_on.wait()
        return queue

    monkeypatch.setattr(service.leases.claim, "look_at_queue", slow)
    claiming = asyncio.create_task(leased(api, [A]))
    await looked.wait()
    draining = asyncio.create_task(drain(api, now=True))
    async with asyncio.timeout(10):
        waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%clusters%%'"
        while not (draining.done() or await api.sql(waits)):
            await asyncio.sleep(0.01)
    go_on.set()
    assert await claiming == [job]
    await draining
    assert (await api.report(job, 1, log()))["directive"] == "pause"


async def test_only_admins_drain_and_only_what_there_is(api: Api) -> None:
    await api.lease([], all_slots=[A])
    for path, body, status in (
        ("/v1/clusters/nowhere/drain", {}, 404),
        ("/v1/clusters/local/drain", {"node": "../../etc"}, 404),
        ("/v1/clusters/local/drain", {"slot": "%00'; DROP TABLE jobs; --"}, 404),
        ("/v1/clusters/local/drain", {"node": "a", "now": "yes"}, 422),
        ("/v1/clusters/local/drain", {"node": "x" * 301}, 422),
        ("/v1/clusters/local/undrain", {"slot": "nowhere"}, 404),
        ("/v1/clusters/local/undrain", {}, 200),
    ):
        answer = await api.call("POST", path, json=body)
        assert answer.status_code == status, (path, body, answer.text)
    for key in (api.keys.user, api.keys.reader, api.keys.worker, api.keys.tracking):
        assert (await api.call("POST", "/v1/clusters/local/drain", json={}, key=key)).status_code == 403


async def test_a_job_that_broke_on_a_node_is_left_to_another_one_that_could_take_it(api: Api) -> None:
    job = await api.submit()
    assert await leased(api, [A]) == [job]
    await api.report(job, 1, log())
    await api.end(job, 1, "crashed")
    later = await api.submit()
    assert await leased(api, [A]) == [later], "whoever waits behind it is not held up"
    assert await leased(api, [B]) == [job]


async def test_a_job_that_broke_goes_to_the_same_node_where_no_other_could_take_it(api: Api) -> None:
    job = await api.submit()
    small = {**B, "memory_bytes": 1 << 20}
    assert await leased(api, [A], [A, small]) == [job]
    await api.report(job, 1, log())
    await api.end(job, 1, "crashed")
    assert await leased(api, [A], [A, small]) == [job]


async def test_a_slot_in_which_jobs_break_one_after_the_other_is_put_into_quarantine(api: Api) -> None:
    for _ in range(3):
        await breaks(api, A)
    job = await api.submit()
    assert await leased(api, [A]) == []
    closed = (await slot(api, "slot-a"))["closed"]
    assert (closed["kind"], closed["reason"]) == ("quarantined", "3 jobs broke there one after the other")
    await api.sql("UPDATE closures SET until = now()")
    assert await leased(api, [A]) == [job]
    await api.report(job, 1, log())
    await api.end(job, 1, "succeeded", result=result())
    await breaks(api, A)
    assert (await slot(api, "slot-a"))["closed"] is None, "a job that went well: it is counted anew"


async def test_a_slot_that_takes_jobs_and_never_says_anything_is_put_into_quarantine_and_no_job_pays(api: Api) -> None:
    await api.lease([], all_slots=[A, B])
    jobs: list[str] = []
    for _ in range(3):
        assert (await slot(api, "slot-a"))["closed"] is None
        jobs.append(await api.submit(max_attempts=1))
        assert await leased(api, [A]) == jobs[-1:], "those before are left to another node"
        await api.expire(jobs[-1])
        await api.moved_to(jobs[-1], "queued")
    later = await api.submit()
    assert await leased(api, [A]) == []
    closed = (await slot(api, "slot-a"))["closed"]
    assert closed["kind"] == "quarantined"
    assert closed["reason"] == "nothing was heard of the last 3 attempts that were given to it"
    assert {(await api.job(job))["failures"] for job in jobs} == {0}
    assert await leased(api, [B]) == jobs[:1]
    assert (await api.job(later))["state"] == "queued"


async def test_the_last_open_slot_stays_open_though_it_says_nothing(api: Api) -> None:
    job = await api.submit()
    for _ in range(4):
        assert await leased(api, [A], [A]) == [job]
        await api.expire(job)
        await api.moved_to(job, "queued")


async def test_a_quarantine_that_was_not_enough_is_twice_as_long(api: Api) -> None:
    for _ in range(3):
        await breaks(api, A)
    await api.sql("UPDATE closures SET until = now()")
    await breaks(api, A)
    (row,) = await api.sql("SELECT extract(epoch FROM until - now()) FROM closures")
    assert 115 < row[0] <= 120


async def test_an_operator_ends_a_quarantine_and_what_broke_before_counts_no_more(api: Api) -> None:
    for _ in range(3):
        await breaks(api, A)
    await drain(api, "undrain")
    for _ in range(2):
        await breaks(api, A)
    assert (await slot(api, "slot-a"))["closed"] is None
    await breaks(api, A)
    assert (await slot(api, "slot-a"))["closed"]["kind"] == "quarantined"


async def test_a_node_in_several_slots_of_which_jobs_break_is_put_into_quarantine_as_a_whole(api: Api) -> None:
    first, second, third = ({**A, "name": f"slot-a{n}"} for n in range(3))
    everywhere = [first, second, third, B]
    await api.lease([], all_slots=everywhere)
    for place in (first, second, first):
        assert (await slot(api, "slot-a2"))["closed"] is None
        await breaks(api, place, all_slots=everywhere)
    for name in ("slot-a0", "slot-a1", "slot-a2"):
        closed = (await slot(api, name))["closed"]
        assert closed["kind"] == "quarantined"
        assert closed["reason"] == "3 jobs broke there one after the other, in 2 of its slots"
    assert (await slot(api, "slot-b"))["closed"] is None
    job = await api.submit()
    assert await leased(api, [third], everywhere) == [], "the slot in which nothing broke is of that node too"
    assert await leased(api, [B], everywhere) == [job]


async def test_an_operator_opens_a_node_and_what_broke_before_counts_no_more(api: Api) -> None:
    first, second = ({**A, "name": f"slot-a{n}"} for n in range(2))
    everywhere = [first, second, B]
    for place in (first, second, first):
        await breaks(api, place, all_slots=everywhere)
    await drain(api, "undrain", node="a")
    assert (await slot(api, "slot-a1"))["closed"] is None
    for place in (second, first):
        await breaks(api, place, all_slots=everywhere)
    assert (await slot(api, "slot-a1"))["closed"] is None


async def test_a_node_beside_which_none_is_open_stays_open(api: Api) -> None:
    first, second = ({**A, "name": f"slot-a{n}"} for n in range(2))
    for place in (first, second, first, second):
        await breaks(api, place, all_slots=[first, second])
    job = await api.submit()
    assert await leased(api, [first], [first, second]) == [job]


async def test_jobs_that_break_everywhere_close_no_slot(api: Api) -> None:
    for _ in range(4):
        job = await api.submit(max_attempts=2)
        for number, place in enumerate((A, B), start=1):
            assert await leased(api, [place]) == [job]
            await api.report(job, number, log())
            await api.end(job, number, "crashed")
    assert (await slot(api, "slot-a"))["closed"] is None
    assert (await slot(api, "slot-b"))["closed"] is None


async def test_the_last_open_slot_stays_open(api: Api) -> None:
    await api.lease([], all_slots=[A, B])
    await drain(api, node="b")
    for _ in range(4):
        await breaks(api, A)
    assert (await slot(api, "slot-a"))["closed"] is None


async def test_a_broken_slot_beside_healthy_ones_does_not_empty_the_queue(api: Api) -> None:
    healthy = [{**CPU, "name": f"slot-{n}", "node": n} for n in ("b", "c")]
    everywhere = [A, *healthy]
    jobs = [await api.submit(max_attempts=2) for _ in range(5)]
    for _ in range(20):
        for lease in (await api.lease([A], all_slots=everywhere))["leases"]:
            await api.report(lease["job"], lease["attempt"], log())
            await api.end(lease["job"], lease["attempt"], "crashed")
        for lease in (await api.lease(healthy[:1], all_slots=everywhere))["leases"]:
            await api.end(lease["job"], lease["attempt"], "succeeded", result=result())
    assert {(await api.job(job))["state"] for job in jobs} == {"succeeded"}


async def test_a_job_that_broke_waits_before_it_is_tried_again_longer_each_time(api: Api) -> None:
    job = await api.submit(max_attempts=10)
    delays = []
    for number in range(1, 4):
        assert await leased(api, [A], [A]) == [job]
        await api.report(job, number, log())
        async with api.database.transaction() as session:
            row = await session.get_one(Job, job, with_for_update=True)
            await settle(session, row, End("lost", "gone", False))
        (delay,) = await api.sql(
            "SELECT extract(epoch FROM not_before - attempts.ended_at) FROM jobs "
            "JOIN attempts ON jobs.id = attempts.job WHERE jobs.id = %s AND number = %s",
            job,
            number,
        )
        delays.append(delay[0])
        assert await leased(api, [A], [A]) == []
        assert "not before" in (await api.job(job))["waiting_for"]
        await api.sql("UPDATE jobs SET not_before = now() WHERE id = %s", job)
        async with asyncio.timeout(10):
            while await api.sql("SELECT 1 FROM jobs WHERE not_before IS NOT NULL"):
                await asyncio.sleep(0.02)
    assert [round(float(delay)) for delay in delays] == [2, 8, 32]


async def test_what_another_claim_holds_lets_no_project_run_more_than_it_may(api: Api) -> None:
    assert (await api.call("PATCH", "/v1/projects/default", json={"max_running": 2})).status_code == 200
    jobs = [await api.submit() for _ in range(6)]
    slots = [{**CPU, "name": f"s{n}", "node": f"n{n}"} for n in range(5)]
    async with await psycopg.AsyncConnection.connect(api.database.url) as other:
        await other.execute("SELECT 1 FROM jobs WHERE id = %s FOR UPDATE", (jobs[0],))
        assert await leased(api, slots, slots) == jobs[1:3]
