"""Uploads of data sets: in parts that may be sent again, checked by a worker, seen by their project alone."""

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI

from service.datasets.expiry import expire
from service.keys.roles import Role
from service.keys.secrets import create_key
from service.settings import Settings
from tests.service.api import Api
from tests.service.test_suites import current

CONTENT = bytes(range(256)) * 40
PART = 4_000


@pytest.fixture(autouse=True)
def small_parts(app: FastAPI, settings: Settings) -> Iterator[None]:
    app.state.settings = settings.model_copy(update={"max_report_bytes": PART})
    yield
    app.state.settings = settings


def announced(content: bytes = CONTENT, **more: Any) -> dict[str, Any]:
    return {"name": "photos", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **more}


async def announce(api: Api, content: bytes = CONTENT, **more: Any) -> dict[str, Any]:
    answer = await api.call("POST", "/v1/datasets", json=announced(content, **more))
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


async def put(api: Api, id: str, at: int, content: bytes = CONTENT, key: str | None = None) -> Any:
    path = f"/v1/datasets/{id}/parts/{at}"
    return await api.call("PUT", path, content=content[at : at + PART], key=key)


async def uploaded(api: Api) -> dict[str, Any]:
    made = await announce(api)
    for at in range(0, len(CONTENT), PART):
        assert (await put(api, made["id"], at)).status_code == 204
    answer = await api.call("POST", f"/v1/datasets/{made['id']}/complete")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_upload_is_checked_by_a_worker_and_then_ready(api: Api) -> None:
    made = await uploaded(api)
    assert (made["state"], made["received"]) == ("checking", len(CONTENT))
    (lease,) = (await api.lease())["leases"]
    assert lease["job"] == made["job"]
    assert lease["spec"]["task"]["dataset"] == "photos"
    assert (lease["upload"]["name"], lease["upload"]["sha256"]) == ("photos", made["sha256"])
    found = b"".join(open(part, "rb").read() for part in lease["upload"]["parts"])  # noqa: SIM115
    assert found == CONTENT
    said = current(0.1)
    said["data"] = {"classes": 2, "images": {"train": 8, "test": 2}}
    await api.end(lease["job"], lease["attempt"], "succeeded", result=said)
    ready = await api.get(f"/v1/datasets/{made['id']}")
    assert (ready["state"], ready["data"]["images"]) == ("ready", {"train": 8, "test": 2})
    assert [each["id"] for each in (await api.get("/v1/datasets"))["data"]] == [made["id"]]


async def test_an_upload_that_was_interrupted_goes_on_where_it_was(api: Api) -> None:
    made = await announce(api)
    assert (made["part_bytes"], made["received"], made["state"]) == (PART, 0, "receiving")
    await put(api, made["id"], 2 * PART)
    assert (await announce(api))["received"] == 0, "there is a gap before it"
    await put(api, made["id"], 0)
    await put(api, made["id"], 0)
    again = await announce(api)
    assert (again["id"], again["received"]) == (made["id"], PART)
    early = await api.call("POST", f"/v1/datasets/{made['id']}/complete")
    assert early.status_code == 409
    assert f"send the part at {PART:,}" in early.json()["detail"]
    await put(api, made["id"], PART)
    done = await api.call("POST", f"/v1/datasets/{made['id']}/complete")
    assert done.json()["state"] == "checking"
    twice = await api.call("POST", f"/v1/datasets/{made['id']}/complete")
    assert twice.json()["job"] == done.json()["job"], "and is checked once"
    assert (await put(api, made["id"], 0)).status_code == 409


@pytest.mark.parametrize(
    ("at", "content", "says"),
    [
        (1, CONTENT[:PART], "must be a multiple of 4,000 below 10,240"),
        (3 * PART, b"x", "must be a multiple of 4,000 below 10,240"),
        (0, CONTENT[: PART - 1], "the part at 0 has 4,000 bytes, and 3,999 were sent"),
        (2 * PART, CONTENT[:PART], "the part at 8,000 has 2,240 bytes, and 4,000 were sent"),
        (0, b"", "and 0 were sent"),
    ],
)
async def test_a_part_that_does_not_fit_is_refused(api: Api, at: int, content: bytes, says: str) -> None:
    made = await announce(api)
    answer = await api.call("PUT", f"/v1/datasets/{made['id']}/parts/{at}", content=content)
    assert answer.status_code == 422
    assert says in answer.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../x"),
        ("name", ""),
        ("name", "a b"),
        ("name", ".hidden"),
        ("bytes", 0),
        ("sha256", "x"),
        ("uri", "s3://x"),
    ],
)
async def test_an_announcement_with_a_fault_is_told_by_its_field(api: Api, field: str, value: Any) -> None:
    answer = await api.call("POST", "/v1/datasets", json=announced() | {field: value})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == f"/{field}"


