"""Who gets which job when."""

import asyncio
import time
from typing import Any

from service.keys.roles import Role
from service.keys.secrets import create_key
from tests.service.api import CPU, SPEC, Api, log, result

GPU = {"name": "gpu-0", "device": "cuda", "memory_bytes": 80 << 30, "node": "n1"}


async def leased(api: Api, count: int = 10) -> list[str]:
    slots = [{**CPU, "name": f"cpu-{n}", "node": f"n{n}"} for n in range(count)]
    return [lease["job"] for lease in (await api.lease(slots))["leases"]]


async def test_higher_priority_goes_first_then_age(api: Api) -> None:
    low, high, old, young = [await api.submit(priority=p) for p in (10, 90, 50, 50)]
    assert await leased(api) == [high, old, young, low]


async def test_of_equal_priority_the_owner_with_the_fewest_running_goes_first(api: Api) -> None:
    async with api.database.transaction() as session:
        other = await create_key(session, Role.USER, "grace", "default")
    mine = [await api.submit() for _ in range(3)]
    answer = await api.call("POST", "/v1/jobs", json={"spec": SPEC}, key=other)
    theirs = answer.json()["id"]
    assert await leased(api) == [mine[0], theirs, mine[1], mine[2]]


async def test_a_slot_is_given_only_what_it_can_take(api: Api) -> None:
    on_gpu = await api.submit(overrides={"resources": {"device": "cuda"}})
    large = await api.submit(overrides={"resources": {"device": "cpu", "memory_gib": 30}})
    small = await api.submit(overrides={"resources": {"memory_gib": 3}})
    assert [lease["job"] for lease in (await api.lease([CPU]))["leases"]] == [small]
    assert [lease["job"] for lease in (await api.lease([GPU]))["leases"]] == [on_gpu]
    assert (await api.job(large))["state"] == "queued"


async def test_the_cpu_slots_of_a_node_share_its_memory(api: Api) -> None:
    for _ in range(2):
        await api.submit(overrides={"resources": {"memory_gib": 5}})
    shared = [{**CPU, "name": name} for name in ("cpu-0", "cpu-1")]
    assert len((await api.lease(shared))["leases"]) == 1


async def test_what_a_node_has_promised_is_counted_once_however_much_of_it_is_used_already(api: Api) -> None:
    for _ in range(9):
        await api.submit(overrides={"resources": {"memory_gib": 8}})
    whole = 65 << 30
    running: list[dict[str, Any]] = []
    for used_gib in (0, 2, 8, 8, 8, 8, 8, 8):  # by each of the runs before
        free = {"memory_bytes": whole - len(running) * (used_gib << 30), "node_bytes": whole}
        slot = {**CPU, "name": f"cpu-{len(running)}", **free}
        everything = [{**slot, "name": f"cpu-{n}"} for n in range(9)]
        (lease,) = (await api.lease([slot], all_slots=everything, holding=running))["leases"]
        running.append({name: lease[name] for name in ("job", "attempt", "slot")})
    ninth = {**CPU, "name": "cpu-8", "memory_bytes": 9 << 30, "node_bytes": whole}
    everything = [{**ninth, "name": f"cpu-{n}"} for n in range(9)]
    assert (await api.lease([ninth], all_slots=everything, holding=running))["leases"] == [], "64 of 65 are promised"


async def test_what_is_promised_holds_from_one_request_to_the_next(api: Api) -> None:
    for _ in range(2):
        await api.submit(overrides={"resources": {"memory_gib": 5}})
    both = [{**CPU, "name": name} for name in ("cpu-0", "cpu-1")]
    (lease,) = (await api.lease(both[:1], all_slots=both))["leases"]
    running = [{name: lease[name] for name in ("job", "attempt", "slot")}]
    assert (await api.lease(both[1:], all_slots=both, holding=running))["leases"] == []


async def test_what_a_run_holds_beyond_its_promise_is_not_given_again(api: Api) -> None:
    for asked in (1, 5):
        await api.submit(overrides={"resources": {"memory_gib": asked}})
    both = [{**CPU, "name": name, "node_bytes": 8 << 30} for name in ("cpu-0", "cpu-1")]
    (lease,) = (await api.lease(both[:1], all_slots=both))["leases"]
    running = [{name: lease[name] for name in ("job", "attempt", "slot")}]
    left = [{**slot, "memory_bytes": 4 << 30} for slot in both]
    assert (await api.lease(left[1:], all_slots=left, holding=running))["leases"] == []


