"""What a trial is measured by, when a search ends, and what it says of its best."""

import pytest

from tests.service.api import Api
from tests.service.studies import SPACE, SPEC, driver, finish, rung, say, study_of, submitted, tried
from tests.service.test_suites import current


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
        await tried(api, lease, point, values[point["regularizer.sigma"]] + point["regularizer.lambda"])
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
