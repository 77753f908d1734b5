"""Studies: what they ask for, how a driver walks through them, and what is kept when it is lost."""

from typing import Any

import pytest

from tests.service.api import Api
from tests.service.test_suites import current

SPEC = {
    "task": {"name": "vtab-mini/digits"},
    "method": {"name": "lora_add"},
    "regularizer": {"name": "pace"},
    "training": {"epochs": 9, "warmup_epochs": 3},
}
SPACE = {"regularizer.sigma": {"choice": [0.1, 0.5]}, "regularizer.lambda": {"choice": [0.02, 0.1]}}


async def submitted(api: Api, **more: Any) -> dict[str, Any]:
    answer = await api.call("POST", "/v1/studies", json={"spec": SPEC, "space": SPACE} | more)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def study_of(api: Api, study: dict[str, Any]) -> dict[str, Any]:
    return await api.get(f"/v1/studies/{study['id']}")


async def driver(api: Api, holding: list[str] | None = None) -> dict[str, Any] | None:
    """What a cluster's driver is given."""
    body = {"holding": holding or []}
    answer = await api.call("POST", "/v1/studies/drivers", json=body, key=api.keys.worker)
    assert answer.status_code == 200, answer.text
    return answer.json()["lease"]


async def say(api: Api, lease: dict[str, Any], verb: str, **body: Any) -> dict[str, Any]:
    path = f"/v1/studies/{lease['study']}/{verb}"
    answer = await api.call("POST", path, json={"token": lease["token"], **body}, key=api.keys.worker)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def rung(api: Api, lease: dict[str, Any], config: dict[str, Any], number: int = 0) -> dict[str, Any]:
    return await say(api, lease, "rungs", config=config, rung=number, wait_s=0)


async def finish(api: Api, *values: float) -> str:
    """Runs the waiting job; it evaluates so many times on validation images."""
    job, attempt = await api.take()
    said = current(values[-1])
    said["metrics"][0]["split"] = "val"
    evaluations = [
        ("metrics", {"epoch": epoch, "step": epoch, "values": {"val/accuracy": value}})
        for epoch, value in enumerate(values, start=1)
    ]
    await api.report(job, attempt, *evaluations)
    await api.end(job, attempt, "succeeded", result=said)
    return job


async def test_a_grid_is_walked_and_its_best_is_trained_on_all_and_tested_once_a_seed(api: Api) -> None:
    study = await submitted(api, seeds=[3, 4])
    assert (study["state"], study["trials"], study["rungs"]) == ("queued", 4, [9])
    lease = await driver(api)
    assert lease is not None
    for sigma, value in ((0.1, 0.5), (0.5, 0.7)):
        for weight in (0.02, 0.1):
            config = {"regularizer.sigma": sigma, "regularizer.lambda": weight}
            assert not (await rung(api, lease, config))["ended"]
            await finish(api, value + weight)
            assert (await rung(api, lease, config))["value"] == pytest.approx(value + weight)
    await say(api, lease, "end")
    done = await study_of(api, study)
    assert done["best"]["config"] == {"regularizer.sigma": 0.5, "regularizer.lambda": 0.1}
    assert done["importance"]["regularizer.sigma"] == pytest.approx(0.1**2 / (0.1**2 + 0.04**2))
    assert done["epochs_spent"] == 36
    assert done["state"] == "running"  # its final runs
    final = (await api.get(f"/v1/jobs?suite={done['suite']}"))["data"]
    assert sorted((job["seed"], job["phase"]) for job in final) == [(3, "final"), (4, "final")]
    assert {job["spec"]["regularizer"]["sigma"] for job in final} == {0.5}
    for _ in final:
        job, attempt = await api.take()
        await api.end(job, attempt, "succeeded", result=current(0.8))
    assert (await study_of(api, study))["state"] == "succeeded"


