"""Views in MLflow: what a link of ours opens on."""

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pace_core.spec import load_benchmarks, published_beside
from tests.worker.test_study_pictures import report
from tests.worker.tracked import Service, begin_suite, run_of, study_view, submit, track
from worker.mlflow_views import TAG, View, of_suite

LONGEST = 20_000
"""Letters of an experiment's tag, at most."""


def views(mlflow: MlflowClient, name: str = "vtab-1k") -> dict[str, dict[str, Any]]:
    """By their names: what the experiment's views show, and under `key` what a link calls them."""
    experiment = mlflow.get_experiment_by_name(name)
    assert experiment
    tags = {tag: value for tag, value in experiment.tags.items() if tag.startswith(TAG)}
    return {json.loads(value)["name"]: unpacked(value) | {"key": tag.removeprefix(TAG)} for tag, value in tags.items()}


def unpacked(value: str) -> dict[str, Any]:
    """What a view shows, out of its tag."""
    return json.loads(zlib.decompress(base64.b64decode(json.loads(value)["state"].removeprefix("deflate;"))))


def charts_of(view: View) -> dict[str, list[str]]:
    """Open section → metrics of its charts."""
    said = unpacked(view.value())
    return {
        section["name"]: [
            card["metricKey"] for card in said["compareRunCharts"] if card["metricSectionId"] == section["uuid"]
        ]
        for section in said["compareRunSections"]
        if section["display"]
    }


def shown(mlflow: MlflowClient, view: dict[str, Any], name: str = "vtab-1k") -> list[str | None]:
    """The names of the runs that the view shows, in its order."""
    experiment = mlflow.get_experiment_by_name(name)
    assert experiment
    order = f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"
    runs = mlflow.search_runs([experiment.experiment_id], view["searchFilter"], order_by=[order])
    return [run.info.run_name for run in runs]


@pytest.fixture
def told(mlflow: MlflowClient, tmp_path: Path) -> Service:
    """A suite of two rows, one of whose jobs another suite ran before; and a job of its own with a better result."""
    service = Service()
    submit(service, "job_before", tmp_path / "a", row="PACE", suite="suite_before")
    submit(service, "job_new", tmp_path / "a", row="LoRA_add", suite="suite_1")
    submit(service, "job_alone", tmp_path / "a", name="alone")
    begin_suite(service, "suite_before", ["job_before"], name="", rows=["PACE"])
    begin_suite(service, "suite_1", ["job_before", "job_new"], reused=1)
    track(service, mlflow)
    return service


def test_the_link_of_a_suite_opens_on_its_runs_and_on_those_that_it_reuses(mlflow: MlflowClient, told: Service) -> None:
    view = views(mlflow)["Suite does PACE help"]
    assert shown(mlflow, view) == ["cifar/LoRA_add/3", "cifar/PACE/3"]
    experiment = run_of(mlflow, "job_new").info.experiment_id
    place = f"#/experiments/{experiment}/runs?viewStateShareKey={view['key']}&compareRunsMode=TABLE"
    assert told.links["suite_1"] == f"http://mlflow.test/{place}&workflowType=machine_learning"
    assert shown(mlflow, views(mlflow)["Suite suite_before"]) == ["cifar/PACE/3"], "by its id where it has no name"


def test_its_columns_say_which_run_how_good_and_how_long(mlflow: MlflowClient, told: Service) -> None:
    columns = views(mlflow)["Suite does PACE help"]["selectedColumns"]
    assert columns == [
        *("tags.`pace.task`", "tags.`pace.row`", "tags.`pace.seed`"),
        *("metrics.`test/accuracy`", "metrics.`vs/SNF`", "metrics.`vs/PACE`", "metrics.`cost/minutes`"),
    ]
    run = run_of(mlflow, "job_before").data
    for column in columns:
        kind, key = column.split(".", 1)
        assert key.strip("`") in getattr(run, kind), "every column has something to show"
    assert run.metrics["vs/PACE"] == -0.09, "without the noise of the subtraction"


def test_charts_stand_in_sections_what_one_comes_for_first() -> None:
    charts = charts_of(of_suite(begin_suite(Service(), "suite_1", [])))
    assert list(charts) == ["Accuracy", "Loss terms", "Cost"]
    assert charts["Accuracy"] == ["val/accuracy", "test/accuracy"]
    assert charts["Cost"][0] == "cost/minutes"


def test_a_benchmark_of_several_measures_shows_each() -> None:
    view = of_suite(begin_suite(Service(), "suite_1", [], benchmark="glue", tasks=["cola", "sst2"], phase="search"))
    assert {"metrics.`best_val/matthews`", "metrics.`best_val/accuracy`"} <= set(view.columns)
    assert charts_of(view)["Accuracy"][:2] == ["val/matthews", "val/accuracy"]


