"""How a driver walks through a study, and what is kept when it is lost."""

import pytest

from tests.service.api import Api
from tests.service.studies import driver, finish, rung, say, study_of, submitted, tried
from tests.service.test_suites import current


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


async def test_a_lost_driver_s_trials_are_known_to_the_next_one_and_not_repeated(api: Api) -> None:
    study = await submitted(api, scheduler="asha")
    first = await driver(api)
    assert first is not None
    assert await driver(api, [study["id"]]) is None  # it is driven
    config = {"regularizer.sigma": 0.5, "regularizer.lambda": 0.02}
    await tried(api, first, config, 0.5)
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


async def test_tracking_is_told_of_a_study_once_until_it_goes_on_or_all_is_filled_again(api: Api) -> None:
    study = await submitted(api, seeds=[])
    lease = await driver(api)
    assert lease is not None
    config = {"regularizer.sigma": 0.1, "regularizer.lambda": 0.02}
    await tried(api, lease, config, 0.5)

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
