"""What is too much is refused with the limit and the cure, and nobody's number breaks anything."""

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.keys.roles import Role
from service.keys.secrets import create_key
from service.storage.upkeep import look_after
from tests.service.api import CPU, SPEC, Api, event, log

BIG = "x" * 1_100_000


async def limit(api: Api, **limits: Any) -> None:
    assert (await api.call("PATCH", "/v1/projects/default", json=limits)).status_code == 200


async def submit(api: Api, key: str | None = None, **request: Any) -> Any:
    return await api.call("POST", "/v1/jobs", json={"spec": SPEC, **request}, key=key or api.keys.user)


async def test_a_body_that_is_too_long_is_refused_whether_or_not_it_says_so(api: Api) -> None:
    body = json.dumps({"spec": SPEC, "name": BIG}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    for content in (body, pieces()):
        refused = await api.call("POST", "/v1/jobs", content=content, headers={"Content-Type": "application/json"})
        assert (refused.status_code, refused.json()["type"]) == (413, "/problems/too-large")
        assert "1,000,000 bytes" in refused.json()["detail"]
    assert (await api.get("/v1/jobs"))["data"] == []


async def test_of_a_stranger_s_body_next_to_nothing_is_read(api: Api) -> None:
    body = json.dumps({"spec": SPEC, "name": 2 * BIG}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    for path in ("/v1/jobs", "/v1/leases"):
        for content in (body, pieces()):
            headers = {"Content-Type": "application/json"}
            refused = await api.http.post(path, content=content, headers=headers)
            assert (refused.status_code, refused.json()["type"]) == (401, "/problems/unauthorized")
            assert refused.headers["WWW-Authenticate"] == "Bearer"


async def test_a_report_may_be_longer_than_a_submission(api: Api) -> None:
    await api.submit()
    job, attempt = await api.take()
    await api.report(job, attempt, *[log("x" * 100_000)] * 11)
    refused = await api.send(job, attempt, [event(12, "log", {"level": "info", "message": 8 * BIG})])
    assert (refused.status_code, "8,000,000 bytes" in refused.json()["detail"]) == (413, True)


async def test_a_cluster_may_say_of_many_data_whether_it_has_them(api: Api) -> None:
    paths = {f"/data/{n:04}/{'x' * 4_000}": True for n in range(500)}
    assert await api.lease(paths=paths) == {"leases": [], "lost": [], "look_for": [], "lease_s": 60.0}
    refused = await api.ask(paths={f"/data/{n:04}/{'x' * 4_000}": True for n in range(2_100)})
    assert (refused.status_code, "8,000,000 bytes" in refused.json()["detail"]) == (413, True)


async def test_texts_tags_and_filters_have_a_longest_length(api: Api) -> None:
    for request in (
        {"name": "x" * 201},
        {"row": "x" * 201},
        {"project": "x" * 201},
        {"tags": {f"key{n}": "" for n in range(51)}},
        {"tags": {"k" * 101: ""}},
        {"tags": {"k": "v" * 501}},
        {"spec": None, "recipe": {"name": "x" * 201, "row": "a", "task": "b"}},
    ):
        assert (await submit(api, **request)).status_code == 422, request
    job = await api.submit(tags={f"key{n}": "" for n in range(50)})
    many = {"tags": {f"key{n}": "" for n in range(51)}}
    refused = await api.call("PATCH", f"/v1/jobs/{job}", json=many)
    assert "at most 50 tags" in refused.json()["errors"][0]["message"]
    for query in ("search=" + "x" * 201, "owner=" + "x" * 201, "&".join(f"tag=t{n}" for n in range(21))):
        assert (await api.call("GET", f"/v1/jobs?{query}")).status_code == 422, query[:20]


ABSURD = ["Infinity", "-Infinity", "NaN", "1e309", "-1", "true", "false", '"5"', "1" + "0" * 400, "1e300", "[]", "{}"]


@pytest.mark.parametrize("field", ["max_runtime_s", "priority", "max_attempts", "seed"])
async def test_a_number_that_is_none_or_beyond_all_bounds_is_a_fault_of_its_field(api: Api, field: str) -> None:
    for value, query in itertools.product(ABSURD, ("", "?validate_only=true")):
        body = f'{{"spec": {json.dumps(SPEC)}, "{field}": {value}}}'
        headers = {"Content-Type": "application/json"}
        refused = await api.call("POST", f"/v1/jobs{query}", content=body, headers=headers)
        assert refused.status_code == 422, value
        assert refused.json()["errors"][0]["pointer"] == f"/{field}", value


@pytest.mark.parametrize("field", ["resources.memory_gib", "training.batch_size", "optimizer.lr", "training.epochs"])
async def test_no_number_of_a_spec_is_a_fault_of_the_service(api: Api, field: str) -> None:
    section, name = field.split(".")
    for value in ("Infinity", "1e309", "1e308", "1e300", "true", "1" + "0" * 400, "1" + "0" * 5000):
        spec = json.dumps(SPEC)[:-1] + f', "{section}": {{"{name}": {value}}}}}'
        headers = {"Content-Type": "application/json"}
        for query in ("", "?validate_only=true"):
            content = f'{{"spec": {spec}}}'
            refused = await api.call("POST", f"/v1/jobs{query}", content=content, headers=headers)
            assert refused.status_code == 422, refused.text


async def test_numbers_in_addresses_and_headers_break_nothing(api: Api) -> None:
    job = await api.submit()
    folder = api.storage / "jobs" / job / "1"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("hello")
    huge = "9" * 5000
    for path, status in (
        (f"/v1/jobs?limit={huge}", 422),
        (f"/v1/jobs/{job}?wait=nan", 422),
        (f"/v1/jobs/{job}?wait=1e309", 422),
        (f"/v1/jobs/{job}/events?after={huge}", 422),
        (f"/v1/jobs/{job}/events?after={2**70}", 422),
        (f"/v1/events?after={2**70}", 422),
        (f"/v1/audit?before={2**70}", 422),
    ):
        assert (await api.call("GET", path)).status_code == status, path[:40]
    for asked in (f"bytes=0-{huge}", f"bytes={huge}-", f"bytes=-{huge}", "bytes=٣-٤"):
        headers = {"Range": asked.encode()}
        answer = await api.call("GET", f"/v1/jobs/{job}/artifacts/1/a.txt", headers=headers)
        assert answer.status_code in (206, 416), asked[:20]
    for attempt in ("0", "-1", huge, str(2**40)):
        path = f"/v1/leases/{job}/{attempt}/reports"
        answer = await api.call("POST", path, json={"token": "x", "events": []}, key=api.keys.worker)
        assert answer.status_code == 422, attempt[:20]
    beat = {"part": "ray", "ok": True, "detail": "x" * 1001}
    assert (await api.call("POST", "/v1/heartbeats", json=beat, key=api.keys.worker)).status_code == 422


async def test_a_full_queue_is_told_with_when_to_come_again(api: Api) -> None:
    await limit(api, max_queued=2)
    for _ in range(2):
        await api.submit()
    refused = await submit(api)
    assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many")
    assert int(refused.headers["retry-after"]) > 0
    assert "2 jobs queued" in refused.json()["detail"]
    await api.take()
    assert (await submit(api)).status_code == 202


async def test_a_project_runs_no_more_than_it_may_and_others_go_on(api: Api) -> None:
    async with api.database.transaction() as session:
        theirs = await create_key(session, Role.USER, "grace", "vision")
    await limit(api, max_running=1)
    mine = [(await submit(api)).json()["id"] for _ in range(3)]
    other = (await submit(api, theirs)).json()["id"]
    slots = [{**CPU, "name": f"s{n}", "node": f"n{n}"} for n in range(4)]
    assert {lease["job"] for lease in (await api.lease(slots))["leases"]} == {mine[0], other}
    assert "1 running" in (await api.job(mine[1]))["waiting_for"]
    await api.end(mine[0], 1, "nan")
    assert [lease["job"] for lease in (await api.lease(slots[2:]))["leases"]] == [mine[1]]


async def test_users_cannot_pass_everybody_by_priority(api: Api) -> None:
    refused = await submit(api, priority=81)
    assert refused.json()["errors"][0]["pointer"] == "/priority"
    assert "at most 80" in refused.json()["errors"][0]["message"]
    job = (await submit(api, priority=80)).json()["id"]
    change = {"json": {"priority": 100}}
    assert (await api.call("PATCH", f"/v1/jobs/{job}", **change, key=api.keys.user)).status_code == 422
    assert (await api.call("PATCH", f"/v1/jobs/{job}", **change)).json()["priority"] == 100


@pytest.mark.parametrize("by", ["job", "suite"])
async def test_a_user_who_runs_a_job_again_does_not_inherit_what_an_admin_gave_it(api: Api, by: str) -> None:
    if by == "job":
        job = (await submit(api)).json()["id"]
        again = f"/v1/jobs/{job}/retry"
    else:
        asked = {"benchmark": "vtab-mini", "tasks": ["digits"], "rows": ["PACE"], "seeds": [0]}
        answer = await api.call("POST", "/v1/suites", json=asked, key=api.keys.user)
        assert answer.status_code == 202, answer.text
        suite = answer.json()["id"]
        ((job,),) = await api.sql("SELECT id FROM jobs")
        again = f"/v1/suites/{suite}/retry"
    await api.call("PATCH", f"/v1/jobs/{job}", json={"priority": 100})
    await api.act(job, "cancel")
    assert (await api.call("POST", again, key=api.keys.user)).status_code == 202
    assert await api.sql("SELECT priority FROM jobs WHERE retry_of = %s", job) == [(80,)]


async def test_a_job_that_does_not_say_for_how_long_gets_the_projects_longest(api: Api) -> None:
    assert (await submit(api)).json()["max_runtime_s"] == 7 * 86_400
    await limit(api, default_max_runtime_s=3600)
    assert (await submit(api)).json()["max_runtime_s"] == 3600
    assert (await submit(api, max_runtime_s=7200)).json()["max_runtime_s"] == 7200


async def test_a_project_that_stores_too_much_takes_no_more_jobs(api: Api) -> None:
    job = await api.submit()
    folder = api.storage / "jobs" / job / "1"
    folder.mkdir(parents=True)
    (folder / "adapter.safetensors").write_bytes(b"x" * 5000)
    await look_after(api.database, str(api.storage), 0)
    assert (await api.get("/v1/limits"))["project"]["stored_bytes"] == 5000
    await limit(api, max_stored_bytes=4999)
    refused = await submit(api)
    assert (refused.status_code, "5,000 bytes of at most 4,999" in refused.json()["detail"]) == (429, True)
    await limit(api, max_stored_bytes=None)
    assert (await submit(api)).status_code == 202


async def test_every_limit_is_told_before_it_is_met(api: Api) -> None:
    await limit(api, max_queued=7)
    await api.submit()
    said = await api.get("/v1/limits", key=api.keys.user)
    assert (said["max_body_bytes"], said["max_report_bytes"], said["max_tags"]) == (1_000_000, 8_000_000, 50)
    assert {name: said["project"][name] for name in ("project", "max_queued", "queued", "running")} == {
        "project": "default", "max_queued": 7, "queued": 1, "running": 0,
    }  # fmt: skip
    assert (await api.get("/v1/limits", key=api.keys.worker))["project"] is None
    assert (await api.call("PATCH", "/v1/projects/default", json={"max_queued": True})).status_code == 422
