"""Suites of benchmarks with several draws of training images, or several tests of one training."""

import statistics
from typing import Any

import pytest

from tests.service.api import Api
from tests.service.test_suites import SUITE, act, current, end_all, jobs_of, planned, submitted, table

FEW_SHOT: dict[str, Any] = {
    "name": "few",
    "benchmark": "few-shot",
    "tasks": ["pets/1-shot"],
    "rows": [{"label": "Linear", "spec": {"method": {"name": "linear"}}}],
}


async def test_every_draw_is_a_run_of_its_own_and_the_mean_is_over_draws_and_seeds(api: Api) -> None:
    plan = await planned(api, **FEW_SHOT)
    assert (plan["new"], plan["draws"]) == (6, [0, 1, 2])
    assert [(run["seed"], run["draw"]) for run in plan["runs"]] == [(s, d) for s in (0, 1) for d in (0, 1, 2)]
    suite = await submitted(api, **FEW_SHOT)
    values: list[float] = []
    while leases := (await api.lease())["leases"]:
        for lease in leases:
            spec = lease["spec"]
            values.append(0.5 + 0.1 * spec["task"]["draw"] + 0.01 * spec["seed"])
            await api.end(lease["job"], lease["attempt"], "succeeded", result=current(values[-1]))
    assert len(set(values)) == 6
    (cell,) = (await table(api, suite["id"]))["rows"]["Linear"]["cells"].values()
    assert (cell["runs"], cell["mean"]) == (6, pytest.approx(statistics.fmean(values)))
    assert cell["std"] == pytest.approx(statistics.stdev(values))
    assert (cell["seeds"], cell["draws"]) == ([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2])
    board = await api.get("/v1/leaderboards/few-shot")
    shown = next(row for row in board["rows"] if row["kind"] == "measured")["cells"]["pets/1-shot"]
    assert {key: shown[key] for key in ("mean", "std", "seeds", "draws", "jobs")} == {
        key: pytest.approx(cell[key]) if key in ("mean", "std") else cell[key]
        for key in ("mean", "std", "seeds", "draws", "jobs")
    }
    again = await planned(api, **FEW_SHOT)
    assert (again["new"], again["reused"]) == (0, 6)


async def test_draws_can_be_named_and_added(api: Api) -> None:
    suite = await submitted(api, **FEW_SHOT, seeds=[4], draws=[2])
    (job,) = await jobs_of(api, suite["id"])
    assert (job["seed"], job["spec"]["task"]["draw"]) == (4, 2)
    await act(api, suite["id"], "extend", draws=[0])
    assert {job["spec"]["task"]["draw"] for job in await jobs_of(api, suite["id"])} == {0, 2}
    fixed = await planned(api, **FEW_SHOT, overrides={"task": {"draw": 1}})
    assert {run["draw"] for run in fixed["runs"]} == {1}


async def test_rows_are_paired_over_seeds_and_draws(api: Api) -> None:
    rows = [
        {"label": name, "spec": {"method": {"name": "lora_add"}, "regularizer": {"name": name}}}
        for name in ("none", "pace")
    ]
    suite = await submitted(api, **(FEW_SHOT | {"rows": rows}))
    await end_all(api, {"none": 0.5, "pace": 0.6})
    (difference,) = (await table(api, suite["id"]))["differences"]
    assert (difference["pairs"], difference["mean"]) == (6, pytest.approx(0.1))


@pytest.mark.parametrize(
    ("wrong", "pointer", "says"),
    [
        ({"draws": [0, 3]}, "/draws/1", "its draws are 0 to 2"),
        ({"benchmark": "vtab-mini", "tasks": ["digits"], "draws": [0]}, "/draws", "repeat runs by `seeds`"),
        ({"draws": [0], "overrides": {"task": {"draw": 1}}}, "/overrides/task/draw", "not both"),
        ({"overrides": {"task": {"draw": "x"}}}, "/task/draw", "x"),
        ({"draws": [-1]}, "/draws/0", "greater"),
    ],
)
async def test_a_draw_that_there_is_not_is_told(api: Api, wrong: dict[str, Any], pointer: str, says: str) -> None:
    answer = await api.call("POST", "/v1/suites?validate_only=true", json=SUITE | FEW_SHOT | wrong)
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert fault["pointer"] == pointer
    assert says in fault["message"]


async def test_a_suite_of_domain_adaptation_has_all_five_columns_of_one_training(api: Api) -> None:
    rows = [{"label": "Linear", "spec": {"method": {"name": "linear"}}}]
    suite = await submitted(api, benchmark="domain-adaptation", tasks=[], rows=rows, seeds=[0])
    measured = {"imagenet-a": 0.1, "imagenet-r": 0.2, "imagenet-v2": 0.5, "imagenet-sketch": 0.3}
    while leases := (await api.lease())["leases"]:
        for lease in leases:
            said = current(0.6)
            said["metrics"] += [
                {**said["metrics"][0], "task": f"domain-adaptation/{name}", "value": value}
                for name, value in measured.items()
            ]
            await api.end(lease["job"], lease["attempt"], "succeeded", result=said)
    assert len(await jobs_of(api, suite["id"])) == 3, "one training a draw"
    row = (await table(api, suite["id"]))["rows"]["Linear"]
    assert {name: cell["mean"] for name, cell in row["cells"].items()} == {
        name: pytest.approx(value) for name, value in {"imagenet": 0.6, **measured}.items()
    }
    assert row["cells"]["imagenet-a"]["runs"] == 3
    assert (row["mean"]["value"], row["mean"]["complete"]) == (pytest.approx(1.7 / 5), True)
