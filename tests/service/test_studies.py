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
    await say(api, lease, "end", importance={"regularizer.sigma": 0.9})
    done = await study_of(api, study)
    assert done["best"]["config"] == {"regularizer.sigma": 0.5, "regularizer.lambda": 0.1}
    assert done["importance"] == {"regularizer.sigma": 0.9}
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
        ({"space": {"optimizer.lr": {"choice": [0.1]}}}, "/space/optimizer.lr", "no field of the study's space"),
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


async def test_where_all_rungs_are_one_run_it_is_looked_at_on_its_way_and_cancelled_when_it_is_stopped(
    api: Api,
) -> None:
    study = await submitted(api, scheduler="asha", rungs="one_run", seeds=[])
    lease = await driver(api)
    assert lease is not None
    config = {"regularizer.sigma": 0.1, "regularizer.lambda": 0.02}
    assert not (await rung(api, lease, config))["ended"]
    job, attempt = await api.take()
    training = (await api.job(job))["spec"]["training"]
    assert (training["epochs"], training["eval_every"]) == (9, 1)
    for epoch, value in ((1, 0.2), (2, 0.3), (3, 0.7)):
        await api.report(job, attempt, ("metrics", {"epoch": epoch, "step": epoch, "values": {"val/accuracy": value}}))
    first = await rung(api, lease, config)
    assert (first["ended"], first["value"], first["epochs"]) == (True, 0.2, 1)
    second = await rung(api, lease, config, 1)
    assert (second["ended"], second["value"], second["epochs"]) == (True, pytest.approx(0.4), 3)
    await say(api, lease, "stopped", trial=0, rung=1)
    assert (await api.job(job))["cancel_requested"]
    await api.end(job, attempt, "cancelled")
    assert (await rung(api, lease, config, 1))["stopped"]  # as the next driver would be told
    await say(api, lease, "end")
    done = await study_of(api, study)
    assert (done["counts"], done["best"]["value"], done["epochs_spent"]) == ({"stopped": 1}, pytest.approx(0.4), 3)
    assert len((await api.get("/v1/jobs"))["data"]) == 1


async def test_a_budget_of_epochs_ends_the_search_when_what_it_began_has_ended(api: Api) -> None:
    study = await submitted(api, seeds=[0], budget={"epochs": 18})
    lease = await driver(api)
    assert lease is not None
    configs = [{"regularizer.sigma": sigma, "regularizer.lambda": 0.02} for sigma in (0.1, 0.5)]
    for config in configs:
        await rung(api, lease, config)
    third = {"regularizer.sigma": 0.1, "regularizer.lambda": 0.1}
    waiting = await rung(api, lease, third)
    assert (waiting["ended"], waiting["over"]) == (False, False)  # the others still run
    for value in (0.4, 0.6):
        await finish(api, value)
    spent = await rung(api, lease, third)
    assert (spent["ended"], spent["over"]) == (True, True)
    await say(api, lease, "end")
    done = await study_of(api, study)
    assert (done["counts"], done["epochs_spent"], done["best"]["value"]) == ({"finished": 2}, 18, 0.6)
    more = await api.call("POST", f"/v1/studies/{study['id']}/extend", json={"budget": {"epochs": 27}})
    assert more.status_code == 202, more.text
    lease = await driver(api)
    assert lease is not None
    await api.sql("UPDATE jobs SET priority = 0 WHERE study IS NULL")
    assert not (await rung(api, lease, third))["over"]


async def test_a_budget_of_hours_counts_what_the_trials_jobs_have_run(api: Api) -> None:
    await submitted(api, budget={"hours": 1})
    lease = await driver(api)
    assert lease is not None
    config = {"regularizer.sigma": 0.1, "regularizer.lambda": 0.02}
    await rung(api, lease, config)
    await finish(api, 0.5)
    other = config | {"regularizer.sigma": 0.5}
    assert not (await rung(api, lease, other))["over"]
    await api.sql("UPDATE jobs SET runtime_s = 3600")
    await finish(api, 0.5)
    assert (await rung(api, lease, config | {"regularizer.lambda": 0.1}))["over"]


async def test_the_lowest_value_of_another_metric_can_be_the_best(api: Api) -> None:
    study = await submitted(api, mode="min", metric="val/loss", seeds=[0])
    lease = await driver(api)
    assert lease is not None
    for sigma, loss in ((0.1, 0.9), (0.5, 0.3)):
        config = {"regularizer.sigma": sigma, "regularizer.lambda": 0.02}
        await rung(api, lease, config)
        job, attempt = await api.take()
        await api.report(job, attempt, ("metrics", {"epoch": 9, "step": 9, "values": {"val/loss": loss}}))
        await api.end(job, attempt, "succeeded", result=current(0.5))
        assert (await rung(api, lease, config))["value"] == loss
    await say(api, lease, "end")
    done = await study_of(api, study)
    assert (done["best"]["config"]["regularizer.sigma"], done["best"]["value"]) == (0.5, 0.3)
    final = (await api.get(f"/v1/jobs?suite={done['suite']}"))["data"]
    assert [job["spec"]["regularizer"]["sigma"] for job in final] == [0.5]
    report = await api.get(f"/v1/studies/{study['id']}/report")
    assert (report["metric"], report["best"]["value"]) == ("val/loss", 0.3)


async def test_an_equal_trial_that_is_done_is_taken_from_an_earlier_study(api: Api) -> None:
    config = {"regularizer.sigma": 0.1, "regularizer.lambda": 0.02}
    for index in range(3):
        await submitted(api, seeds=[], reuse=index < 2)
        lease = await driver(api)
        assert lease is not None
        answer = await rung(api, lease, config)
        if index == 1:
            assert (answer["ended"], answer["value"]) == (True, 0.5)
        else:
            assert not answer["ended"]
            await finish(api, 0.5)
            await rung(api, lease, config)
        await say(api, lease, "end")
    assert len((await api.get("/v1/jobs"))["data"]) == 2


