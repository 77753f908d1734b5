"""A suite on the real stack: through two kills of the dispatcher to its table, here and in MLflow."""

import re
from typing import Any

import httpx2
import pytest

from service.client import SuiteExtension, SuiteRequest, SuiteView
from tests.stack import Stack, kill, until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def request_(quick: dict[str, Any]) -> SuiteRequest:
    """Two methods with and without PACE on the user's own images, two seeds: eight jobs."""
    rows = [
        {"spec": {"method": method, "regularizer": {"name": name}}}
        for method in ({"name": "lora_add", "rank": 2}, {"name": "ssf"})
        for name in ("none", "pace")
    ]
    overrides = {"backbone": quick["backbone"], "training": quick["training"]}
    return SuiteRequest(name="e2e", tasks=[quick["task"]], rows=rows, seeds=[0, 1], overrides=overrides)


@pytest.fixture(scope="module")
def ended(stack: Stack, request_: SuiteRequest) -> SuiteView:
    """The suite, during which the dispatcher was killed twice."""
    suite = stack.client.suites.submit(request_)
    for done in (1, 4):
        until(lambda done=done: look(stack, suite).counts.get("succeeded", 0) >= done, f"{done} jobs have ended")
        kill(stack.process("dispatcher"))
    return until(lambda: (now := look(stack, suite)).ended_at and now, "the suite has ended")


def look(stack: Stack, suite: SuiteView) -> SuiteView:
    return stack.client.suites.get(suite.id)


def test_the_table_is_whole_and_no_job_ended_twice(stack: Stack, ended: SuiteView) -> None:
    assert (ended.state, ended.counts) == ("succeeded", {"succeeded": 8})
    table = stack.client.suites.table(ended.id)
    assert [row.label for row in table.rows] == ["lora_add", "lora_add + pace", "ssf", "ssf + pace"]
    assert {cell.runs for row in table.rows for cell in row.cells.values()} == {2}
    assert {(each.row, each.versus, each.pairs) for each in table.differences} == {
        ("lora_add + pace", "lora_add", 2),
        ("ssf + pace", "ssf", 2),
    }
    for job in stack.client.jobs.list(suite=ended.id):
        states = [event.data["state"] for event in stack.client.jobs.events(job.id) if event.type == "state"]
        assert sum(state in ("succeeded", "failed", "cancelled") for state in states) == 1


def test_the_suite_stands_above_its_runs_in_mlflow_with_its_table(stack: Stack, ended: SuiteView) -> None:
    link = until(lambda: look(stack, ended).mlflow_url, "the suite is in MLflow")
    base, experiment = re.fullmatch(r"(.+)/#/experiments/(\d+)/runs\?viewStateShareKey=suite_.*", link).groups()

    def above() -> list[dict[str, Any]]:
        asked = {"experiment_ids": [experiment], "filter": f"tags.`pace.suite` = '{ended.id}'"}
        answer = httpx2.post(f"{base}/api/2.0/mlflow/runs/search", json=asked, timeout=30).json()
        return [run for run in answer.get("runs", []) if run["info"]["status"] == "FINISHED"]

    (said,) = until(above, "its table is written")
    assert said["info"]["run_name"] == "e2e"
    run = said["info"]["run_id"]
    files = httpx2.get(f"{base}/api/2.0/mlflow/artifacts/list", params={"run_id": run}, timeout=30).json()["files"]
    assert {file["path"] for file in files} == {"table.csv", "table.md", "table.svg", "table.tex"}
    asked = {"experiment_ids": [experiment], "filter": f"tags.`mlflow.parentRunId` = '{run}'"}

    def below() -> int:
        answer = httpx2.post(f"{base}/api/2.0/mlflow/runs/search", json=asked, timeout=30).json()
        return len(answer.get("runs", []))

    until(lambda: below() == 8, "its runs are below it")


def test_the_same_suite_again_runs_nothing_and_a_longer_one_only_what_is_new(
    stack: Stack, ended: SuiteView, request_: SuiteRequest
) -> None:
    again = stack.client.suites.submit(request_)
    assert (again.state, again.reused) == ("succeeded", 8)
    plan = stack.client.suites.check(request_.model_copy(update={"seeds": [0, 1, 2]}))
    assert (plan.new, plan.reused, plan.measured) == (4, 8, 4)
    stack.client.suites.extend(again.id, SuiteExtension(seeds=[2]))
    longer = until(lambda: (now := look(stack, again)).ended_at and now, "what is new has ended")
    assert longer.counts == {"succeeded": 12}
