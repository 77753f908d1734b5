"""Projects: made, listed, archived."""

import asyncio

import psycopg

from tests.service.api import SPEC, Api


async def test_a_project_is_made_and_takes_keys_and_jobs(api: Api) -> None:
    assert (await api.call("POST", "/v1/projects", json={"name": "vision"})).status_code == 201
    again = await api.call("POST", "/v1/projects", json={"name": "vision"})
    assert (again.status_code, "already" in again.json()["detail"]) == (409, True)
    key = (await api.call("POST", "/v1/keys", json={"name": "grace", "project": "vision"})).json()["secret"]
    job = await api.call("POST", "/v1/jobs", json={"spec": SPEC}, key=key)
    assert (job.json()["project"], job.json()["owner"]) == ("vision", "grace")
    assert [project["name"] for project in (await api.get("/v1/projects"))["data"]] == ["default", "vision"]
    assert [project["name"] for project in (await api.get("/v1/projects", key=key))["data"]] == ["vision"]
    assert (await api.call("GET", "/v1/projects/default", key=key)).status_code == 404


async def test_what_several_make_at_once_is_made_once_and_the_others_are_told(api: Api) -> None:
    answers = await asyncio.gather(*(api.call("POST", "/v1/projects", json={"name": "same"}) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5


async def test_a_suite_that_comes_while_its_project_is_archived_is_taken_before_or_refused(api: Api) -> None:
    suite = {"benchmark": "vtab-mini", "rows": ["Linear"], "tasks": ["digits"], "seeds": [0]}
    async with await psycopg.AsyncConnection.connect(api.database.url) as archiving:
        await archiving.execute("SELECT 1 FROM projects WHERE name = 'default' FOR UPDATE")
        await archiving.execute("UPDATE projects SET archived_at = now() WHERE name = 'default'")
        submitting = asyncio.create_task(api.call("POST", "/v1/suites", json=suite))
        async with asyncio.timeout(10):
            while not await api.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                await asyncio.sleep(0.01)
        await archiving.commit()
    assert (await submitting).status_code == 422
    assert (await api.get("/v1/jobs"))["data"] == []


async def test_an_archived_project_is_read_and_takes_nothing_new(api: Api) -> None:
    job = await api.submit()
    await api.act(job, "cancel")
    archived = (await api.call("POST", "/v1/projects/default/archive")).json()
    assert archived["archived_at"] is not None
    assert (await api.call("POST", "/v1/projects/default/archive")).json() == archived
    for path, body in (("/v1/jobs", {"spec": SPEC}), ("/v1/keys", {"name": "x"}), (f"/v1/jobs/{job}/retry", None)):
        refused = await api.call("POST", path, json=body)
        assert refused.status_code == 422, path
        assert "archived" in refused.json()["errors"][0]["message"]
    assert (await api.job(job))["state"] == "cancelled"
    assert (await api.call("POST", "/v1/projects/default/restore")).json()["archived_at"] is None
    await api.submit()


async def test_a_project_s_name_is_one_that_can_be_typed(api: Api) -> None:
    for name in ("", "-x", "a/b", "x" * 101, "a\x00b", 7, None):
        assert (await api.call("POST", "/v1/projects", json={"name": name})).status_code == 422, name
