"""What is refused at submission, and how a submission can be repeated."""

import asyncio
import json
from typing import Any

import pytest

from service.keys.roles import Role
from service.keys.secrets import create_key
from tests.service.api import CPU, SPEC, Api


async def test_all_faults_come_at_once_each_with_its_pointer_and_cure(api: Api) -> None:
    spec = {
        "task": {"name": "vtab-mini/digitz"},
        "method": {"name": "linear"},
        "regularizer": {"name": "pace", "sigmaa": 1.0},
        "training": {"epochs": -1},
    }
    refused = await api.call("POST", "/v1/jobs", json={"spec": spec})
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["type"] == "/problems/invalid"
    faults = {fault["pointer"]: fault for fault in problem["errors"]}
    assert {"/spec/task/name", "/spec/regularizer/sigmaa", "/spec/training/epochs"} <= set(faults)
    assert "did you mean 'digits'" in faults["/spec/task/name"]["message"]
    assert (await api.get("/v1/jobs"))["data"] == []


async def test_a_regularizer_that_needs_what_the_method_does_not_give_is_refused(api: Api) -> None:
    spec = {**SPEC, "method": {"name": "linear"}, "regularizer": {"name": "pace"}}
    (fault,) = (await api.call("POST", "/v1/jobs", json={"spec": spec})).json()["errors"]
    assert fault["pointer"] == "/spec/regularizer/name"
    assert "lora_add" in fault["message"]


async def test_faults_of_the_request_itself_are_told_the_same_way(api: Api) -> None:
    refused = await api.call("POST", "/v1/jobs", json={"spec": SPEC, "priority": 101, "colour": "red"})
    faults = {fault["pointer"]: fault["code"] for fault in refused.json()["errors"]}
    assert faults == {"/priority": "out_of_range", "/colour": "unknown_key"}
    neither = await api.call("POST", "/v1/jobs", json={})
    assert neither.json()["errors"][0]["pointer"] == "/spec"


async def test_a_body_that_is_no_json_is_a_problem_document_too(api: Api) -> None:
    refused = await api.call("POST", "/v1/jobs", content=b'{"spec": ', headers={"Content-Type": "application/json"})
    assert refused.status_code == 422
    assert refused.json()["type"] == "/problems/invalid"
    (fault,) = refused.json()["errors"]
    assert (fault["pointer"], "not JSON" in fault["message"], "character 9" in fault["message"]) == ("", True, True)