async def test_a_trial_is_measured_on_validation_images_by_the_mean_of_its_last_evaluations(api: Api) -> None:
    await submitted(api)
    lease = await driver(api)
    assert lease is not None
    config = {"regularizer.sigma": 0.1, "regularizer.lambda": 0.02}
    await rung(api, lease, config)
    job = await finish(api, 0.1, 0.5, 0.6, 0.7)
    assert (await rung(api, lease, config))["value"] == pytest.approx(0.6)
    assert (await api.job(job))["spec"]["task"]["phase"] == "search"


async def test_a_rung_is_a_whole_short_schedule(api: Api) -> None:
    study = await submitted(api, scheduler="asha")
    assert study["rungs"] == [1, 3, 9]
    lease = await driver(api)
    assert lease is not None
    config = {"regularizer.sigma": 0.1, "regularizer.lambda": 0.02}
    trainings = []
    for number in range(3):
        await rung(api, lease, config, number)
        trainings.append((await api.job(await finish(api, 0.5)))["spec"]["training"])
    assert [training["epochs"] for training in trainings] == [1, 3, 9]
    assert [training["warmup_epochs"] for training in trainings] == [pytest.approx(n / 3) for n in (1, 3, 9)]


async def test_a_lost_driver_s_trials_are_known_to_the_next_one_and_not_repeated(api: Api) -> None:
    study = await submitted(api, scheduler="asha")
    first = await driver(api)
    assert first is not None
    assert await driver(api, [study["id"]]) is None  # it is driven
    config = {"regularizer.sigma": 0.5, "regularizer.lambda": 0.02}
    await rung(api, first, config)
    await finish(api, 0.5)
    await rung(api, first, config)
    await say(api, first, "stopped", trial=0, rung=0)
    second = await driver(api)  # of the same cluster, which drives it no more
    assert second is not None
    assert second["known"] == [config]
    again = await rung(api, second, config)
    assert (again["ended"], again["stopped"], again["value"]) == (True, True, 0.5)
    assert len((await api.get("/v1/jobs"))["data"]) == 1
    body = {"token": first["token"], "config": config, "rung": 1}
    late = await api.call("POST", f"/v1/studies/{study['id']}/rungs", json=body, key=api.keys.worker)
    assert late.status_code == 409
    assert late.json()["type"] == "/problems/lease-fenced"


async def test_a_failed_trial_is_told_and_retried_alone(api: Api) -> None:
    study = await submitted(api, seeds=[])
    lease = await driver(api)
    assert lease is not None
    configs = [{"regularizer.sigma": sigma, "regularizer.lambda": 0.1} for sigma in (0.1, 0.5)]
    await rung(api, lease, configs[0])
    await finish(api, 0.5)
    await rung(api, lease, configs[0])
    await rung(api, lease, configs[1])
    await api.end(*await api.take(), "nan")
    assert (await rung(api, lease, configs[1]))["failed"].startswith("nan: The loss")
    await say(api, lease, "end")
    assert (await study_of(api, study))["counts"] == {"finished": 1, "failed": 1}
    await api.call("POST", f"/v1/studies/{study['id']}/retry")
    lease = await driver(api)
    assert lease is not None
    assert not (await rung(api, lease, configs[1]))["ended"]
    await finish(api, 0.9)
    assert (await rung(api, lease, configs[1]))["value"] == 0.9
    await say(api, lease, "end")
    assert (await study_of(api, study))["best"]["config"] == configs[1]


async def test_a_paused_study_begins_nothing_and_goes_on_where_it_was(api: Api) -> None:
    study = await submitted(api)
    lease = await driver(api)
    assert lease is not None
    config = {"regularizer.sigma": 0.1, "regularizer.lambda": 0.02}
    await rung(api, lease, config)
    await api.call("POST", f"/v1/studies/{study['id']}/pause")
    assert (await say(api, lease, "driver"))["directive"] == "stop"
    assert (await api.lease())["leases"] == []
    assert await driver(api) is None
    assert (await study_of(api, study))["state"] == "paused"
    await api.call("POST", f"/v1/studies/{study['id']}/resume")
    assert (await driver(api) or {})["known"] == [config]
    await finish(api, 0.5)


