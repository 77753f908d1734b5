"""Listing, changing, stopping and deleting jobs."""

import asyncio

from tests.service.api import CPU, SPEC, Api, log, result


async def test_jobs_are_listed_newest_first_in_pages_that_miss_nothing(api: Api) -> None:
    jobs = [await api.submit(name=f"n{n}") for n in range(5)]
    seen: list[str] = []
    after = ""
    while True:
        page = await api.get(f"/v1/jobs?limit=2{after}")
        seen += [job["id"] for job in page["data"]]
        if len(seen) == 2:
            await api.submit(name="came meanwhile")
        if not page["has_more"]:
            break
        after = f"&after={page['next_cursor']}"
    assert seen == jobs[::-1]
    assert page["next_cursor"] is None


async def test_a_cursor_belongs_to_its_filters(api: Api) -> None:
    for _ in range(2):
        await api.submit()
    cursor = (await api.get("/v1/jobs?limit=1"))["next_cursor"]
    for query in (f"after={cursor}&state=queued", "after=abc"):
        refused = await api.call("GET", f"/v1/jobs?{query}")
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["pointer"] == "?after"


async def test_jobs_are_found_by_what_is_known_of_them(api: Api) -> None:
    digits = await api.submit(name="Sheet 2", tags={"sheet": "2", "who": "ada"})
    cells = await api.submit(overrides={"task": {"name": "vtab-mini/cells"}}, row="mine", tags={"sheet": "3"})
    await api.act(cells, "cancel")
    found = {
        "state=queued": [digits],
        "state=queued&state=cancelled": [cells, digits],
        "task=digits": [digits],
        "task=vtab-mini/cells": [cells],
        "benchmark=vtab-mini": [cells, digits],
        "row=mine": [cells],
        "tag=sheet": [cells, digits],
        "tag=sheet=2": [digits],
        "tag=sheet=3&tag=who": [],
        "search=sheet": [digits],
        "search=SHE": [digits],
        "search=sheet+dig": [digits],
        "search=heet": [],
        "search=%25": [],
        "project=default": [cells, digits],
        "owner=nobody": [],
    }
    for query, expected in found.items():
        assert [job["id"] for job in (await api.get(f"/v1/jobs?{query}"))["data"]] == expected, query
    assert (await api.call("GET", "/v1/jobs?stat=queued")).status_code == 422


async def test_waiting_for_a_job_is_answered_when_it_ends(api: Api) -> None:
    job = await api.submit()
    waiting = asyncio.create_task(api.get(f"/v1/jobs/{job}?wait=20"))
    await asyncio.sleep(0.1)
    await api.finish()
    async with asyncio.timeout(3):
        assert (await waiting)["state"] == "succeeded"


async def test_name_priority_and_tags_can_be_changed(api: Api) -> None:
    job = await api.submit()
    answer = await api.call("PATCH", f"/v1/jobs/{job}", json={"name": "new", "priority": 80, "tags": {"a": "b"}})
    assert (answer.json()["name"], answer.json()["priority"], answer.json()["tags"]) == ("new", 80, {"a": "b"})
    await api.call("PATCH", f"/v1/jobs/{job}", json={"name": "newer"})
    assert (await api.job(job))["priority"] == 80
    assert (await api.call("PATCH", f"/v1/jobs/{job}", json={"state": "succeeded"})).status_code == 422
    await api.act(job, "cancel")
    assert (await api.call("PATCH", f"/v1/jobs/{job}", json={"tags": {}})).status_code == 200
    assert (await api.call("PATCH", f"/v1/jobs/{job}", json={"priority": 1})).status_code == 409


async def test_a_waiting_job_is_cancelled_at_once_and_again_without_harm(api: Api) -> None:
    job = await api.submit()
    for _ in range(2):
        answer = await api.act(job, "cancel")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    events = (await api.get(f"/v1/jobs/{job}/events"))["data"]
    assert [e["data"]["move"] for e in events] == ["submit", "cancel"]


async def test_a_running_job_is_cancelled_by_its_worker(api: Api) -> None:
    job = await api.submit()
    await api.take()
    await api.report(job, 1, log())
    assert (await api.act(job, "cancel")).json()["cancel_requested"] is True
    assert (await api.report(job, 1))["directive"] == "stop"
    await api.end(job, 1, "cancelled")
    assert (await api.job(job))["state"] == "cancelled"


async def test_a_job_that_succeeds_before_the_cancellation_reaches_it_has_succeeded(api: Api) -> None:
    job = await api.submit()
    await api.take()
    await api.act(job, "cancel")
    await api.end(job, 1, "succeeded", result=result())
    assert (await api.job(job))["state"] == "succeeded"
    assert (await api.act(job, "cancel")).status_code == 409


async def test_a_cancelled_job_whose_worker_is_gone_is_not_tried_again(api: Api) -> None:
    job = await api.submit()
    await api.take()
    await api.act(job, "cancel")
    await api.expire(job)
    await api.moved_to(job, "cancelled")


