"""Projects: made, listed, archived."""

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
