"""A service that is a list of events, and what MLflow has of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from pace_core.spec import Metric, Provenance, RunResult
from service.client import Job, ProblemError, StudyReport, StudyView, SuiteTable, SuiteView
from service.events.schemas import PlacedEvent
from tests.worker.test_study_pictures import REQUEST
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
        self.jobs = SimpleNamespace(get=self._get, list=self._list)
        self.known_suites: dict[str, SuiteView] = {}
        self.members: dict[str, list[str]] = {}
        """Suite → its jobs, those too that it reuses."""
        self.suites = SimpleNamespace(
            get=self.known_suites.__getitem__,
            list=lambda job: [self.known_suites[suite] for suite, jobs in self.members.items() if job in jobs],
            table=lambda suite: SuiteTable.model_construct(rows=[], differences=[]),
            written=lambda suite, form: f"the table as {form}",
            set_tracking=self.links.__setitem__,
        )
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

    def _list(self, suite: str) -> list[Job]:
        return [self.known[job] for job in self.members[suite]]

    def add(self, job: str, type: str, data: dict[str, Any]) -> None:
        number = len(self.log) + 1
        at = START + timedelta(seconds=number)
        self.log.append(
            PlacedEvent(position=number, job=job, number=number, attempt=1, seq=None, at=at, type=type, data=data)
        )


def begin_suite(service: Service, id: str, jobs: list[str], **changes: Any) -> SuiteView:
    """A suite of two rows on one task that has ended, with these jobs."""
    fields: dict[str, Any] = {"name": "does PACE help", "rows": ["LoRA_add", "PACE"], "tasks": ["cifar"], "reused": 0}
    fields |= {"benchmark": "vtab-1k", "phase": "final"}
    fields |= {"state": "succeeded", "ended_at": START + timedelta(hours=1), "mlflow_url": None}
    suite = SuiteView(
        id=id,
        project="main",
        owner="ada",
        counts={"succeeded": len(jobs)},
        runs=len(jobs),
        seeds=[3],
        trials=0,
        trials_ended=0,
        max_parallel=None,
        stop_after=None,
        stopped=None,
        cancel_requested=False,
        minutes_left=0.0,
        created_at=START,
        **(fields | changes),
    )
    service.known_suites[id], service.members[id] = suite, jobs
    return suite


def study_view(found: StudyReport) -> StudyView:
    """A study of `cifar` over sigma and lambda that has found this."""
    return StudyView(
        id="study_1",
        project="main",
        owner="ada",
        name="sigma and lambda",
        benchmark="vtab-1k",
        task="cifar",
        row="PACE",
        state="succeeded",
        message=None,
        request=REQUEST.model_dump(mode="json", by_alias=True),
        trials=9,
        counts={"finished": 9},
        rungs=[3],
        epochs_spent=27,
        best=found.best,
        importance=found.importance,
        suite=None,
        parent=None,
        created_at=START,
        searched_at=START + timedelta(hours=1),
        ended_at=START + timedelta(hours=1),
        mlflow_url=None,
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
