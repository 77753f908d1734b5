"""Counts of jobs, orders of their list, and the load of slots."""

from typing import Any

import pytest

from tests.service.api import CPU, SPEC, Api


async def ids(api: Api, query: str, key: str | None = None) -> list[str]:
    """The list, read page by page, two at a time."""
    found: list[str] = []
    after = ""
    while True:
        page = await api.get(f"/v1/jobs?limit=2&{query}{after}", key=key)
        found += [job["id"] for job in page["data"]]
        if not page["has_more"]:
            return found
        after = f"&after={page['next_cursor']}"


async def finished(api: Api, accuracy: float, **request: Any) -> str:
    await api.submit(**request)
    return await api.finish(accuracy)


async def test_jobs_are_counted_by_state_and_by_what_they_wait_for(api: Api) -> None:
    await finished(api, 0.5)
    await finished(api, 0.6)
    runs = await api.submit()
    await api.take()
    first = await api.submit(seed=1)
    await api.submit(seed=2)
    gpu = await api.submit(spec={**SPEC, "resources": {"device": "cuda"}})
    totals = await api.get("/v1/jobs/totals")
    assert totals["states"] == {"succeeded": 2, "running": 1, "queued": 3} or totals["states"]["starting"] == 1, runs
    assert [(line["jobs"], line["first"]) for line in totals["waiting"]] == [(2, first), (1, gpu)]
    for line in totals["waiting"]:
        assert line["waiting_for"] == (await api.job(line["first"]))["waiting_for"]


async def test_counts_are_of_what_a_list_would_have(api: Api) -> None:
    await finished(api, 0.5, name="one")
    await api.submit(name="two")
    assert (await api.get("/v1/jobs/totals?search=two"))["states"] == {"queued": 1}
    assert (await api.get("/v1/jobs/totals?state=succeeded")) == {"states": {"succeeded": 1}, "waiting": []}
    await api.call("POST", "/v1/projects", json={"name": "other"})
    await api.call("POST", "/v1/jobs", json={"spec": SPEC, "project": "other"})
    assert (await api.get("/v1/jobs/totals", key=api.keys.reader))["states"] == {"succeeded": 1, "queued": 1}
    assert (await api.get("/v1/jobs/totals"))["states"] == {"succeeded": 1, "queued": 2}


async def test_a_list_comes_in_four_orders_page_by_page(api: Api) -> None:
    jobs = [await finished(api, accuracy, seed=seed) for seed, accuracy in enumerate((0.5, 0.9, 0.1, 0.9, 0.7))]
    waits = await api.submit()
    assert await ids(api, "") == [waits, *jobs[::-1]]
    assert await ids(api, "sort=oldest") == [*jobs, waits]
    assert await ids(api, "sort=best") == [jobs[3], jobs[1], jobs[4], jobs[0], jobs[2]]
    await api.sql("UPDATE jobs SET ended_at = now() WHERE id = %s", jobs[2])
    await api.sql("UPDATE jobs SET ended_at = ended_at - interval '1 hour' WHERE id = ANY(%s)", jobs[3:])
    ended = await ids(api, "sort=ended")
    assert ended[0] == jobs[2]
    assert set(ended[3:]) == set(jobs[3:])
    assert ended == await ids(api, "sort=ended", api.keys.reader)


async def test_jobs_are_listed_by_when_they_ended(api: Api) -> None:
    early, late = await finished(api, 0.5), await finished(api, 0.6)
    await api.sql("UPDATE jobs SET ended_at = '2026-01-01T00:00:00Z' WHERE id = %s", early)
    assert await ids(api, "ended_since=2026-01-02T00:00:00Z") == [late]
    assert (await api.get("/v1/jobs/totals?ended_since=2026-01-02T00:00:00Z"))["states"] == {"succeeded": 1}


@pytest.mark.parametrize("other", ["newest", "oldest", "ended", "best"])
async def test_a_cursor_is_of_one_order(api: Api, other: str) -> None:
    for seed in range(3):
        await finished(api, 0.5, seed=seed)
    for sort in {"newest", "oldest", "ended", "best"} - {other}:
        cursor = (await api.get(f"/v1/jobs?limit=1&sort={sort}"))["next_cursor"]
        answer = await api.call("GET", f"/v1/jobs?sort={other}&after={cursor}")
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "?after")


async def test_everyone_sees_how_busy_the_slots_are_and_nobody_which_jobs_run(api: Api) -> None:
    slots = [{**CPU, "name": f"cpu-{index}"} for index in range(3)] + [{**CPU, "name": "cuda-0", "device": "cuda"}]
    job = await api.submit()
    await api.lease(slots[:1], all_slots=slots)
    await api.call("POST", "/v1/clusters/local/drain", json={"slot": "cpu-2", "reason": "new fan"})
    answer = await api.call("GET", "/v1/clusters/load", key=api.keys.reader)
    cpu, cuda = answer.json()["data"]
    assert {key: cpu[key] for key in ("cluster", "there", "device", "slots", "busy", "closed", "why_closed")} == {
        "cluster": "local",
        "there": True,
        "device": "cpu",
        "slots": 3,
        "busy": 1,
        "closed": 1,
        "why_closed": "drained: new fan",
    }
    assert (cuda["device"], cuda["slots"], cuda["busy"], cuda["closed"]) == ("cuda", 1, 0, 0)
    assert job not in answer.text
