"""The audit: who changed what, when, from where."""

from typing import Any

from tests.service.api import SPEC, Api


async def entries(api: Api, query: str = "") -> list[dict[str, Any]]:
    return (await api.get(f"/v1/audit{query}"))["data"]


async def test_every_change_of_a_job_names_who_asked_for_it(api: Api) -> None:
    job = (await api.call("POST", "/v1/jobs", json={"spec": SPEC}, key=api.keys.user)).json()["id"]
    await api.call("PATCH", f"/v1/jobs/{job}", json={"priority": 9}, key=api.keys.user)
    for verb in ("pause", "resume", "cancel"):
        await api.act(job, verb)
    again = (await api.act(job, "retry")).json()["id"]
    await api.call("DELETE", f"/v1/jobs/{job}", headers={"X-Request-Id": "cleaning-up"})
    said = await entries(api, f"?target={job}")
    assert [entry["action"] for entry in said][::-1] == [
        *("job.submit", "job.change", "job.pause", "job.resume", "job.cancel", "job.delete")
    ]
    changed, deleted = said[-2], said[0]
    assert (changed["actor"], changed["role"]) == ("ada", "user")
    assert changed["detail"] == {"was": {"priority": 50}, "now": {"priority": 9}}
    assert (deleted["role"], deleted["request"], deleted["address"]) == ("admin", "cleaning-up", "127.0.0.1")
    assert deleted["detail"]["state"] == "cancelled"
    assert (await entries(api, f"?target={again}"))[0]["detail"]["retry_of"] == job


async def test_what_was_refused_leaves_no_entry(api: Api) -> None:
    job = await api.submit()
    count = len(await entries(api))
    await api.call("POST", "/v1/jobs", json={"spec": {}})
    await api.call("DELETE", f"/v1/jobs/{job}")
    await api.call("POST", f"/v1/jobs/{job}/cancel", key=api.keys.reader)
    assert len(await entries(api)) == count


async def test_changes_of_keys_and_projects_are_found_by_noun_person_and_project(api: Api) -> None:
    await api.call("POST", "/v1/projects", json={"name": "vision"})
    key = (await api.call("POST", "/v1/keys", json={"name": "grace", "project": "vision"})).json()
    await api.call("POST", f"/v1/keys/{key['id']}/rotate", key=key["secret"])
    await api.call("DELETE", "/v1/keys?owner=grace")
    assert [entry["action"] for entry in await entries(api, "?action=key")] == [
        *("key.revoke", "key.revoke", "key.rotate", "key.create")
    ]
    assert [entry["action"] for entry in await entries(api, "?actor=grace")] == ["key.rotate"]
    assert len(await entries(api, "?action=key.revoke")) == 2
    assert {entry["action"] for entry in await entries(api, "?project=vision")} >= {"project.create", "key.create"}
    assert key["secret"] not in str(await entries(api))


async def test_the_audit_comes_in_pages(api: Api) -> None:
    jobs = [await api.submit() for _ in range(3)]
    first = await api.get("/v1/audit?limit=2")
    assert first["has_more"]
    second = await api.get(f"/v1/audit?limit=2&before={first['next_cursor']}")
    assert [entry["target"] for entry in first["data"] + second["data"]] == jobs[::-1]
    assert not second["has_more"]
