"""Suites that search before they train."""

from typing import Any

import pytest

from tests.service.api import Api
from tests.service.studies import driver, rung, say, study_of, tried
from tests.service.test_suites import current, jobs_of, planned, submitted, table

GRID = {"regularizer.sigma": [0.1, 0.5], "regularizer.lambda": [0.02, 0.1]}
SEARCHED: dict[str, Any] = {"tasks": ["digits"], "search": {"space": GRID}}


async def walk(api: Api, best: dict[str, Any]) -> dict[str, Any]:
    """Drives the oldest study to its end; the point `best` is its best. Its lease."""
    lease = await driver(api)
    assert lease is not None
    for point in lease["points"]:
        await tried(api, lease, point, 0.9 if point == best else 0.5)
    await say(api, lease, "end")
    return lease


async def test_the_papers_row_is_627_runs(api: Api) -> None:
    row = {"label": "PACE", "spec": {"method": {"name": "linear"}, "regularizer": {"name": "pace"}}}
    over = {"task": {"path": "/data/vtab-1k"}, "method": {"name": "lora_add"}}  # of which the small catalogue knows all
    suite = {"benchmark": "vtab-1k", "tasks": [], "rows": [row], "seeds": [0, 1, 2], "search": {}}
    plan = await planned(api, **suite, overrides=over)
    assert (len(plan["searches"]), plan["trials"], plan["new"]) == (19, 570, 57)
    assert plan["trials"] + plan["new"] == 627
    assert {search["epochs"] for search in plan["searches"]} == {30 * 300}
    assert (await api.get("/v1/studies"))["data"] == []


async def test_the_time_of_the_trials_is_part_of_the_plans(api: Api) -> None:
    plan = await planned(api, **SEARCHED)
    (search,) = plan["searches"]
    assert (search["row"], search["trials"], search["epochs"], plan["new"]) == ("PACE", 4, 4 * 3, 4)
    runs = sum(run["seconds"] for run in plan["runs"])
    assert search["seconds"] == pytest.approx(4 * next(r["seconds"] for r in plan["runs"] if r["row"] == "PACE"))
    assert plan["slot_minutes"] * 60 == pytest.approx(search["seconds"] + runs)


async def test_a_row_is_searched_then_run_with_its_best_and_one_without_the_fields_runs_at_once(api: Api) -> None:
    suite = await submitted(api, **SEARCHED)
    assert (suite["state"], suite["counts"]) == ("queued", {"queued": 4})
    assert (suite["trials"], suite["trials_ended"]) == (4, 0)
    for _ in range(2):
        await finish_final(api, 0.5)  # LoRA_mul+VPT_add has no regularizer
    found = await table(api, suite["id"])
    cell = found["rows"]["PACE"]["cells"]["digits"]
    assert (cell["status"], cell["notes"]) == ("pending", ["its settings are being searched"])
    best = {"regularizer.sigma": 0.5, "regularizer.lambda": 0.02}
    await walk(api, best)
    runs = [job for job in await jobs_of(api, suite["id"]) if job["row"] == "PACE"]
    assert [(job["phase"], job["seed"]) for job in runs] == [("final", 1), ("final", 0)]
    assert {(job["spec"]["regularizer"]["sigma"], job["spec"]["regularizer"]["lambda"]) for job in runs} == {
        (0.5, 0.02)
    }
    for _ in range(2):
        await finish_final(api, 0.8)
    done = await api.get(f"/v1/suites/{suite['id']}")
    assert (done["state"], done["counts"], done["trials_ended"]) == ("succeeded", {"succeeded": 4}, 4)
    found = await table(api, suite["id"])
    assert found["rows"]["PACE"]["cells"]["digits"]["mean"] == pytest.approx(0.8)
    (search,) = found["searches"]
    assert (search["state"], search["found"], search["value"], search["ended"]) == ("found", best, 0.9, 4)
    assert found["differences"][0]["mean"] == pytest.approx(0.3)
    # a seed later has the settings that were found
    await api.call("POST", f"/v1/suites/{suite['id']}/extend", json={"seeds": [5]})
    later = [job for job in await jobs_of(api, suite["id"]) if (job["seed"], job["row"]) == (5, "PACE")]
    assert [job["spec"]["regularizer"]["sigma"] for job in later] == [0.5]
    assert len((await api.get("/v1/studies"))["data"]) == 1


async def finish_final(api: Api, accuracy: float) -> None:
    job, attempt = await api.take()
    await api.end(job, attempt, "succeeded", result=current(accuracy))