async def test_what_did_best_on_other_tasks_is_tried_first_where_that_is_asked_for(api: Api) -> None:
    first = await submitted(api, seeds=[])
    lease = await driver(api)
    assert lease is not None
    values = dict(zip((0.1, 0.5), (0.3, 0.6), strict=True))
    for point in lease["points"]:
        await rung(api, lease, point)
        await finish(api, values[point["regularizer.sigma"]] + point["regularizer.lambda"])
        await rung(api, lease, point)
    await say(api, lease, "end")
    ranking = [(0.5, 0.1), (0.5, 0.02), (0.1, 0.1), (0.1, 0.02)]
    other = SPEC | {"task": {"name": "vtab-mini/textures"}}
    for learn, expected in ((False, sorted(ranking)), (True, ranking)):
        study = await submitted(api, spec=other, seeds=[], learn=learn)
        lease = await driver(api, [first["id"]])
        assert lease is not None
        found = [(point["regularizer.sigma"], point["regularizer.lambda"]) for point in lease["points"]]
        assert found == expected
        await api.call("POST", f"/v1/studies/{study['id']}/cancel")
    ranges = {path: {"uniform": [0.01, 1.0]} for path in SPACE}
    await submitted(api, spec=other, space=ranges, search="tpe", trials=6, learn=True)
    lease = await driver(api)
    assert lease is not None
    assert [point["regularizer.sigma"] for point in lease["known"]] == [0.5, 0.5]


async def test_a_report_says_how_sure_the_best_is_and_what_its_pictures_show(api: Api) -> None:
    study = await submitted(api, seeds=[])
    lease = await driver(api)
    assert lease is not None
    for point, value in zip(lease["points"], (0.2, 0.75, 0.78, 0.8), strict=True):
        await rung(api, lease, point)
        job, attempt = await api.take()
        said = current(value)
        said["metrics"][0] |= {"split": "val", "samples": 200}
        for epoch in (8, 9):
            values = {"val/accuracy": value - 0.1 * (9 - epoch)}
            await api.report(job, attempt, ("metrics", {"epoch": epoch, "step": epoch, "values": values}))
        await api.end(job, attempt, "succeeded", result=said)
        await rung(api, lease, point)
    assert len((await say(api, lease, "found"))["trials"]) == 4  # of which its driver computes what matters
    await say(api, lease, "end", importance={"regularizer.sigma": 0.7, "regularizer.lambda": 0.3})
    body = {"token": lease["token"]}
    gone = await api.call("POST", f"/v1/studies/{study['id']}/found", json=body, key=api.keys.worker)
    assert gone.status_code == 409  # the search is over: it has no driver
    report = await api.get(f"/v1/studies/{study['id']}/report")
    assert (report["best"]["number"], report["best"]["value"], report["samples"]) == (3, pytest.approx(0.75), 200)
    # 150 of 200 by Wilson's score: (0.75 + 1.92/200 ± 1.96 sqrt(0.1875/200 + 0.96/40000)) / (1 + 3.84/200)
    assert (report["low"], report["high"]) == (pytest.approx(0.6857, abs=1e-4), pytest.approx(0.8049, abs=1e-4))
    assert report["alike"] == [1, 2]
    assert report["importance"] == {"regularizer.sigma": 0.7, "regularizer.lambda": 0.3}
    assert (report["map"]["x"], report["map"]["y"]) == ("regularizer.sigma", "regularizer.lambda")
    assert [(p["x"], p["y"], p["value"]) for p in report["map"]["points"]][3] == (0.5, 0.1, pytest.approx(0.75))
    curve = report["curves"][3]
    assert (curve["trial"], curve["epochs"], curve["values"]) == (3, [8, 9], [pytest.approx(0.7), pytest.approx(0.8)])


async def test_tracking_is_told_of_a_study_once_until_it_goes_on_or_all_is_filled_again(api: Api) -> None:
    study = await submitted(api, seeds=[])
    lease = await driver(api)
    assert lease is not None
    config = {"regularizer.sigma": 0.1, "regularizer.lambda": 0.02}
    await rung(api, lease, config)
    await finish(api, 0.5)
    await rung(api, lease, config)

    async def untracked() -> list[str]:
        return [found["id"] for found in (await api.get("/v1/studies?untracked=true"))["data"]]

    assert await untracked() == []
    await say(api, lease, "end")
    assert await untracked() == [study["id"]]
    link = {"url": "http://mlflow/#/runs/1"}
    for repeat in ("POST", f"/v1/studies/{study['id']}/retry"), ("PUT", "/v1/cursors/mlflow"):
        path = f"/v1/studies/{study['id']}/tracking"
        answer = await api.call("PUT", path, json=link, key=api.keys.tracking)
        assert answer.json()["mlflow_url"] == link["url"]
        assert await untracked() == []
        if repeat[0] == "PUT":
            await api.call(*repeat, json={"position": 0}, key=api.keys.tracking)
            assert await untracked() == [study["id"]]


async def test_a_trial_whose_job_never_measured_the_metric_fails_and_says_so(api: Api) -> None:
    study = await submitted(api, metric="val/f1", seeds=[])
    lease = await driver(api)
    assert lease is not None
    config = {"regularizer.sigma": 0.1, "regularizer.lambda": 0.02}
    await rung(api, lease, config)
    job = await finish(api, 0.5)
    assert f"{job} has measured no val/f1" in (await rung(api, lease, config))["failed"]
    await say(api, lease, "end")
    done = await study_of(api, study)
    assert (done["state"], done["counts"]) == ("failed", {"failed": 1})