async def test_a_name_is_taken_once_in_a_project_and_free_again_when_it_is_deleted(api: Api) -> None:
    made = await uploaded(api)
    other = await api.call("POST", "/v1/datasets", json=announced(b"other"))
    assert other.status_code == 422
    assert "has another data set 'photos'" in other.text
    assert (await api.call("DELETE", f"/v1/datasets/{made['id']}")).status_code == 204
    assert not list((api.storage / "datasets").glob(f"{made['id']}*"))
    assert (await announce(api, b"other"))["received"] == 0


async def test_a_project_has_no_room_for_more_than_it_may_store(api: Api) -> None:
    answer = await api.call("POST", "/v1/datasets", json=announced(bytes=2 * 10**12))
    assert answer.status_code == 429
    assert "may store 1,000,000,000,000 bytes and has 0" in answer.json()["detail"]


async def test_data_sets_are_seen_and_used_by_their_project_alone(api: Api) -> None:
    made = await uploaded(api)
    await api.lease()
    await api.call("POST", "/v1/projects", json={"name": "others"})
    async with api.database.transaction() as session:
        stranger = await create_key(session, Role.USER, "eve", project="others")
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/complete"), ("PUT", "/parts/0")):
        answer = await api.call(method, f"/v1/datasets/{made['id']}{path}", key=stranger)
        assert answer.status_code == 404, (method, path)
    assert (await api.get("/v1/datasets", key=stranger))["data"] == []
    spec = {"task": {"name": "x", "source": "uploaded", "dataset": "photos"}, "method": {"name": "linear"}}
    refused = await api.call("POST", "/v1/jobs", json={"spec": spec}, key=stranger)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/spec/task/dataset"
    assert "project others has no data set 'photos'" in refused.text
    suite = {"tasks": [spec["task"]], "rows": [{"spec": {"method": {"name": "linear"}}}]}
    assert (await api.call("POST", "/v1/suites", json=suite, key=stranger)).status_code == 422
    other = await announce(api, project="others", name="photos")  # by an admin, whose project it is not
    assert other["id"] != made["id"]
    await api.sql("UPDATE datasets SET completed_at = now() WHERE id = %s", other["id"])
    assert (await api.call("POST", "/v1/jobs", json={"spec": spec}, key=stranger)).status_code == 202
    await api.call("DELETE", f"/v1/datasets/{other['id']}", key=stranger)
    free = {"name": "cpu-9", "device": "cpu", "memory_bytes": 8 << 30, "node": "n9"}
    (lease,) = (await api.lease([free], all_slots=[free], cluster="far"))["leases"]
    assert lease["upload"] is None, "no way of asking gives another project's files"


async def test_a_job_names_a_data_set_and_a_misspelt_one_is_told(api: Api) -> None:
    await uploaded(api)
    spec = {"task": {"name": "x", "source": "uploaded", "dataset": "photo"}, "method": {"name": "linear"}}
    answer = await api.call("POST", "/v1/jobs", json={"spec": spec})
    assert "did you mean 'photos'" in answer.text
    spec["task"]["dataset"] = "photos"
    assert (await api.call("POST", "/v1/jobs", json={"spec": spec})).status_code == 202


async def test_a_check_that_failed_says_why(api: Api) -> None:
    made = await uploaded(api)
    job, attempt = await api.take()
    await api.end(job, attempt, "data_corrupt", message="cat/1.jpg: is a link")
    found = await api.get(f"/v1/datasets/{made['id']}")
    assert (found["state"], found["message"]) == ("failed", "cat/1.jpg: is a link")


def suite_on(dataset: str, **more: Any) -> dict[str, Any]:
    task = {"name": "mine", "source": "uploaded", "dataset": dataset}
    return {"tasks": [task], "rows": [{"spec": {"method": {"name": "linear"}}}], **more}