async def test_a_cancelled_study_ends_its_trials(api: Api) -> None:
    study = await submitted(api)
    lease = await driver(api)
    assert lease is not None
    await rung(api, lease, {"regularizer.sigma": 0.1, "regularizer.lambda": 0.02})
    await api.call("POST", f"/v1/studies/{study['id']}/cancel")
    assert (await study_of(api, study))["state"] == "cancelled"
    assert [job["state"] for job in (await api.get("/v1/jobs"))["data"]] == ["cancelled"]
    assert await driver(api) is None
    assert (await api.call("POST", f"/v1/studies/{study['id']}/extend", json={"trials": 1})).status_code == 409


async def test_a_wider_space_keeps_what_was_tried(api: Api) -> None:
    study = await submitted(api, seeds=[])
    lease = await driver(api)
    assert lease is not None
    config = {"regularizer.sigma": 0.1, "regularizer.lambda": 0.02}
    await rung(api, lease, config)
    await finish(api, 0.5)
    await rung(api, lease, config)
    await say(api, lease, "end")
    more = {"space": {"regularizer.sigma": {"choice": [0.1, 0.5, 1.0]}}}
    wider = (await api.call("POST", f"/v1/studies/{study['id']}/extend", json=more)).json()
    assert (wider["trials"], wider["state"]) == (6, "running")
    lease = await driver(api)
    assert lease is not None
    assert lease["known"] == [config]
    assert lease["trials"] == 6


@pytest.mark.parametrize(
    ("more", "pointer", "says"),
    [
        ({"space": {"regularizer.sigma": {"choice": [0.1]}}}, "/space/regularizer.sigma", "must hold 0.5"),
        ({"space": {"optimizer.lr": {"choice": [0.1]}}}, "/space/optimizer.lr", "not a field of the study's space"),
        ({"trials": 2}, "/trials", "a grid runs whole"),
    ],
)
async def test_what_was_tried_stays_in_the_space(api: Api, more: dict[str, Any], pointer: str, says: str) -> None:
    study = await submitted(api)
    lease = await driver(api)
    assert lease is not None
    await rung(api, lease, {"regularizer.sigma": 0.5, "regularizer.lambda": 0.02})
    answer = await api.call("POST", f"/v1/studies/{study['id']}/extend", json=more)
    assert answer.status_code == 422, answer.text
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert says in answer.json()["errors"][0]["message"]


async def test_a_study_that_is_extended_while_it_runs_goes_to_a_new_driver_at_once(api: Api) -> None:
    space = {"regularizer.sigma": {"uniform": [0.1, 0.5]}}
    study = await submitted(api, space=space, search="random", trials=3)
    first = await driver(api)
    assert first is not None
    await api.call("POST", f"/v1/studies/{study['id']}/extend", json={"trials": 2})
    second = await driver(api, [study["id"]])
    assert second is not None
    assert (first["trials"], second["trials"]) == (3, 5)
    body = {"token": first["token"]}
    late = await api.call("POST", f"/v1/studies/{study['id']}/end", json=body, key=api.keys.worker)
    assert late.status_code == 409


async def test_without_a_space_it_is_the_papers_grid(api: Api) -> None:
    study = await submitted(api, space={})
    assert study["trials"] == 30
    assert len(study["request"]["space"]["regularizer.lambda"]["choice"]) == 6


async def test_a_field_is_searched_only_where_its_condition_holds(api: Api) -> None:
    space = {
        "method.name": {"choice": ["lora_add", "linear"]},
        "method.rank": {"choice": [4, 8], "when": {"method.name": "lora_add"}},
    }
    spec = SPEC | {"regularizer": {"name": "none"}, "method": {"name": "lora_add"}}
    await submitted(api, spec=spec, space=space)
    lease = await driver(api)
    assert lease is not None
    for rank in (4, 8):
        answer = await rung(api, lease, {"method.name": "linear", "method.rank": rank})
        assert answer["trial"] == 0  # one point, since a linear probe has no rank
    assert len((await api.get("/v1/jobs"))["data"]) == 1


