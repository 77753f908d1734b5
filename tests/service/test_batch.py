"""The same done to many jobs at once."""

import pytest

from tests.service.api import Api


async def done(api: Api, verb: str, jobs: list[str], key: str | None = None) -> list[tuple[str, bool]]:
    answer = await api.call("POST", "/v1/jobs/batch", json={"verb": verb, "jobs": jobs}, key=key)
    assert answer.status_code == 200, answer.text
    return [(outcome["job"], outcome["done"]) for outcome in answer.json()["data"]]


async def test_each_job_is_done_by_itself(api: Api) -> None:
    ended = await api.submit()
    await api.finish()
    first, second = await api.submit(), await api.submit()
    outcomes = await done(api, "cancel", [first, ended, "job_nowhere", second, first])
    assert outcomes == [(first, True), (ended, False), ("job_nowhere", False), (second, True)]
    assert [(await api.job(job))["state"] for job in (first, ended, second)] == ["cancelled", "succeeded", "cancelled"]


async def test_the_verbs_are_those_of_one_job(api: Api) -> None:
    jobs = [await api.submit(seed=seed) for seed in range(3)]
    assert await done(api, "pause", jobs) == [(job, True) for job in jobs]
    assert await done(api, "delete", jobs) == [(job, False) for job in jobs]
    assert await done(api, "resume", jobs) == [(job, True) for job in jobs]
    await done(api, "cancel", jobs)
    assert await done(api, "retry", jobs) == [(job, True) for job in jobs]
    assert (await api.get("/v1/jobs/totals"))["states"] == {"cancelled": 3, "queued": 3}
    assert await done(api, "delete", jobs) == [(job, True) for job in jobs]
    assert (await api.get("/v1/jobs/totals"))["states"] == {"queued": 3}
    verbs = [entry["action"] for entry in (await api.get("/v1/audit?action=job"))["data"]]
    assert [verbs.count(f"job.{verb}") for verb in ("pause", "resume", "cancel", "delete")] == [3, 3, 3, 3]


async def test_nobody_reaches_the_jobs_of_others(api: Api) -> None:
    job = await api.submit()
    assert (await api.call("POST", "/v1/jobs/batch", json={"verb": "cancel", "jobs": [job]}, key=api.keys.reader)
            ).status_code == 403  # fmt: skip
    await api.call("POST", "/v1/projects", json={"name": "other"})
    stranger = await api.call("POST", "/v1/keys", json={"name": "eve", "project": "other"})
    assert await done(api, "cancel", [job], stranger.json()["secret"]) == [(job, False)]
    assert (await api.job(job))["state"] == "queued"


@pytest.mark.parametrize(
    "body", [{"verb": "explode", "jobs": ["job_1"]}, {"verb": "cancel", "jobs": []}, {"verb": "cancel"},
             {"verb": "cancel", "jobs": ["x"] * 201}, {"verb": "cancel", "jobs": "job_1"}]
)  # fmt: skip
async def test_what_is_no_batch_is_refused(api: Api, body: dict[str, object]) -> None:
    assert (await api.call("POST", "/v1/jobs/batch", json=body)).status_code == 422
