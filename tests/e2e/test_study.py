"""Studies on the real stack: Ray Tune searches by child jobs, through kills of its driver and of Ray."""

import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.client import Dimension, Job, StudyExtension, StudyRequest, StudyView, SuiteRequest, SuiteRow
from service.local.identity import Identity, identify
from service.studies.schemas import Budget, SearchSettings
from tests.stack import Stack, kill, until

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(900)]

GRID = {"optimizer.lr": Dimension(choice=[0.001, 0.01, 0.1]), "training.batch_size": Dimension(choice=[16, 32])}
RANGE = {"optimizer.lr": Dimension(loguniform=(2e-5, 1e-1)), "training.batch_size": Dimension(choice=[16, 32])}


@pytest.fixture(scope="module")
def spec(quick: dict[str, Any]) -> dict[str, Any]:
    return quick | {"training": quick["training"] | {"epochs": 4}}


def look(stack: Stack, study: StudyView) -> StudyView:
    return stack.client.studies.get(study.id)


def ended(stack: Stack, study: StudyView) -> StudyView:
    done = until(lambda: (now := look(stack, study)).ended_at and now, f"{study.id} has ended", within_s=600)
    assert done.state == "succeeded", done.message
    return done


def finished(stack: Stack, study: StudyView) -> set[str]:
    """The jobs of the rungs that have ended."""
    trials = stack.client.studies.trials(study.id)
    return {rung.job for trial in trials for rung in trial.rungs if rung.job and rung.state == "succeeded"}


def searched(stack: Stack, study: StudyView) -> list[Job]:
    """Every job that the search has made, whether it still counts or not."""
    jobs = stack.client.jobs.list(tag=f"of={study.name}")
    return [job for job in jobs if job.study == study.id]


def kill_driver(stack: Stack) -> None:
    """Kills the process in which Ray Tune runs."""
    kill(until(lambda: _driver(stack.process("studies").pid), "a driver runs"))


def _driver(parent: int) -> Identity | None:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return identify(int(children[0])) if children else None


def test_a_grid_is_searched_through_the_loss_of_its_driver_and_its_best_tested_once_a_seed(
    stack: Stack, spec: dict[str, Any]
) -> None:
    request = StudyRequest(name="grid", spec=spec, space=GRID, seeds=[0, 1], tags={"of": "grid"})
    study = stack.client.studies.submit(request)
    until(lambda: finished(stack, study), "a trial has ended")
    kill_driver(stack)
    before = finished(stack, study)
    done = ended(stack, study)
    assert done.counts == {"finished": 6}
    assert before <= finished(stack, study)
    jobs = searched(stack, study)
    points = {(job.spec["optimizer"]["lr"], job.spec["training"]["batch_size"]) for job in jobs}
    assert len(jobs) == len(points) == 6, "none was repeated"
    assert {job.phase for job in jobs} == {"search"}
    assert all(metric.split != "test" for job in jobs for metric in job.result.metrics)
    trials = stack.client.studies.trials(study.id)
    assert done.best.value == max(trial.value for trial in trials)
    final = list(stack.client.jobs.list(suite=done.suite))
    assert {(job.phase, job.seed) for job in final} == {("final", 0), ("final", 1)}
    assert {job.spec["optimizer"]["lr"] for job in final} == {done.best.config["optimizer.lr"]}
    assert {job.spec["training"]["batch_size"] for job in final} == {done.best.config["training.batch_size"]}