async def test_a_request_without_work_is_answered_as_soon_as_a_job_comes(api: Api) -> None:
    waiting = asyncio.create_task(api.lease(wait_s=20))
    await asyncio.sleep(0.2)  # let it wait; were it not waiting yet, the test would pass all the same
    started = time.monotonic()
    job = await api.submit()
    assert [lease["job"] for lease in (await waiting)["leases"]] == [job]
    assert time.monotonic() - started < 2


async def test_two_clusters_never_get_the_same_job(api: Api) -> None:
    jobs = {await api.submit() for _ in range(6)}
    slots = [{**CPU, "name": f"cpu-{n}", "node": f"n{n}"} for n in range(3)]
    answers = await asyncio.gather(*(api.lease(slots, cluster=f"d{n}") for n in range(3)))
    taken = [lease["job"] for answer in answers for lease in answer["leases"]]
    assert len(taken) == len(set(taken))
    assert set(taken) <= jobs


async def test_a_later_request_of_a_dispatcher_takes_the_place_of_the_earlier_one(api: Api) -> None:
    earlier = asyncio.create_task(api.lease(wait_s=20))
    await asyncio.sleep(0.2)
    later = asyncio.create_task(api.lease(wait_s=20))
    await asyncio.sleep(0.2)
    job = await api.submit()
    assert [lease["job"] for lease in (await later)["leases"]] == [job]
    assert (await earlier)["leases"] == []


async def test_a_lease_whose_answer_got_lost_is_given_again_and_uses_up_no_attempt(api: Api) -> None:
    job = await api.submit(max_attempts=1)
    await api.lease()
    await age_attempts(api, job)
    (lease,) = (await api.lease())["leases"]
    assert (lease["job"], lease["attempt"]) == (job, 2)
    assert (await api.job(job))["failures"] == 0


async def test_a_slot_gets_no_second_lease_while_the_answer_with_the_first_is_on_its_way(api: Api) -> None:
    first, second = await api.submit(), await api.submit()
    assert [lease["job"] for lease in (await api.lease())["leases"]] == [first]
    assert (await api.lease())["leases"] == []
    other = {**CPU, "name": "cpu-1"}
    assert [lease["job"] for lease in (await api.lease([CPU, other]))["leases"]] == [second]


async def test_an_attempt_that_its_cluster_holds_is_not_given_up(api: Api) -> None:
    job = await api.submit()
    await api.lease()
    await age_attempts(api, job)
    held = {"job": job, "attempt": 1, "slot": "cpu-0"}
    assert await api.lease(holding=[held]) == {"leases": [], "lost": [], "look_for": [], "lease_s": 60.0}
    assert (await api.job(job))["state"] == "starting"


async def test_what_ran_in_a_slot_that_is_gone_goes_on_elsewhere_without_waiting_for_its_lease(api: Api) -> None:
    """As after a start of Ray, whose nodes then have other names."""
    job = await api.submit()
    await api.take()
    await api.report(job, 1, log())
    renamed = {**CPU, "name": "other-0"}
    assert (await api.lease([renamed]))["leases"] == [], "it may only be late"
    await age_attempts(api, job)
    held = {"job": job, "attempt": 1, "slot": "cpu-0"}
    assert (await api.lease([renamed], holding=[held]))["leases"] == [], "an actor may be held that asks for nothing"
    (lease,) = (await api.lease([renamed]))["leases"]
    assert (lease["job"], lease["attempt"]) == (job, 2)


async def test_a_lease_that_a_dispatcher_could_not_start_goes_to_another_slot_and_uses_up_no_attempt(api: Api) -> None:
    """Its actor cannot be made: the slot asks for nothing more, and says why."""
    job = await api.submit(max_attempts=1)
    await api.take()
    await age_attempts(api, job)
    broken, other = {**CPU, "trouble": "its actor failed"}, {**CPU, "name": "cpu-1"}
    (lease,) = (await api.lease([other], all_slots=[broken, other]))["leases"]
    assert (lease["job"], lease["attempt"]) == (job, 2)
    assert (await api.job(job))["failures"] == 0