@pytest.mark.parametrize(
    ("wrong", "pointer", "says"),
    [
        ({"space": {"regularizer.sigma": {"uniform": [0, 1]}}}, "/space/regularizer.sigma", "made of choices"),
        ({"space": {"regularizer.sigma": {"uniform": [1, 0]}}}, "/space/regularizer.sigma", "lowest"),
        ({"space": {"regularizer.sigma": {"loguniform": [0, 1]}}}, "/space/regularizer.sigma", "above zero"),
        ({"space": {"regularizer.sigma": {}}}, "/space/regularizer.sigma", "give one of"),
        ({"space": {"regularizer.sigmo": {"choice": [1.0]}}}, "/space/regularizer/sigmo", "did you mean"),
        ({"space": {"nothing.here": {"choice": [1.0]}}}, "/space/nothing", "no section"),
        ({"space": {"sigma": {"choice": [1.0]}}}, "/space/sigma", "match"),
        ({"space": {"training.epochs": {"choice": [1, 2]}}}, "/space/training.epochs", "set by the study"),
        ({"space": {"task.phase": {"choice": ["final"]}}}, "/space/task.phase", "set by the study"),
        ({"space": {}, "spec": SPEC | {"regularizer": {"name": "none"}}}, "/space", "name the fields"),
        ({"spec": None}, "/spec", "either a spec or a recipe"),
        ({"trials": 0}, "/trials", "greater than or equal to 1"),
        ({"trials": 2}, "/trials", "a grid runs whole"),
        ({"search": "hyperband"}, "/search", "'grid', 'random' or 'tpe'"),
    ],
)
async def test_a_fault_is_told_with_its_place(api: Api, wrong: dict[str, Any], pointer: str, says: str) -> None:
    answer = await api.call("POST", "/v1/studies", json={"spec": SPEC, "space": SPACE} | wrong)
    assert answer.status_code == 422, answer.text
    faults = answer.json()["errors"]
    assert any(fault["pointer"].startswith(pointer) and says in fault["message"] for fault in faults), answer.text


async def test_the_test_images_are_closed_to_a_search(api: Api) -> None:
    await submitted(api, spec=SPEC | {"task": {"name": "vtab-mini/digits", "phase": "final"}})
    lease = await driver(api)
    assert lease is not None
    await rung(api, lease, {"regularizer.sigma": 0.1, "regularizer.lambda": 0.02})
    assert [job["phase"] for job in (await api.get("/v1/jobs"))["data"]] == ["search"]
    body = {"token": lease["token"], "config": {"task.phase": "final"}, "rung": 0}
    await api.call("POST", f"/v1/studies/{lease['study']}/rungs", json=body, key=api.keys.worker)
    assert {job["phase"] for job in (await api.get("/v1/jobs"))["data"]} == {"search"}


async def test_a_study_is_seen_by_its_project_alone_and_driven_by_workers_alone(api: Api) -> None:
    study = await submitted(api)
    await api.call("POST", "/v1/projects", json={"name": "other"})
    made = await api.call("POST", "/v1/keys", json={"name": "eve", "role": "user", "project": "other"})
    key = made.json()["secret"]
    for method, path in (("GET", ""), ("GET", "/trials"), ("POST", "/cancel"), ("POST", "/retry"), ("POST", "/pause")):
        assert (await api.call(method, f"/v1/studies/{study['id']}{path}", key=key)).status_code == 404, path
    assert (await api.call("POST", "/v1/studies/drivers", json={}, key=key)).status_code == 403
    assert (await api.get("/v1/studies", key=key))["data"] == []
