"""Studies on the real stack: Ray Tune searches by child jobs, through kills of its driver and of Ray."""

from pathlib import Path
from typing import Any

import pytest

from service.client import Dimension, Job, StudyExtension, StudyRequest, StudyView
from service.local.identity import Identity, identify
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
