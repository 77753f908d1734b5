"""What a study may ask for: spaces, plans, faults, and who sees it."""

import asyncio
from typing import Any

import pytest

from tests.service.api import Api
from tests.service.studies import SPACE, SPEC, driver, rung, say, submitted, tried


async def test_a_driver_gets_no_jobs_for_what_the_study_was_not_submitted_to_try(api: Api) -> None:
    await submitted(api)
    lease = await driver(api)
    assert lease
    first = {"regularizer.sigma": 0.1, "regularizer.lambda": 0.02}
    for odd, why in (
        ({"training.epochs": 9_000}, "training.epochs"),
        ({"task.path": "/etc"}, "task.path"),
        ({"regularizer.sigma": 7.0}, "regularizer.sigma"),
        ({"regularizer.sigma": "0.1"}, "regularizer.sigma"),
    ):
        answer = await rung(api, lease, first | odd)
        assert answer["ended"]
        assert f"{why}: not in the study's space" in answer["failed"]
    assert await api.sql("SELECT count(*) FROM jobs") == [(0,)]
    assert not (await rung(api, lease, first))["ended"]
    assert await api.sql("SELECT count(*) FROM jobs") == [(1,)]


async def test_a_driver_begins_no_more_trials_than_the_study_has(api: Api) -> None:
    wide = {"regularizer.sigma": {"uniform": [0.1, 2.0]}}
    await submitted(api, space=wide, search="random", trials=2)
    lease = await driver(api)
    assert lease
    answers = [await rung(api, lease, {"regularizer.sigma": sigma}) for sigma in (0.2, 0.3, 0.4, 0.3)]
    assert [answer["ended"] for answer in answers] == [False, False, True, False]
    assert "all of its 2 trials" in answers[2]["failed"]


async def test_a_wider_space_keeps_what_was_tried(api: Api) -> None:
    study = await submitted(api, seeds=[])
    lease = await driver(api)
    assert lease is not None
    config = {"regularizer.sigma": 0.1, "regularizer.lambda": 0.02}
    await tried(api, lease, config, 0.5)
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
        ({"search": "hyperband"}, "/search", "'grid', 'random', 'tpe' or 'gp'"),
        ({"scheduler": "asha", "min_epochs": 10}, "/min_epochs", "the whole schedule has 9 epochs"),
        ({"rungs": "one_run"}, "/rungs", "without a scheduler there are no rungs"),
        ({"budget": {"epochs": 0}}, "/budget/epochs", "greater than or equal to 1"),
        ({"budget": {"hours": "inf"}}, "/budget/hours", "finite"),
        ({"metric": "test/accuracy"}, "/metric", "match"),
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


@pytest.mark.parametrize(
    ("epochs", "more", "rungs"),
    [
        (1, {}, [1]),
        (9, {}, [1, 3, 9]),
        (27, {}, [1, 3, 9, 27]),
        (100, {}, [3, 9, 27, 100]),  # 81 would cost nearly as much as 100
        (300, {}, [11, 33, 99, 300]),
        (9, {"reduction": 2}, [1, 2, 4, 9]),
        (9, {"min_epochs": 4}, [4, 9]),
        (9, {"min_epochs": 8}, [8, 9]),
        (9, {"min_epochs": 9}, [9]),
        (300, {"scheduler": "none"}, [300]),
    ],
)
async def test_the_first_rung_is_short_and_none_costs_more_than_it_saves(
    api: Api, epochs: int, more: dict[str, Any], rungs: list[int]
) -> None:
    spec = SPEC | {"training": {"epochs": epochs, "warmup_epochs": 0.1}}
    body = {"spec": spec, "space": SPACE, "scheduler": "asha", "seeds": [], **more}
    plan = await api.call("POST", "/v1/studies?validate_only=true", json=body)
    assert plan.json()["rungs"] == rungs
    study = await api.call("POST", "/v1/studies", json=body)
    assert study.json()["request"]["min_epochs"] == rungs[0]


async def test_a_plan_says_what_it_would_take_and_stores_nothing(api: Api) -> None:
    body = {"spec": SPEC, "space": SPACE, "scheduler": "asha", "seeds": [0, 1]}
    answer = await api.call("POST", "/v1/studies?validate_only=true", json=body)
    assert answer.status_code == 200, answer.text
    plan = answer.json()
    assert (plan["trials"], plan["rungs"], plan["final"]) == (4, [1, 3, 9], 2)
    assert plan["epochs"] == 4 * (1 + 3 / 3 + 9 / 9)  # one in three goes on
    assert plan["slot_minutes"] > 0
    assert "none has connected yet" in plan["waiting_for"]
    assert (await api.get("/v1/studies"))["data"] == []


async def test_a_driver_that_waits_for_a_rung_is_told_at_once_when_its_key_is_revoked(api: Api) -> None:
    await submitted(api)
    lease = await driver(api)
    assert lease
    config = {"regularizer.sigma": 0.1, "regularizer.lambda": 0.02}
    (worker,) = (await api.get("/v1/keys?role=worker"))["data"]
    await rung(api, lease, config)
    body = {"token": lease["token"], "config": config, "rung": 0, "wait_s": 20}
    path = f"/v1/studies/{lease['study']}/rungs"
    waiting = asyncio.create_task(api.call("POST", path, json=body, key=api.keys.worker))
    await asyncio.sleep(0.2)  # let it wait; were it not waiting yet, it would be refused all the same
    await api.call("DELETE", f"/v1/keys/{worker['id']}")
    async with asyncio.timeout(4):
        assert (await waiting).status_code == 401


async def test_a_rung_that_a_study_does_not_have_is_refused(api: Api) -> None:
    await submitted(api)
    lease = await driver(api)
    assert lease
    body = {"token": lease["token"], "config": {"regularizer.sigma": 0.1, "regularizer.lambda": 0.02}, "rung": 5}
    refused = await api.call("POST", f"/v1/studies/{lease['study']}/rungs", json=body, key=api.keys.worker)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/rung")