def test_every_term_of_every_regularizers_loss_has_its_chart() -> None:
    folder = Path(__file__).parents[2] / "pace_core" / "regularizers"
    terms = {term for file in folder.glob("*.py") for term in re.findall(r'"(loss_\w+|loss)"', file.read_text())}
    assert len(terms) >= 6
    charts = charts_of(of_suite(begin_suite(Service(), "suite_1", [])))
    assert {f"train/{term}" for term in terms} <= set(charts["Loss terms"])


def test_a_suite_of_every_published_row_still_fits_into_a_tag() -> None:
    labels = [row.label for table in published_beside("vtab-1k") for row in table.rows]
    tasks = [task.name for task in load_benchmarks()["vtab-1k"].tasks]
    view = of_suite(begin_suite(Service(), "suite_all", [], rows=labels, tasks=tasks, name="x" * 200))
    assert len(view.value()) < LONGEST / 4
    assert sum(column.startswith("metrics.`vs/") for column in view.columns) == 6, "no table of forty columns"


def test_a_task_has_a_view_with_the_best_first_and_an_experiment_one_of_all(
    mlflow: MlflowClient, told: Service, tmp_path: Path
) -> None:
    job = submit(told, "job_dtd", tmp_path / "a", row="PACE")
    spec = job.spec | {"task": job.spec["task"] | {"name": "vtab-1k/dtd"}}
    told.known[job.id] = job.model_copy(update={"spec": spec})
    track(told, mlflow)
    assert shown(mlflow, views(mlflow)["Task dtd"]) == ["cifar/PACE/3"]
    assert len(shown(mlflow, views(mlflow)["Task cifar"])) == 3
    assert len(shown(mlflow, views(mlflow)["All runs"])) == 4, "the runs above suites are none of them"


def test_a_view_is_written_once(mlflow: MlflowClient, told: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(mlflow, "set_experiment_tag", lambda id, key, value: written.append(key))
    told.at = 0
    track(told, mlflow)  # a new process, which reads everything again
    assert written == []


def test_a_link_outlives_what_its_suite_gets_more(mlflow: MlflowClient, told: Service, tmp_path: Path) -> None:
    link = told.links["suite_1"]
    submit(told, "job_more", tmp_path / "a", row="Linear", suite="suite_1")
    rows = ["LoRA_add", "PACE", "Linear"]
    begin_suite(told, "suite_1", ["job_before", "job_new", "job_more"], reused=1, rows=rows, mlflow_url=link)
    track(told, mlflow)
    assert told.links["suite_1"] == link
    view = views(mlflow)["Suite does PACE help"]
    assert "metrics.`vs/Linear`" in view["selectedColumns"]
    assert "cifar/Linear/3" in shown(mlflow, view)


def test_a_suite_has_its_link_while_it_runs(mlflow: MlflowClient, tmp_path: Path) -> None:
    service = Service()
    submit(service, "job_first", tmp_path / "a", suite="suite_long")
    del service.log[2:]  # a worker has taken it
    begin_suite(service, "suite_long", ["job_first"], ended_at=None, state="running")
    track(service, mlflow)
    assert "viewStateShareKey=suite_long" in service.links["suite_long"]


def test_tasks_of_any_name_have_their_view(mlflow: MlflowClient, tmp_path: Path) -> None:
    service, names = Service(), ['it\'s the "best"', "größe %_\\", "a`b"]
    for number, name in enumerate(names):
        job = submit(service, f"job_{number}", tmp_path / "a", benchmark=None)
        spec = job.spec | {"task": {"name": name, "source": "image_folder", "phase": "final"}}
        service.known[job.id] = job.model_copy(update={"spec": spec, "task": name})
    assert track(service, mlflow).passed_over == {}
    for name in names:
        assert len(shown(mlflow, views(mlflow, "own")[f"Task {name}"], "own")) == 1


def test_a_study_opens_on_its_trials_with_the_fields_that_it_searches(mlflow: MlflowClient, tmp_path: Path) -> None:
    service, found = Service(), report()
    submit(service, "job_trial", tmp_path / "a", study="study_1", suite="suite_that_asked")
    submit(service, "job_other", tmp_path / "a")
    service.searched["study_1"] = (study_view(found), found)
    track(service, mlflow)
    view = views(mlflow)["Study sigma and lambda"]
    assert view["selectedColumns"][:2] == ["params.`regularizer.sigma`", "params.`regularizer.lambda`"]
    assert shown(mlflow, view) == ["cifar/PACE/3"]
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`val/accuracy`", False), "the best first"
    assert "suite_that_asked" not in service.links, "it has no run of its own yet"