@pytest.mark.parametrize("sent", [{"json": []}, {"json": "a"}, {"content": b'{"spec": {}}'}])
async def test_a_body_that_is_no_json_object_is_told_what_to_send(api: Api, sent: dict[str, Any]) -> None:
    (fault,) = (await api.call("POST", "/v1/jobs", **sent)).json()["errors"]
    assert fault["pointer"] == ""
    assert "JSON object" in fault["message"]
    assert "Content-Type: application/json" in fault["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {"spec": SPEC, "name": "a\x00b"}),
        ("", {"spec": SPEC, "tags": {"a": "\ud800"}}),
        ("", {"spec": {**SPEC, "optimizer": {"lr": float("nan")}}}),
        ("", {"spec": {**SPEC, "seed": 10**30}}),
        ("/job_%00", None),
        (f"/job_x/events?after={10**30}", None),
    ],
)
async def test_what_no_database_can_store_is_refused_and_is_no_bug(api: Api, path: str, body: Any) -> None:
    if body is None:
        answer = await api.call("GET", f"/v1/jobs{path}")
    else:
        json_type = {"Content-Type": "application/json"}
        answer = await api.call("POST", "/v1/jobs", content=json.dumps(body), headers=json_type)
    assert answer.status_code in (404, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_recipe_s_row_is_resolved_with_overrides_and_seed(api: Api) -> None:
    recipe = {"name": "vtab-mini", "row": "lora_add", "task": "digits"}
    job = await api.job(await api.submit(spec=None, recipe=recipe, overrides={"training": {"epochs": 1}}, seed=7))
    assert job["row"] == "LoRA_add"
    assert (job["spec"]["training"]["epochs"], job["seed"], job["spec"]["seed"]) == (1, 7, 7)
    assert job["spec"]["training"]["schedule"] == "step"


async def test_faults_in_a_recipe_and_its_overrides_point_where_they_were_written(api: Api) -> None:
    recipe = {"name": "vtab-mini", "row": "LoRA_add", "task": "digits"}
    wrong = await api.call("POST", "/v1/jobs", json={"recipe": {**recipe, "row": "LoRA_ad"}})
    assert wrong.json()["errors"][0]["pointer"] == "/recipe/row"
    body = {"recipe": recipe, "overrides": {"method": {"rank": 65}}}
    wrong = await api.call("POST", "/v1/jobs", json=body)
    (fault,) = wrong.json()["errors"]
    assert fault["pointer"] == "/overrides/method/rank"
    assert "use at most 64" in fault["message"]


async def test_a_row_without_a_label_is_called_by_method_and_regularizer(api: Api) -> None:
    assert (await api.job(await api.submit()))["row"] == "lora_add"
    job = await api.submit(overrides={"regularizer": {"name": "pace"}})
    assert (await api.job(job))["row"] == "lora_add + pace"


async def test_the_user_s_own_data_belongs_to_no_benchmark(api: Api) -> None:
    task = {"name": "my-flowers", "source": "image_folder", "path": "/data/flowers", "num_classes": 5}
    job = await api.job(await api.submit(spec={**SPEC, "task": task}))
    assert (job["benchmark"], job["task"]) == (None, "my-flowers")


async def test_validate_only_resolves_and_estimates_and_stores_nothing(api: Api) -> None:
    answer = await api.call("POST", "/v1/jobs?validate_only=true", json={"spec": SPEC})
    assert answer.status_code == 200
    checked = answer.json()
    assert checked["spec"]["training"]["batch_size"] == 16
    assert checked["spec"]["task"]["num_classes"] == 10
    assert checked["estimate"]["memory_bytes"] > 0
    assert "no" in checked["waiting_for"]
    assert (await api.get("/v1/jobs"))["data"] == []
    assert (await api.call("POST", "/v1/jobs?validate_only=true", json={"spec": {}})).status_code == 422


async def test_a_run_of_a_published_benchmark_says_where_it_departs_before_it_runs(api: Api) -> None:
    network = {"name": "vit_base_patch16_224.orig_in21k", "image_size": 224, "normalization": "weights"}
    spec = {"task": {"name": "vtab-1k/cifar100"}, "backbone": network, "method": {"name": "linear"}}
    body = {"spec": spec, "row": "Linear"}
    said = "not the benchmark's protocol: backbone.normalization is 'weights'; recipe vtab-1k-others says 'imagenet'"
    assert (await api.call("POST", "/v1/jobs?validate_only=true", json=body)).json()["notices"] == [said]
    job = (await api.call("POST", "/v1/jobs", json=body)).json()
    assert job["notices"] == [said]
    assert (await api.call("GET", f"/v1/jobs/{job['id']}")).json()["notices"] == [said]
    assert (await api.call("POST", "/v1/jobs", json={"spec": SPEC})).json()["notices"] == []


async def test_a_submission_sent_again_with_its_key_makes_no_second_job(api: Api) -> None:
    send = {"json": {"spec": SPEC}, "headers": {"Idempotency-Key": "k1"}}
    first = await api.call("POST", "/v1/jobs", **send)
    again = await api.call("POST", "/v1/jobs", **{**send, "headers": {"Idempotency-Key": "k1"}})
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Location"] == f"/v1/jobs/{first.json()['id']}"
    other = await api.call("POST", "/v1/jobs", json={"spec": SPEC, "seed": 1}, headers={"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert len((await api.get("/v1/jobs"))["data"]) == 1


async def test_the_same_submission_many_times_at_once_makes_one_job(api: Api) -> None:
    answers = await asyncio.gather(
        *(api.call("POST", "/v1/jobs", json={"spec": SPEC}, headers={"Idempotency-Key": "k"}) for _ in range(8))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len((await api.get("/v1/jobs"))["data"]) == 1


async def test_one_that_cannot_be_stored_takes_none_with_it_of_those_that_come_at_once(api: Api) -> None:
    names = [f"n{n}" for n in range(20)] + ["a\x00b"] + [f"m{n}" for n in range(20)]
    answers = await asyncio.gather(*(api.call("POST", "/v1/jobs", json={"spec": SPEC, "name": name}) for name in names))
    assert [answer.status_code for answer in answers] == [422 if "\x00" in name else 202 for name in names]
    jobs = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    assert {job["id"] for job in (await api.get("/v1/jobs?limit=200"))["data"]} == set(jobs)
    first_events = await api.sql("SELECT job FROM job_events WHERE number = 1")
    assert sorted(job for (job,) in first_events) == sorted(jobs)
    audited = await api.sql("SELECT target FROM audit WHERE action = 'job.submit'")
    assert sorted(job for (job,) in audited) == sorted(jobs)


async def test_a_submission_sent_again_gets_its_first_answer_whatever_has_changed_since(api: Api) -> None:
    send = {"json": {"spec": SPEC}, "headers": {"Idempotency-Key": "k1"}}
    first = await api.call("POST", "/v1/jobs", **{**send, "headers": {"Idempotency-Key": "k1"}})
    assert (await api.call("POST", "/v1/projects/default/archive")).status_code == 200
    assert (await api.call("POST", "/v1/jobs", json={"spec": SPEC})).status_code == 422
    again = await api.call("POST", "/v1/jobs", **send)
    assert (again.status_code, again.json()) == (202, first.json())


async def test_a_refused_submission_uses_up_no_idempotency_key(api: Api) -> None:
    bad = await api.call("POST", "/v1/jobs", json={"spec": {}}, headers={"Idempotency-Key": "k"})
    assert bad.status_code == 422
    good = await api.call("POST", "/v1/jobs", json={"spec": SPEC}, headers={"Idempotency-Key": "k"})
    assert good.status_code == 202


async def test_a_project_sees_its_own_jobs_only(api: Api) -> None:
    async with api.database.transaction() as session:
        theirs = await create_key(session, Role.USER, "grace", "vision")
    job = await api.submit()
    for path in (f"/v1/jobs/{job}", f"/v1/jobs/{job}/events", f"/v1/jobs/{job}/artifacts"):
        assert (await api.call("GET", path, key=theirs)).status_code == 404
    assert (await api.call("POST", f"/v1/jobs/{job}/cancel", key=theirs)).status_code == 404
    assert (await api.call("GET", "/v1/jobs", key=theirs)).json()["data"] == []
    refused = await api.call("POST", "/v1/jobs", json={"spec": SPEC, "project": "default"}, key=theirs)
    assert refused.json()["errors"][0]["pointer"] == "/project"
    other = await api.submit(project="vision")  # an admin may
    assert (await api.call("GET", f"/v1/jobs/{other}", key=theirs)).status_code == 200


async def test_without_a_valid_key_nothing_is_answered(api: Api) -> None:
    for headers in ({}, {"Authorization": "Bearer pace_wrong"}):
        refused = await api.http.get("/v1/jobs", headers=headers)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.json()["type"] == "/problems/unauthorized"
    assert (await api.call("POST", "/v1/jobs", json={"spec": SPEC}, key=api.keys.worker)).status_code == 403


async def test_every_problem_type_resolves_to_what_it_means(api: Api) -> None:
    refused = await api.call("GET", "/v1/jobs/job_none")
    meaning = await api.http.get(refused.json()["type"])
    assert meaning.json()["status"] == refused.status_code == 404


async def test_what_follows_from_a_spec_is_remembered_for_other_seeds_and_for_nothing_else(api: Api) -> None:
    async def submitted(**spec: Any) -> dict[str, Any]:
        answer = await api.call("POST", "/v1/jobs", json={"spec": {**SPEC, **spec}})
        assert answer.status_code == 202, answer.text
        return await api.get(f"/v1/jobs/{answer.json()['id']}")

    first, second = await submitted(seed=1), await submitted(seed=2)
    assert (first["spec"]["seed"], second["spec"]["seed"]) == (1, 2)
    assert {**second["spec"], "seed": 1} == first["spec"]
    large = await submitted(seed=1, resources={"memory_gib": 512})
    assert large["spec"]["resources"]["memory_gib"] == 512
    assert "512.0 GiB" in (await waits_for(api, large["id"]))
    assert "512" not in (await waits_for(api, second["id"]))


async def waits_for(api: Api, job: str) -> str:
    await api.lease([], all_slots=[CPU])
    return (await api.get(f"/v1/jobs/{job}"))["waiting_for"]