def study_on(dataset: str) -> dict[str, Any]:
    spec = {"task": {"name": "x", "source": "uploaded", "dataset": dataset}, "method": {"name": "linear"}}
    return {"spec": spec, "space": {"optimizer.lr": {"choice": [0.1, 0.01]}}}


async def checked(api: Api, images: dict[str, int], **more: Any) -> dict[str, Any]:
    """An upload whose check has found so many images."""
    made = await uploaded(api)
    job, attempt = await api.take()
    said = current(0.1)
    said["data"] = {"classes": 2, "images": images, **more}
    await api.end(job, attempt, "succeeded", result=said)
    return made


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs?validate_only=true"])
async def test_a_job_is_told_at_once_of_a_data_set_that_is_not_there(api: Api, path: str) -> None:
    spec = {"task": {"name": "x", "source": "uploaded", "dataset": "photo"}, "method": {"name": "linear"}}
    answer = await api.call("POST", path, json={"spec": spec})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/spec/task/dataset"


@pytest.mark.parametrize("query", ["", "?validate_only=true"])
async def test_suites_and_studies_are_told_at_once_of_a_data_set_that_is_not_there(api: Api, query: str) -> None:
    await uploaded(api)
    for path, body, pointer in (
        ("/v1/suites", suite_on("photo"), "/tasks/0/dataset"),
        ("/v1/studies", study_on("photo"), "/spec/task/dataset"),
    ):
        answer = await api.call("POST", f"{path}{query}", json=body)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["pointer"] == pointer
        assert "did you mean 'photos'" in answer.text
        assert (await api.get(path))["data"] == []
    assert len((await api.get("/v1/jobs"))["data"]) == 1, "the check alone"


async def test_what_is_not_whole_yet_cannot_be_named(api: Api) -> None:
    await announce(api)
    for path, body in (("/v1/suites", suite_on("photos")), ("/v1/studies", study_on("photos"))):
        answer = await api.call("POST", path, json=body)
        assert answer.status_code == 422
        assert "has no data set 'photos'" in answer.text


async def test_a_data_set_that_its_check_found_unusable_is_refused_with_what_it_found(api: Api) -> None:
    await uploaded(api)
    job, attempt = await api.take()
    await api.end(job, attempt, "data_corrupt", message="cat/1.jpg: is a link")
    spec = study_on("photos")["spec"]
    for path, body in (
        ("/v1/jobs", {"spec": spec}),
        ("/v1/suites", suite_on("photos")),
        ("/v1/studies", study_on("photos")),
    ):
        answer = await api.call("POST", path, json=body)
        assert answer.status_code == 422, path
        assert "as its check found: cat/1.jpg: is a link; delete it and upload it mended" in answer.text


async def test_a_check_that_failed_for_another_reason_keeps_nobody_from_trying(api: Api) -> None:
    await uploaded(api)
    job, attempt = await api.take()
    await api.end(job, attempt, "crashed", message="boom")
    assert (await api.call("POST", "/v1/jobs", json={"spec": study_on("photos")["spec"]})).status_code == 202


async def test_jobs_suites_and_studies_are_planned_with_the_images_that_the_check_counted(api: Api) -> None:
    await checked(api, {"train": 80_000, "test": 20_000})
    spec = study_on("photos")["spec"]
    job = (await api.call("POST", "/v1/jobs", json={"spec": spec})).json()
    assert job["spec"]["resources"]["images"] == {"train": 80_000, "test": 20_000}
    search = spec | {"task": spec["task"] | {"phase": "search"}}
    found = (await api.call("POST", "/v1/jobs", json={"spec": search})).json()
    assert found["spec"]["resources"]["images"] == {"train": 64_000, "val": 16_000}
    own = (await api.call("POST", "/v1/jobs", json={"spec": spec | {"resources": {"images": {"train": 5}}}})).json()
    assert own["spec"]["resources"]["images"] == {"train": 5}, "what is said is left"
    said = (await api.call("POST", "/v1/jobs?validate_only=true", json={"spec": spec})).json()
    few = (await api.call("POST", "/v1/jobs?validate_only=true", json={"spec": own["spec"]})).json()
    assert said["estimate"]["memory_bytes"] > few["estimate"]["memory_bytes"] + 2**30
    suite = (await api.call("POST", "/v1/suites", json=suite_on("photos", seeds=[5]))).json()
    (of_suite,) = (await api.get(f"/v1/jobs?suite={suite['id']}"))["data"]
    assert (await api.get(f"/v1/jobs/{of_suite['id']}"))["spec"]["resources"]["images"]["train"] == 80_000
    study = (await api.call("POST", "/v1/studies", json=study_on("photos"))).json()
    (request,) = await api.sql("SELECT request FROM studies WHERE id = %s", study["id"])
    assert request[0]["overrides"]["resources"]["images"] == {"train": 80_000, "val": 16_000, "test": 20_000}


