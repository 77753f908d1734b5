"""What is kept for a time only."""

from service.retention import forget, forget_events
from tests.service.api import SPEC, Api, log, numbered, result

DAY_S = 86_400.0


async def test_old_entries_of_the_audit_and_old_answers_are_forgotten(api: Api) -> None:
    for key in ("old", "new"):
        await api.call("POST", "/v1/jobs", json={"spec": SPEC}, headers={"Idempotency-Key": key})
    await api.sql("UPDATE audit SET at = now() - interval '101 days' WHERE id = (SELECT min(id) FROM audit)")
    await api.sql("UPDATE idempotency_keys SET created_at = now() - interval '49 hours' WHERE key = 'old'")
    await forget(api.database, 102 * DAY_S)
    assert len((await api.get("/v1/audit"))["data"]) == 2
    assert await api.sql("SELECT key FROM idempotency_keys") == [("new",)]
    await forget(api.database, 100 * DAY_S)
    assert len((await api.get("/v1/audit"))["data"]) == 1
    assert len((await api.get("/v1/jobs"))["data"]) == 2, "jobs are never forgotten by themselves"


async def test_log_lines_and_steps_of_jobs_that_ended_long_ago_are_forgotten_and_their_curves_are_not(api: Api) -> None:
    jobs: list[str] = []
    for _ in range(2):
        job = await api.submit()
        await api.take()
        measured = ("metrics", {"epoch": 1, "step": 1, "values": {"train/loss": 0.5}})
        await api.report(job, 1, log(), ("progress", {"step": 1, "steps": 1}), measured)
        await api.end(job, 1, "succeeded", result=result())
        jobs.append(job)
    await numbered(api)
    old, new = jobs
    await api.sql("UPDATE jobs SET ended_at = now() - interval '31 days' WHERE id = %s", old)
    await api.call("PUT", "/v1/cursors/mlflow", json={"position": 0}, key=api.keys.tracking)
    assert await forget_events(api.database, 30 * DAY_S) == 0, "who projects them has not read them yet"
    await api.call("PUT", "/v1/cursors/mlflow", json={"position": 1_000}, key=api.keys.tracking)
    assert await forget_events(api.database, 30 * DAY_S) == 2
    assert await forget_events(api.database, 30 * DAY_S) == 0

    types = [event["type"] for event in (await api.get(f"/v1/jobs/{old}/events"))["data"]]
    assert types == ["state", "state", "state", "metrics", "end", "state"]
    assert list((await api.get(f"/v1/jobs/{old}/metrics"))["data"]) == ["train/loss"]
    assert len((await api.get(f"/v1/jobs/{new}/events"))["data"]) == 8
    streamed = await api.call("GET", f"/v1/jobs/{old}/events/stream")
    assert streamed.text.rstrip().endswith('event: end\ndata: {"state": "succeeded", "reason": "succeeded"}')
