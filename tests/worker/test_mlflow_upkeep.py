"""What goes from a real MLflow store: runs of deleted jobs, and copies of adapters after a while."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from worker.mlflow_runs import ADAPTER, COPY_TAG
from worker.mlflow_upkeep import Upkeep
from worker.projection import JOB_TAG

DAY_S = 86_400.0


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def mlflow(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(tmp_path)
    return MlflowClient(store)


def run_of(mlflow: MlflowClient, tmp_path: Path, job: str, ended_days_ago: float) -> Run:
    """A run as tracking leaves it."""
    experiment = mlflow.create_experiment(job, artifact_location=str(tmp_path / job))
    run = mlflow.create_run(experiment, tags={JOB_TAG: job, COPY_TAG: "kept"})
    for name in (ADAPTER, "spec.json"):
        mlflow.log_text(run.info.run_id, "content", name)
    mlflow.set_terminated(run.info.run_id, "FINISHED", round((time.time() - ended_days_ago * DAY_S) * 1000))
    return run


def upkeep(mlflow: MlflowClient, *deleted: str) -> Upkeep:
    service = SimpleNamespace(worker=SimpleNamespace(deleted_jobs=lambda: list(deleted)))
    return Upkeep(service, mlflow, 30 * DAY_S)


def files(mlflow: MlflowClient, run: Run) -> list[str]:
    return sorted(file.path for file in mlflow.list_artifacts(run.info.run_id))


def test_the_run_of_a_deleted_job_goes_with_its_files(mlflow: MlflowClient, tmp_path: Path) -> None:
    gone, stays = (run_of(mlflow, tmp_path, job, 0) for job in ("job_gone", "job_stays"))
    looking = upkeep(mlflow, "job_gone", "job_never_tracked")
    for _ in range(2):  # again finds nothing to do
        looking.look()
        assert mlflow.get_run(gone.info.run_id).info.lifecycle_stage == "deleted"
        assert not [path for path in (tmp_path / "job_gone").rglob("*") if path.is_file()]
        assert mlflow.get_run(stays.info.run_id).info.lifecycle_stage == "active"
        assert files(mlflow, stays) == [ADAPTER, "spec.json"]


def test_copies_of_adapters_go_after_a_while_and_the_run_stays(mlflow: MlflowClient, tmp_path: Path) -> None:
    old, new = run_of(mlflow, tmp_path, "job_old", 31), run_of(mlflow, tmp_path, "job_new", 29)
    upkeep(mlflow).look()
    assert files(mlflow, old) == ["spec.json"]
    assert mlflow.get_run(old.info.run_id).data.tags[COPY_TAG] == "removed"
    assert files(mlflow, new) == [ADAPTER, "spec.json"]


def test_it_looks_once_in_a_while(mlflow: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    looking, looks = upkeep(mlflow), list[None]()
    monkeypatch.setattr(looking, "look", lambda: looks.append(None))
    for _ in range(3):
        looking.look_when_due()
    assert len(looks) == 1
