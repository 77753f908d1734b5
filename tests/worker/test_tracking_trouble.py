"""MLflow as a projection of job events that come twice or cannot be written, and while it is away or was emptied."""

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from tests.worker.tracked import Service, run_of, submit, track
from worker.tracking import Tracking


def test_everything_may_be_sent_twice(mlflow: MlflowClient, tmp_path: Path) -> None:
    service = Service()
    submit(service, "job_twice", tmp_path / "a")
    track(service, mlflow)
    before = run_of(mlflow, "job_twice")
    service.at = 2  # as after a kill between MLflow's answer and the cursor's move
    track(service, mlflow)
    after = run_of(mlflow, "job_twice")
    assert after.info.run_id == before.info.run_id
    assert after.data.to_dictionary() == before.data.to_dictionary()
    assert len(mlflow.get_metric_history(after.info.run_id, "train/loss")) == 2


def test_an_emptied_mlflow_is_filled_again(mlflow: MlflowClient, tmp_path: Path) -> None:
    service = Service()
    submit(service, "job_wiped", tmp_path / "a")
    track(service, mlflow)
    before = run_of(mlflow, "job_wiped")
    mlflow.delete_run(before.info.run_id)
    track(service, mlflow)  # a new tracking process, whose cursor says that all is there
    after = run_of(mlflow, "job_wiped")
    assert after.info.run_id != before.info.run_id
    assert after.data.to_dictionary() == before.data.to_dictionary()


def test_a_rebuild_makes_a_running_tracking_process_start_anew(mlflow: MlflowClient, tmp_path: Path) -> None:
    service = Service()
    submit(service, "job_lost", tmp_path / "a")
    submit(service, "job_kept", tmp_path / "a")
    tracking = track(service, mlflow)
    mlflow.delete_run(run_of(mlflow, "job_lost").info.run_id)
    service.at = 0
    while tracking.step():
        pass
    assert run_of(mlflow, "job_lost").data.metrics["test/accuracy"] == 0.7
    assert run_of(mlflow, "job_kept").data.metrics["test/accuracy"] == 0.7


def test_the_cursor_stays_while_mlflow_is_away(mlflow: MlflowClient, tmp_path: Path, monkeypatch: Any) -> None:
    service = Service()
    submit(service, "job_away", tmp_path / "a")
    tracking = Tracking(service, mlflow, "http://mlflow.test/", "here/1")  # type: ignore[arg-type]
    with monkeypatch.context() as away:
        away.setattr(mlflow, "log_batch", lambda *_, **__: (_ for _ in ()).throw(MlflowException("connection refused")))
        with pytest.raises(MlflowException):
            tracking.step()
    assert service.at == 0
    tracking.step()
    assert service.at == 7
    assert run_of(mlflow, "job_away").info.status == "FINISHED"


def test_a_deleted_job_and_a_run_deleted_in_mlflow_hold_nobody_up(mlflow: MlflowClient, tmp_path: Path) -> None:
    service = Service()
    submit(service, "job_gone", tmp_path / "a")
    del service.known["job_gone"]
    submit(service, "job_unwanted", tmp_path / "a")
    tracking = track(service, mlflow)
    mlflow.delete_run(run_of(mlflow, "job_unwanted").info.run_id)
    service.add("job_unwanted", "metrics", {"epoch": 3, "step": 30, "values": {"train/loss": 0.1}})
    submit(service, "job_next", tmp_path / "a")
    while tracking.step():
        pass
    assert service.at == len(service.log)
    assert run_of(mlflow, "job_next").info.status == "FINISHED"


def test_a_job_that_cannot_be_written_is_passed_over_and_named_and_the_others_go_on(
    mlflow: MlflowClient, tmp_path: Path
) -> None:
    """Events that an older service let in: a metrics event of the wrong form, a state that nobody knows."""
    service = Service()
    submit(service, "job_before", tmp_path / "a")
    submit(service, "job_poison", tmp_path / "a")
    service.add("job_poison", "metrics", {"values": [1]})
    service.add("job_odd", "state", {"state": "dreaming"})
    service.known["job_odd"] = service.known["job_poison"].model_copy(update={"id": "job_odd"})
    submit(service, "job_after", tmp_path / "a")
    tracking = track(service, mlflow)
    assert service.at == len(service.log)
    assert {job: run_of(mlflow, job).info.status for job in ("job_before", "job_after")} == dict.fromkeys(
        ("job_before", "job_after"), "FINISHED"
    )
    assert set(tracking.passed_over) == {"job_poison", "job_odd"}
    assert "passed over 2 job(s)" in tracking.standing


def test_a_job_at_which_mlflow_fails_again_and_again_is_passed_over_while_it_answers_otherwise(
    mlflow: MlflowClient, tmp_path: Path, monkeypatch: Any
) -> None:
    service = Service()
    submit(service, "job_breaks", tmp_path / "a", tags={"breaks": "yes"})
    submit(service, "job_fine", tmp_path / "a")
    tracking = Tracking(service, mlflow, "http://mlflow.test/", "here/1")  # type: ignore[arg-type]
    create = mlflow.create_run

    def broken(experiment: str, started: int, tags: dict[str, str], name: str) -> Run:
        if "breaks" in tags:
            raise MlflowException("Internal Server Error")
        return create(experiment, started, tags, name)

    monkeypatch.setattr(mlflow, "create_run", broken)
    for _ in range(4):
        with pytest.raises(MlflowException):
            tracking.step()
    assert service.at == 0, "it may be MLflow"
    tracking.step()
    assert service.at == len(service.log)
    assert run_of(mlflow, "job_fine").info.status == "FINISHED"
    assert list(tracking.passed_over) == ["job_breaks"]