async def test_an_upload_that_nobody_goes_on_with_expires(api: Api, settings: Settings) -> None:
    half = await announce(api)
    await put(api, half["id"], 0)
    whole = await announce(api, b"other", name="whole")
    await api.call("PUT", f"/v1/datasets/{whole['id']}/parts/0", content=b"other")
    await api.call("POST", f"/v1/datasets/{whole['id']}/complete")
    await api.sql("UPDATE datasets SET touched_at = now() - interval '8 days', created_at = now() - interval '9 days'")
    assert await expire(api.database, str(api.storage), 9 * 86_400.0) == 0
    await put(api, half["id"], PART)
    assert await expire(api.database, str(api.storage), 7 * 86_400.0) == 0, "somebody went on"
    await api.sql("UPDATE datasets SET touched_at = now() - interval '8 days'")
    assert await expire(api.database, str(api.storage), 7 * 86_400.0) == 1
    assert [each["name"] for each in (await api.get("/v1/datasets"))["data"]] == ["whole"]
    assert not (api.storage / "datasets" / half["id"]).exists()
    assert (await put(api, half["id"], 0)).status_code == 404
    assert (await announce(api))["received"] == 0, "its name is free"
    assert (await api.get("/v1/limits"))["keep_uploads_s"] == 7 * 86_400


async def test_a_job_whose_data_set_is_deleted_while_it_waits_is_given_none(api: Api) -> None:
    made = await checked(api, {"train": 8, "test": 2})
    job = (await api.call("POST", "/v1/jobs", json={"spec": study_on("photos")["spec"]})).json()
    assert (await api.call("DELETE", f"/v1/datasets/{made['id']}")).status_code == 204
    (lease,) = (await api.lease())["leases"]
    assert (lease["job"], lease["upload"]) == (job["id"], None), "its run ends with data_missing, and says how to go on"


async def test_the_same_upload_twice_at_once_is_one(api: Api) -> None:
    answers = await asyncio.gather(*(api.call("POST", "/v1/datasets", json=announced()) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 201]
    (id,) = {answer.json()["id"] for answer in answers}
    parts = [put(api, id, at) for at in range(0, len(CONTENT), PART) for _ in range(3)]
    assert {answer.status_code for answer in await asyncio.gather(*parts)} == {204}
    ends = await asyncio.gather(*(api.call("POST", f"/v1/datasets/{id}/complete") for _ in range(5)))
    assert len({answer.json()["job"] for answer in ends}) == 1
    assert len((await api.get("/v1/jobs"))["data"]) == 1


async def test_a_part_that_comes_while_the_upload_is_deleted_leaves_nothing(api: Api) -> None:
    made = await announce(api)
    await asyncio.gather(put(api, made["id"], 0), api.call("DELETE", f"/v1/datasets/{made['id']}"))
    await put(api, made["id"], 0)
    assert not (api.storage / "datasets" / made["id"]).exists()
    assert (await api.get("/v1/datasets"))["data"] == []


async def test_a_suite_of_many_runs_on_an_upload_is_planned_as_quickly_as_another(api: Api) -> None:
    await checked(api, {"train": 800, "test": 200})
    body = suite_on("photos", seeds=list(range(100)))
    said = (await api.call("POST", "/v1/suites?validate_only=true", json=body)).json()
    assert said["new"] == 100
    suite = (await api.call("POST", "/v1/suites", json=body)).json()
    (specs,) = await api.sql("SELECT count(DISTINCT spec->'resources') FROM jobs WHERE suite = %s", suite["id"])
    assert specs == (1,)
