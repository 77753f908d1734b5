"""MLflow as a projection of job events: what a run shows."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pace_core.spec import State
from tests.worker.test_study_pictures import report
from tests.worker.tracked import START, Service, all_runs, all_runs_of, run_of, study_view, submit, track
from worker.projection import slug


def test_a_job_becomes_a_run_with_its_settings_curves_result_and_files(mlflow: MlflowClient, tmp_path: Path) -> None:
    service = Service()
    (tmp_path / "confusion.svg").write_text("<svg/>")
    submit(service, "job_whole", tmp_path / "adapter.safetensors")
    track(service, mlflow)
    run = run_of(mlflow, "job_whole")
    assert mlflow.get_experiment(run.info.experiment_id).name == "vtab-1k"
    assert run.info.run_name == "cifar/PACE/3"
    assert run.info.status == "FINISHED"
    assert run.info.start_time == int((START + timedelta(seconds=2)).timestamp() * 1000), "when a worker took it"
    assert run.info.end_time == int((START + timedelta(seconds=7)).timestamp() * 1000)
    assert run.data.metrics["queued_s"] == 2.0
    assert run.data.params["regularizer.sigma"] == "0.5"
    assert run.data.params["method.name"] == "lora_mul_vpt_add"
    assert run.data.tags["lab"] == "north"
    assert run.data.tags["pace.attempt"] == "1"
    assert run.data.tags["mlflow.user"] == "ada"
    curve = mlflow.get_metric_history(run.info.run_id, "train/loss")
    assert [(m.step, m.value) for m in curve] == [(1, 1.0), (2, 0.5)]
    assert curve[0].timestamp == int((START + timedelta(seconds=4)).timestamp() * 1000)
    assert run.data.metrics["cost/minutes"] == 1.5
    assert run.data.metrics["cost/peak_memory_mib"] == 3
    assert run.data.metrics["cost/trainable_parameters"] == 1234
    assert {file.path for file in mlflow.list_artifacts(run.info.run_id)} == {
        "adapter.safetensors", "confusion.svg", "spec.json"
    }  # fmt: skip
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("vtab-1k/cifar", "d" * 36)
    place = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}?workflowType=machine_learning"
    assert service.links == {"job_whole": f"http://mlflow.test/{place}"}


def test_a_run_is_named_as_its_job_and_keeps_every_letter(mlflow: MlflowClient, tmp_path: Path) -> None:
    service = Service()
    submit(service, "job_named", tmp_path / "a", name="sigma=0.5, first try", tags={"größe=1": "a=b"})
    submit(service, "job_row", tmp_path / "a", row="lora + pace, sigma=0.5")
    track(service, mlflow)
    assert run_of(mlflow, "job_named").info.run_name == "sigma=0.5, first try"
    assert run_of(mlflow, "job_named").data.tags["größe-1"] == "a=b"
    assert run_of(mlflow, "job_row").info.run_name == "cifar/lora + pace, sigma=0.5/3"


def test_a_job_that_waits_has_no_run_yet(mlflow: MlflowClient, tmp_path: Path) -> None:
    service = Service()
    job = submit(service, "job_waits", tmp_path / "a")
    waiting = {"state": State.QUEUED, "started_at": None, "result": None}
    service.known[job.id], events = job.model_copy(update=waiting), service.log
    service.log = events[:1]
    track(service, mlflow)
    assert (all_runs_of(mlflow, "job_waits"), service.links) == ([], {})
    service.known[job.id], service.log = job, events
    track(service, mlflow)
    assert run_of(mlflow, "job_waits").info.status == "FINISHED"


def test_a_job_cancelled_in_the_queue_is_a_run_without_length(mlflow: MlflowClient, tmp_path: Path) -> None:
    service = Service()
    job = submit(service, "job_never", tmp_path / "a")
    ended = {"state": State.CANCELLED, "started_at": None, "ended_at": START + timedelta(seconds=2), "result": None}
    service.known[job.id] = job.model_copy(update=ended)
    del service.log[1:]
    service.add(job.id, "state", {"move": "cancel", "state": "cancelled", "reason": "cancelled"})
    track(service, mlflow)
    info = run_of(mlflow, "job_never").info
    assert (info.status, info.end_time - info.start_time) == ("KILLED", 0)


def test_what_a_search_found_is_a_file_of_the_run(mlflow: MlflowClient, tmp_path: Path) -> None:
    service = Service()
    job = submit(service, "job_search", tmp_path / "a")
    found = {"prompt": [5, 1], "lora": [10, 0], "adapter": [1, 1]}
    assert job.result
    service.known[job.id] = job.model_copy(update={"result": job.result.model_copy(update={"architecture": found})})
    track(service, mlflow)
    run = run_of(mlflow, "job_search").info.run_id
    assert json.loads(Path(mlflow.download_artifacts(run, "architecture.json")).read_text()) == found


def test_a_result_stands_beside_the_published_row_of_its_label_and_the_best(
    mlflow: MlflowClient, tmp_path: Path
) -> None:
    service = Service()
    submit(service, "job_row", tmp_path / "a", row="linear")
    track(service, mlflow)
    metrics = run_of(mlflow, "job_row").data.metrics
    assert metrics["test/accuracy"] == 0.7
    assert metrics["published/Linear"] == pytest.approx(0.644), "Table 1 of the paper"
    assert metrics["vs/Linear"] == pytest.approx(0.7 - 0.644)
    best = {key: value for key, value in metrics.items() if key.startswith("published/") and key != "published/Linear"}
    assert list(best.values()) == [pytest.approx(0.84)], "SNF's row, by V-PETL Bench"


def test_names_are_put_into_mlflows_letters() -> None:
    assert slug("LoRA_mul+VPT_add") == "LoRA_mul-VPT_add"
    assert slug("LoRA (NOAH)") == "LoRA-NOAH"
    assert slug("a/b") == "a-b"
    assert slug("…") == "-"


def test_a_study_is_a_run_above_its_trials_with_its_pictures(mlflow: MlflowClient, tmp_path: Path) -> None:
    service = Service()
    submit(service, "job_trial", tmp_path / "adapter", study="study_1")
    found = report(importance={"regularizer.sigma": 0.9, "regularizer.lambda": 0.1})
    study = study_view(found)
    service.searched["study_1"] = (study, found)
    track(service, mlflow)
    runs = {run.info.run_name: run for run in all_runs(mlflow)}
    above = runs["sigma and lambda"]
    assert run_of(mlflow, "job_trial").data.tags["mlflow.parentRunId"] == above.info.run_id
    assert above.data.metrics["best"] == pytest.approx(found.best.value if found.best else 0)
    assert above.data.metrics["importance/regularizer.sigma"] == 0.9
    assert above.data.params["best.regularizer.sigma"] == "1.0"
    assert {file.path for file in mlflow.list_artifacts(above.info.run_id)} == {
        *("heat_map.svg", "importance.svg", "learning_curves.svg", "parallel_coordinates.svg", "study.html"),
    }
    assert "/runs?viewStateShareKey=study_1&" in service.links["study_1"], (
        "its trials; their run above is one click away"
    )
    assert service.searched == {}