async def test_a_paused_job_goes_on_where_it_stopped_and_uses_up_no_attempt(api: Api) -> None:
    job = await api.submit(max_attempts=1)
    await api.take()
    await api.report(job, 1, log())
    assert (await api.act(job, "pause")).json()["pause_requested"] is True
    assert (await api.report(job, 1))["directive"] == "pause"
    await api.end(job, 1, "paused")
    paused = await api.job(job)
    assert (paused["state"], paused["pause_requested"], paused["ended_at"]) == ("paused", False, None)
    assert (await api.act(job, "pause")).json()["state"] == "paused"
    assert (await api.lease())["leases"] == []

    assert (await api.act(job, "resume")).json()["state"] == "queued"
    (lease,) = (await api.lease())["leases"]
    assert (lease["attempt"], lease["resume_from"]) == (2, [f"{api.storage}/jobs/{job}/1"])
    await api.end(job, 2, "succeeded", result=result())
    ended = await api.job(job)
    assert (ended["state"], ended["failures"]) == ("succeeded", 0)


async def test_a_waiting_job_is_held_at_once(api: Api) -> None:
    job = await api.submit()
    assert (await api.act(job, "pause")).json()["state"] == "paused"
    assert (await api.act(job, "cancel")).json()["state"] == "cancelled"
    assert (await api.act(job, "resume")).status_code == 409


async def test_a_pause_taken_back_in_time_changes_nothing(api: Api) -> None:
    job = await api.submit()
    await api.take()
    await api.act(job, "pause")
    await api.act(job, "resume")
    assert (await api.report(job, 1, log()))["directive"] == "continue"


async def test_a_pause_taken_back_too_late_lets_the_job_queue_again(api: Api) -> None:
    job = await api.submit()
    await api.take()
    await api.act(job, "pause")
    await api.act(job, "resume")
    await api.end(job, 1, "paused")
    assert ((await api.job(job))["state"], (await api.job(job))["failures"]) == ("queued", 0)


async def test_a_retry_is_a_new_job_that_names_the_old(api: Api) -> None:
    job = await api.submit(name="x", seed=3, tags={"a": "b"}, max_attempts=1)
    assert (await api.act(job, "retry")).status_code == 409
    await api.take()
    await api.end(job, 1, "nan", message="NaN")
    answer = await api.act(job, "retry")
    new = answer.json()
    assert (answer.status_code, new["retry_of"], new["state"], new["attempt"]) == (202, job, "queued", 0)
    assert (new["name"], new["seed"], new["tags"], new["spec"]) == ("x", 3, {"a": "b"}, (await api.job(job))["spec"])
    assert (await api.act(job, "retry")).json()["id"] == new["id"]
    assert (await api.job(job))["state"] == "failed"


async def test_an_ended_job_is_deleted_with_its_files(api: Api) -> None:
    job = await api.submit()
    assert (await api.call("DELETE", f"/v1/jobs/{job}")).status_code == 409
    await api.finish()
    folder = api.storage / "jobs" / job
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "adapter.safetensors").write_bytes(b"x")
    retried = (await api.act(job, "retry")).json()["id"]
    assert (await api.call("DELETE", f"/v1/jobs/{job}")).status_code == 204
    assert (await api.call("GET", f"/v1/jobs/{job}")).status_code == 404
    assert not folder.exists()
    assert (await api.job(retried))["retry_of"] is None


async def test_attempts_say_where_they_ran_and_how_they_ended(api: Api) -> None:
    job = await api.submit()
    await api.take()
    await api.end(job, 1, "crashed", message="boom")
    await api.take()
    first, second = (await api.get(f"/v1/jobs/{job}/attempts"))["data"]
    assert (first["node"], first["slot"], first["reason"], first["message"]) == ("n1", "cpu-0", "crashed", "boom")
    assert (second["number"], second["ended_at"]) == (2, None)


async def test_the_tracking_s_link_is_shown_with_the_job(api: Api) -> None:
    job = await api.submit()
    link = {"url": "http://mlflow/#/experiments/1/runs/2"}
    await api.call("PUT", f"/v1/jobs/{job}/tracking", json=link, key=api.keys.tracking)
    assert (await api.job(job))["mlflow_url"] == link["url"]


async def test_many_submissions_at_once_are_all_taken(api: Api) -> None:
    answers = await asyncio.gather(*(api.call("POST", "/v1/jobs", json={"spec": SPEC}) for _ in range(40)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 40


async def test_a_job_whose_data_changed_fails_once_and_is_not_tried_again(api: Api) -> None:
    job = await api.submit()
    _, attempt = await api.take()
    await api.end(job, attempt, "data_changed", message="task: the data set changed since the checkpoint")
    found = await api.job(job)
    assert (found["state"], found["reason"], found["attempt"]) == ("failed", "data_changed", 1)
    assert "changed since the checkpoint" in found["message"]
    assert (await api.lease([CPU]))["leases"] == [], "nobody is given it again"


async def test_a_queued_job_says_how_many_are_ahead_and_how_long_they_take(api: Api) -> None:
    done = await api.submit(seed=9)
    await api.take()
    await api.end(done, 1, "succeeded", result=result(0.7))
    first, second = await api.submit(), await api.submit(seed=1)
    urgent = await api.submit(seed=2, priority=90)
    places = {job: (await api.job(job))["place"] for job in (urgent, first, second)}
    assert [place["ahead"] for place in places.values()] == [0, 1, 2]
    assert places[second]["starts_in_s"] == 2 * 3600  # one job ended within the last hour
    assert (await api.job(done))["place"] is None
    assert all(job["place"] is None for job in (await api.get("/v1/jobs"))["data"])
    await api.sql("UPDATE jobs SET ended_at = now() - interval '2 hours' WHERE id = %s", done)
    assert (await api.job(first))["place"] == {"ahead": 1, "starts_in_s": None}