async def test_a_search_that_finds_nothing_stands_in_the_table_and_is_retried_with_the_suite(api: Api) -> None:
    suite = await submitted(api, **SEARCHED, rows=["PACE"], seeds=[0], stop_after=None)
    lease = await driver(api)
    assert lease is not None
    for point in lease["points"]:
        await rung(api, lease, point)
        await api.end(*await api.take(), "nan")
        await rung(api, lease, point)
    await say(api, lease, "end")
    assert (await api.get(f"/v1/suites/{suite['id']}"))["counts"] == {"failed": 1}
    cell = (await table(api, suite["id"]))["rows"]["PACE"]["cells"]["digits"]
    assert cell["status"] == "failed"
    assert cell["notes"] == ["its search failed: not one trial has a result; see `trials` for why"]
    await api.call("POST", f"/v1/suites/{suite['id']}/retry")
    await walk(api, {"regularizer.sigma": 0.1, "regularizer.lambda": 0.1})
    await finish_final(api, 0.7)
    assert (await api.get(f"/v1/suites/{suite['id']}"))["state"] == "succeeded"


async def test_a_cancelled_suite_ends_its_searches_and_a_retry_lets_them_go_on(api: Api) -> None:
    suite = await submitted(api, **SEARCHED, rows=["PACE"], seeds=[0])
    lease = await driver(api)
    assert lease is not None
    await rung(api, lease, lease["points"][0])
    await api.call("POST", f"/v1/suites/{suite['id']}/cancel")
    (study,) = (await api.get("/v1/studies"))["data"]
    assert (study["state"], study["parent"]) == ("cancelled", suite["id"])
    assert await driver(api) is None
    assert (await api.lease())["leases"] == []
    assert (await api.get(f"/v1/suites/{suite['id']}"))["state"] == "cancelled"
    await api.call("POST", f"/v1/suites/{suite['id']}/retry")
    await walk(api, lease["points"][1])
    assert (await study_of(api, study))["state"] == "succeeded"
    assert (await api.get(f"/v1/suites/{suite['id']}"))["counts"] == {"queued": 1}


async def test_trials_that_fail_alike_stop_the_suite_and_its_searches(api: Api) -> None:
    suite = await submitted(api, **SEARCHED, rows=["PACE"], seeds=[0], stop_after=2)
    lease = await driver(api)
    assert lease is not None
    for point in lease["points"][:2]:
        await rung(api, lease, point)
        await api.end(*await api.take(), "nan")
    (study,) = (await api.get("/v1/studies"))["data"]
    assert study["state"] == "failed"
    assert "The suite stopped: 2 jobs in a row failed alike" in study["message"]
    assert (await api.get(f"/v1/suites/{suite['id']}"))["state"] == "failed"


async def test_max_parallel_holds_for_the_trials_of_a_suite_too(api: Api) -> None:
    await submitted(api, **SEARCHED, rows=["PACE"], seeds=[0], max_parallel=1)
    lease = await driver(api)
    assert lease is not None
    for point in lease["points"]:
        await rung(api, lease, point)
    slots = [{"name": f"cpu-{n}", "device": "cpu", "memory_bytes": 8 << 30, "node": "n1"} for n in range(3)]
    assert len((await api.lease(slots))["leases"]) == 1


@pytest.mark.parametrize(
    ("search", "pointer", "says"),
    [
        ({"space": {"regularizer.sigmo": [0.1]}}, "/search/space/regularizer.sigmo", "no row of the suite has"),
        ({"space": {"regularizer.sigma": {"uniform": [0, 1]}}}, "/search/space/regularizer.sigma", "made of choices"),
        ({"space": {"regularizer.sigma": [-1]}}, "/search/space/regularizer/sigma", "at least 0"),
        ({"space": GRID, "trials": 3}, "/search/trials", "a grid runs whole"),
        ({"space": {"training.epochs": [1, 2]}}, "/search/space/training.epochs", "set by the study"),
        ({"search": "grit"}, "/search/search", "'grid', 'random', 'tpe' or 'gp'"),
        ({"seeds": [1]}, "/search/seeds", "not permitted"),
    ],
)
async def test_a_fault_of_the_search_is_told_with_its_place(
    api: Api, search: dict[str, Any], pointer: str, says: str
) -> None:
    suite = {"benchmark": "vtab-mini", "tasks": ["digits"], "rows": ["PACE"], "search": search}
    answer = await api.call("POST", "/v1/suites", json=suite)
    assert answer.status_code == 422, answer.text
    assert any(f["pointer"] == pointer and says in f["message"] for f in answer.json()["errors"]), answer.text
