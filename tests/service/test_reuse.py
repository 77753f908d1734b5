"""A job that is asked for with `reuse`: what was done already is the answer."""

from typing import Any

import httpx2

from tests.service.api import SPEC, Api
from tests.service.test_suites import current


async def asked(api: Api, **more: Any) -> httpx2.Response:
    return await api.call("POST", "/v1/jobs", json={"spec": SPEC, "reuse": True} | more)


async def done(api: Api, **more: Any) -> str:
    """A job of that spec, run to its end."""
    job = await api.submit(**more)
    name, attempt = await api.take()
    assert name == job
    await api.end(job, attempt, "succeeded", result=current(0.5))
    return job


async def test_an_equal_job_that_is_done_is_the_answer_and_nothing_is_queued(api: Api) -> None:
    assert (await asked(api)).status_code == 202, "nothing is done yet"
    job, attempt = await api.take()
    assert (await asked(api, seed=5)).status_code == 202
    await api.end(job, attempt, "succeeded", result=current(0.5))
    answer = await asked(api)
    assert (answer.status_code, answer.json()["id"], answer.json()["state"]) == (200, job, "succeeded")
    assert len((await api.get("/v1/jobs"))["data"]) == 2
    check = await api.call("POST", "/v1/jobs?validate_only=true", json={"spec": SPEC})
    assert check.json()["done"] == job


async def test_another_run_is_queued(api: Api) -> None:
    await done(api)
    others: list[dict[str, Any]] = [
        {"seed": 1},
        {"row": "another label"},
        {"overrides": {"optimizer": {"lr": 0.5}}},
        {"reuse": False},
    ]
    for more in others:
        assert (await asked(api, **more)).status_code == 202, more


async def test_a_job_that_failed_or_ran_on_other_data_is_run_again(api: Api) -> None:
    job = await api.submit()
    await api.act(job, "cancel")
    assert (await asked(api, row="first")).status_code == 202
    first, attempt = await api.take()
    await api.end(first, attempt, "succeeded", result=current(0.5))
    second = await api.submit(seed=9, row="first")
    name, attempt = await api.take()
    said = current(0.5)
    said["provenance"]["data_hash"] = "the task's data have changed"
    await api.end(name, attempt, "succeeded", result=said)
    assert (await asked(api, row="first")).status_code == 202
    assert (await asked(api, row="first", seed=9)).json()["id"] == second


async def test_another_project_s_jobs_are_not_taken(api: Api) -> None:
    await done(api, project="default")
    await api.call("POST", "/v1/projects", json={"name": "elsewhere"}, key=api.keys.admin)
    answer = await api.call("POST", "/v1/jobs", json={"spec": SPEC, "reuse": True, "project": "elsewhere"})
    assert answer.status_code == 202, answer.text


async def test_what_is_done_already_is_answered_by_a_project_that_may_queue_nothing_more(api: Api) -> None:
    job = await done(api)
    await api.sql("UPDATE projects SET max_queued = 0, max_stored_bytes = 0")
    answer = await asked(api)
    assert (answer.status_code, answer.json()["id"]) == (200, job)
    for more in ({"reuse": False}, {"seed": 7}):
        refused = await asked(api, **more)
        assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many")