async def test_a_dispatcher_is_told_which_of_its_attempts_are_over(api: Api) -> None:
    job = await api.submit()
    await api.lease()
    await api.expire(job)
    await api.moved_to(job, "queued")
    held = {"job": job, "attempt": 1, "slot": "cpu-0"}
    answer = await api.lease([], holding=[held], all_slots=[CPU], wait_s=20)
    assert answer["lost"] == [held]


async def test_a_lost_attempt_is_followed_by_one_that_continues_it_until_none_is_left(api: Api) -> None:
    job = await api.submit(max_attempts=2)
    await api.take()
    await api.report(job, 1, log())
    await api.expire(job)
    await api.moved_to(job, "queued")

    (lease,) = (await api.lease())["leases"]
    assert lease["attempt"] == 2
    assert lease["resume_from"] == [f"{api.storage}/jobs/{job}/1"]
    await api.report(job, 2, log())
    await api.expire(job)
    await api.moved_to(job, "failed")
    ended = await api.job(job)
    assert (ended["reason"], ended["attempt"], ended["failures"]) == ("lost", 2, 2)


async def test_what_an_attempt_says_after_it_was_lost_is_refused(api: Api) -> None:
    job = await api.submit()
    await api.take()
    await api.report(job, 1, log())
    await api.expire(job)
    await api.moved_to(job, "queued")
    for events in ([], [numbered(1)], [numbered(2)]):
        refused = await api.send(job, 1, events)
        assert refused.status_code == 409
        assert refused.json()["type"] == "/problems/lease-fenced"
    await api.take()
    assert (await api.send(job, 1, [numbered(2)])).status_code == 409
    assert (await api.send(job, 2, [numbered(1)])).status_code == 200


async def test_a_report_renews_the_lease(api: Api) -> None:
    job = await api.submit()
    await api.take()
    await age_attempts(api, job)
    await api.sql("UPDATE jobs SET lease_expires_at = now() + interval '1 second' WHERE id = %s", job)
    await api.report(job, 1)
    left = await api.sql("SELECT lease_expires_at > now() + interval '50 seconds' FROM jobs WHERE id = %s", job)
    assert left == [(True,)]


async def test_a_repeated_report_is_stored_once(api: Api) -> None:
    job = await api.submit()
    await api.take()
    for _ in range(2):
        answer = await api.send(job, 1, [numbered(1), numbered(2)])
        assert answer.json() == {"acknowledged": 2, "directive": "continue"}
    answer = await api.send(job, 1, [numbered(2), numbered(3)])
    assert answer.json()["acknowledged"] == 3
    events = (await api.get(f"/v1/jobs/{job}/events"))["data"]
    assert [e["seq"] for e in events if e["seq"]] == [1, 2, 3]


async def test_a_gap_between_reports_is_refused_with_what_is_stored(api: Api) -> None:
    job = await api.submit()
    await api.take()
    await api.send(job, 1, [numbered(1)])
    refused = await api.send(job, 1, [numbered(3)])
    assert refused.status_code == 409
    assert (refused.json()["type"], refused.json()["acknowledged"]) == ("/problems/report-gap", 1)


async def test_the_last_report_can_be_repeated_when_its_answer_got_lost(api: Api) -> None:
    job = await api.submit()
    await api.take()
    last = numbered(1) | {"type": "end", "data": {"reason": "succeeded", "message": "", "result": result()}}
    for _ in range(2):
        answer = await api.send(job, 1, [last])
        assert answer.status_code == 200
        assert answer.json()["acknowledged"] == 1
    assert (await api.send(job, 1, [numbered(2)])).status_code == 409
    moves = [e["data"].get("state") for e in (await api.get(f"/v1/jobs/{job}/events"))["data"] if e["type"] == "state"]
    assert moves.count("succeeded") == 1


async def test_a_crash_is_tried_again_and_an_absurd_learning_rate_is_not(api: Api) -> None:
    job = await api.submit()
    await api.take()
    await api.end(job, 1, "crashed", message="RuntimeError: boom")
    assert (await api.job(job))["state"] == "queued"
    await api.take()
    await api.end(job, 2, "nan", message="the loss became NaN at step 3")
    ended = await api.job(job)
    assert (ended["state"], ended["reason"]) == ("failed", "nan")
    assert ended["message"] == "the loss became NaN at step 3"


