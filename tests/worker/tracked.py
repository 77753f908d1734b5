"""A service that is a list of events, and what MLflow has of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from pace_core.spec import Metric, Provenance, RunResult
from service.client import Job, ProblemError, StudyReport, StudyView
from service.events.schemas import PlacedEvent
from worker.tracking import Tracking

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Service:
    """Its events, its one cursor and its jobs, as the client shows them."""

    def __init__(self) -> None:
        self.log: list[PlacedEvent] = []
        self.known: dict[str, Job] = {}
        self.at = 0
        self.links: dict[str, str] = {}
        self.worker = SimpleNamespace(
            cursor=lambda name: self.at,
            set_cursor=self._set_cursor,
            events=self._events,
            set_tracking=self.links.__setitem__,
        )
        self.jobs = SimpleNamespace(get=self._get)
        self.searched: dict[str, tuple[StudyView, StudyReport]] = {}
        """Studies that have ended, until they are tracked."""
        self.studies = SimpleNamespace(
            untracked=lambda: [study for study, _ in self.searched.values()],
            report=lambda study: self.searched[study][1],
            set_tracking=self._tracked,
        )

    def _tracked(self, study: str, url: str) -> None:
        self.links[study] = url
        del self.searched[study]

    def _set_cursor(self, name: str, position: int, holder: str) -> None:
        self.at = position

    def _events(self, after: int, limit: int, wait_s: float) -> list[PlacedEvent]:
        return self.log[after : after + limit]

    def _get(self, job: str) -> Job:
        if job not in self.known:
            raise ProblemError(404, "about:not-found", f"there is no job {job}", [])
        return self.known[job]

    def add(self, job: str, type: str, data: dict[str, Any]) -> None:
        number = len(self.log) + 1
        at = START + timedelta(seconds=number)
        self.log.append(
            PlacedEvent(position=number, job=job, number=number, attempt=1, seq=None, at=at, type=type, data=data)
        )


def submit(service: Service, id: str, adapter: Path, **changes: Any) -> Job:
    """A job of the published benchmark that runs two epochs and succeeds with 70 % on the test split."""
    adapter.write_bytes(b"weights")
    task = "vtab-1k/cifar"
    result = RunResult(
        metrics=[Metric(task=task, split="test", metric="accuracy", value=0.7, epoch=2)],
        trainable_parameters=1234,
        adapter_parameters=1000,
        seconds=90,
        train_seconds=80,
        images_per_s=25,
        peak_memory_bytes=3 * 2**20,
        adapter={"uri": str(adapter), "sha256": "0" * 64},
        provenance=Provenance(
            code_version="v",
            results_version=1,
            weights_hash="w",
            data_hash="d" * 64,
            precision="float32",
            device="cpu",
            cpu_features="",
            threads=1,
            libraries={},
        ),
    )
    spec = {
        "task": {"name": task, "source": "vtab_folder", "phase": "final"},
        "method": {"name": "lora_mul_vpt_add", "rank": 8},
        "regularizer": {"name": "pace", "sigma": 0.5, "lambda": 0.1},
        "seed": 3,
    }
    fields: dict[str, Any] = {"row": "PACE", "benchmark": "vtab-1k", "tags": {"lab": "north"}} | changes
    job = Job(
        id=id,
        project="main",
        owner="ada",
        priority=50,
        state="succeeded",
        attempt=1,
        max_attempts=3,
        spec=spec,
        task="cifar",
        phase="final",
        seed=3,
        created_at=START,
        started_at=START + timedelta(seconds=len(service.log) + 2),
        result=result,
        **fields,
    )
    service.known[id] = job
    service.add(id, "state", {"move": "submit", "state": "queued"})
    service.add(id, "state", {"move": "claim", "state": "starting", "attempt": 1})
    service.add(id, "stage", {"name": "train"})
    for epoch in (1, 2):
        service.add(id, "metrics", {"epoch": epoch, "step": 10 * epoch, "values": {"train/loss": 1 / epoch}})
    service.add(id, "end", {"reason": "succeeded", "message": "", "result": {}})
    service.add(id, "state", {"move": "succeed", "state": "succeeded", "attempt": 1, "reason": "succeeded"})
    return job


def all_runs(mlflow: MlflowClient) -> list[Run]:
    return list(mlflow.search_runs([e.experiment_id for e in mlflow.search_experiments()], run_view_type=ViewType.ALL))


def run_of(mlflow: MlflowClient, job: str) -> Run:
    experiments = [e.experiment_id for e in mlflow.search_experiments()]
    (run,) = mlflow.search_runs(experiments, f"tags.`pace.job` = '{job}'")
    return run


def all_runs_of(mlflow: MlflowClient, job: str) -> list[Run]:
    return [run for run in all_runs(mlflow) if run.data.tags["pace.job"] == job]


def track(service: Service, mlflow: MlflowClient) -> Tracking:
    tracking = Tracking(service, mlflow, "http://mlflow.test/", "here/1")  # type: ignore[arg-type]
    while tracking.step():
        pass
    return tracking
