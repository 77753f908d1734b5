"""MLflow as a projection of job events: a real MLflow store, and a service that is a list of events."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from pace_core.spec import Metric, Provenance, RunResult, State
from service.client import Job, ProblemError, StudyReport, StudyView
from service.events.schemas import PlacedEvent
from tests.worker.test_study_pictures import REQUEST, report
from worker.projection import slug
from worker.tracking import Tracking

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def mlflow(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    monkeypatch.chdir(tmp_path)  # where a store without a server keeps its artifacts
    client = MlflowClient(store)
    yield client
    for run in all_runs(client):
        client.delete_run(run.info.run_id)


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

    def _set_cursor(self, name: str, position: int) -> None:
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
        adapter={"uri": str(adapter), "sha256": "0"},
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
    tracking = Tracking(service, mlflow, "http://mlflow.test/")  # type: ignore[arg-type]
    while tracking.step():
        pass
    return tracking


def test_a_job_becomes_a_run_with_its_settings_curves_result_and_files(mlflow: MlflowClient, tmp_path: Path) -> None:
    service = Service()
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
    assert {file.path for file in mlflow.list_artifacts(run.info.run_id)} == {"adapter.safetensors", "spec.json"}
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
    tracking = Tracking(service, mlflow, "http://mlflow.test/")  # type: ignore[arg-type]
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
    tracking = Tracking(service, mlflow, "http://mlflow.test/")  # type: ignore[arg-type]
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


def test_names_are_put_into_mlflows_letters() -> None:
    assert slug("LoRA_mul+VPT_add") == "LoRA_mul-VPT_add"
    assert slug("LoRA (NOAH)") == "LoRA-NOAH"
    assert slug("a/b") == "a-b"
    assert slug("…") == "-"


def test_a_study_is_a_run_above_its_trials_with_its_pictures(mlflow: MlflowClient, tmp_path: Path) -> None:
    service = Service()
    submit(service, "job_trial", tmp_path / "adapter", study="study_1")
    found = report(importance={"regularizer.sigma": 0.9, "regularizer.lambda": 0.1})
    study = StudyView(
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
    assert above.info.run_id in service.links["study_1"]
    assert service.searched == {}