async def test_a_result_that_cannot_be_read_counts_as_a_crash(api: Api) -> None:
    job = await api.submit(max_attempts=1)
    await api.take()
    await api.end(job, 1, "succeeded", result={"metrics": "none"})
    ended = await api.job(job)
    assert (ended["state"], ended["reason"]) == ("failed", "crashed")


async def test_a_job_that_ran_longer_than_it_may_is_stopped_as_timed_out(api: Api) -> None:
    job = await api.submit(max_runtime_s=100)
    (lease,) = (await api.lease())["leases"]
    assert lease["max_runtime_s"] == 100
    assert (await api.report(job, 1, log()))["directive"] == "continue"
    await api.sql("UPDATE attempts SET started_at = now() - interval '2 minutes' WHERE job = %s", job)
    assert (await api.report(job, 1))["directive"] == "stop"
    await api.end(job, 1, "cancelled")
    assert (await api.job(job))["reason"] == "timed_out"


async def test_a_queued_job_says_what_it_waits_for(api: Api) -> None:
    job = await api.submit(overrides={"resources": {"device": "cuda"}})
    assert "none has connected" in (await api.job(job))["waiting_for"]
    await api.lease([CPU])
    assert "device cuda: workers seen so far have cpu only" in (await api.job(job))["waiting_for"]
    await api.lease([], all_slots=[{**GPU, "memory_bytes": 1 << 20}], cluster="d2")
    assert "GiB" in (await api.job(job))["waiting_for"]
    await api.lease([], all_slots=[GPU], cluster="d2")
    assert (await api.job(job))["waiting_for"] == "a free slot"
    await api.sql("UPDATE clusters SET seen_at = now() - interval '1 hour'")
    assert "none was heard of since" in (await api.job(job))["waiting_for"]


async def test_a_user_s_key_leases_nothing(api: Api) -> None:
    async with api.database.transaction() as session:
        user = await create_key(session, Role.USER, "grace")
    refused = await api.call("POST", "/v1/leases", json={}, key=user)
    assert refused.status_code == 403


def numbered(seq: int) -> dict[str, Any]:
    return {"seq": seq, "at": "2026-01-01T00:00:00Z", "type": "log", "data": {"level": "info", "message": "x"}}


async def age_attempts(api: Api, job: str) -> None:
    await api.sql("UPDATE attempts SET renewed_at = now() - interval '6 seconds' WHERE job = %s", job)


async def test_what_a_cluster_that_is_gone_had_is_not_waited_for_while_another_is_there(api: Api) -> None:
    job = await api.submit(overrides={"resources": {"device": "cuda"}})
    await api.lease([], all_slots=[GPU], cluster="south")
    await api.lease([], all_slots=[CPU])
    assert (await api.job(job))["waiting_for"] == "a free slot"
    await api.sql("UPDATE clusters SET seen_at = now() - interval '30 days' WHERE name = 'south'")
    assert "have cpu only" in (await api.job(job))["waiting_for"]


async def test_clusters_are_listed_with_what_runs_and_forgotten_when_they_are_gone(api: Api) -> None:
    job = await api.submit()
    await api.lease([CPU], all_slots=[CPU, {**CPU, "name": "cpu-1"}])
    (cluster,) = (await api.get("/v1/clusters"))["data"]
    assert (cluster["name"], cluster["there"]) == ("local", True)
    assert [(slot["name"], slot["job"]) for slot in cluster["slots"]] == [("cpu-0", job), ("cpu-1", None)]
    assert (await api.call("GET", "/v1/clusters", key=api.keys.user)).status_code == 403
    assert (await api.call("DELETE", "/v1/clusters/local")).status_code == 409, "it is there"
    await api.sql("UPDATE clusters SET seen_at = now() - interval '1 hour'")
    assert (await api.call("DELETE", "/v1/clusters/local")).status_code == 204
    assert (await api.call("DELETE", "/v1/clusters/local")).status_code == 404
    assert (await api.get("/v1/clusters"))["data"] == []