def test_asha_and_tpe_survive_the_loss_of_ray_and_are_extended_without_repeating_a_trial(
    stack: Stack, spec: dict[str, Any]
) -> None:
    request = StudyRequest(
        name="tpe",
        spec=spec,
        space=RANGE,
        search="tpe",
        scheduler="asha",
        reduction=2,
        trials=6,
        concurrency=2,
        seeds=[],
        tags={"of": "tpe"},
    )
    study = stack.client.studies.submit(request)
    assert study.rungs == [1, 2, 4]
    until(lambda: len(finished(stack, study)) >= 2, "two rungs have ended")
    before = finished(stack, study)
    kill(stack.process("ray"))
    done = ended(stack, study)
    first = finished(stack, study)
    assert before <= first
    assert {trial.state for trial in stack.client.studies.trials(study.id)} <= {"finished", "stopped"}
    assert (sum(done.counts.values()), done.best.epochs) == (6, 4)
    assert done.epochs_spent < 6 * (1 + 2 + 4), "the scheduler stopped some"
    stack.client.studies.extend(study.id, StudyExtension(trials=2))
    longer = ended(stack, study)
    assert sum(longer.counts.values()) == 8
    assert first <= finished(stack, study)
    trials = stack.client.studies.trials(study.id)
    assert len(searched(stack, study)) == sum(len(trial.rungs) for trial in trials), "none was repeated"


def test_a_suite_searches_its_rows_through_the_loss_of_a_driver_and_ends_with_one_table(
    stack: Stack, spec: dict[str, Any]
) -> None:
    request = SuiteRequest(
        name="searched",
        tasks=[spec["task"]],
        rows=[SuiteRow(label="linear", spec={"method": spec["method"]})],
        seeds=[0, 1],
        overrides={"backbone": spec["backbone"], "training": spec["training"] | {"epochs": 1}},
        search=SearchSettings(space=GRID),
    )
    plan = stack.client.suites.check(request)
    assert (plan.trials, plan.new) == (6, 2)
    suite = stack.client.suites.submit(request)
    until(lambda: stack.client.suites.get(suite.id).trials_ended, "a trial has ended")
    kill_driver(stack)
    done = until(lambda: (now := stack.client.suites.get(suite.id)).ended_at and now, "the suite has ended", 600)
    assert (done.state, done.counts, done.trials_ended) == ("succeeded", {"succeeded": 2}, 6)
    table = stack.client.suites.table(suite.id)
    (search,) = table.searches
    assert (search.state, search.ended) == ("found", 6)
    for job in stack.client.jobs.list(suite=suite.id):
        assert job.spec["optimizer"]["lr"] == search.found["optimizer.lr"]
        assert job.phase == "final"
    study = until(lambda: (now := stack.client.studies.get(search.study)).mlflow_url and now, "it is in MLflow")
    base, experiment = re.fullmatch(r"(.+)/#/experiments/(\d+)/runs\?viewStateShareKey=.*", study.mlflow_url).groups()
    asked = {"experiment_ids": [experiment], "filter": f"tags.`pace.study` = '{study.id}'"}
    (above,) = httpx2.post(f"{base}/api/2.0/mlflow/runs/search", json=asked, timeout=30).json()["runs"]
    run = above["info"]["run_id"]
    files = httpx2.get(f"{base}/api/2.0/mlflow/artifacts/list", params={"run_id": run}, timeout=30).json()["files"]
    assert {"heat_map.svg", "learning_curves.svg", "parallel_coordinates.svg", "study.html"} <= {
        f["path"] for f in files
    }


def test_one_run_a_trial_is_looked_at_on_its_way_until_the_budget_is_spent(stack: Stack, spec: dict[str, Any]) -> None:
    request = StudyRequest(
        name="budget",
        spec=spec,
        space=RANGE,
        search="gp",
        scheduler="median",
        rungs="one_run",
        reduction=2,
        trials=50,
        concurrency=2,
        budget=Budget(epochs=16),
        seeds=[],
        reuse=False,  # of the study above, whose first random points are the same
        tags={"of": "budget"},
    )
    done = ended(stack, stack.client.studies.submit(request))
    assert 4 <= sum(done.counts.values()) < 50
    assert 16 <= done.epochs_spent < 16 + 2 * 4
    jobs = searched(stack, done)
    assert len(jobs) == sum(done.counts.values()), "a run a trial"
    assert {job.spec["training"]["epochs"] for job in jobs} == {4}
