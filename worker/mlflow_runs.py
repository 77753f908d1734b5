"""The MLflow side of tracking: one run per job, written in batches, every call harmless when repeated."""

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from mlflow import MlflowClient
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException

from pace_core.spec import RunResult, State
from service.client import Job, JobEvent, StudyReport, StudyView, SuiteTable, SuiteView
from worker import mlflow_views, projection
from worker.mlflow_views import AMONG_RUNS
from worker.projection import JOB_TAG, MEMBER, STATUS, STUDY_TAG, SUITE_TAG

T = TypeVar("T")
METRICS_A_CALL = 800  # MLflow takes 1,000 entities a call, of them 100 params and 100 tags
SMALL_A_CALL = 100
ADAPTER = "adapter.safetensors"
PICTURE = "confusion.svg"
"""Of what the model answered, beside the adapter."""
COPY_TAG = "pace.adapter"
"""Whether the run has a copy of the adapter: kept, or removed after a while."""
MLFLOW_PARENT = "mlflow.parentRunId"

log = logging.getLogger(__name__)


class Runs:
    """The MLflow runs of jobs, found by tag and remembered."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self._views = mlflow_views.Views(client)
        self._experiments: dict[str, str] = {}
        self._runs: dict[str, str] = {}

    def forget(self) -> None:
        """Forgets everything, to look it up again: MLflow may be another one, or emptied."""
        self._experiments.clear()
        self._runs.clear()
        self._views.forget()

    def any(self) -> bool:
        """Tells whether MLflow holds a run of any job."""
        experiments = [experiment.experiment_id for experiment in self._client.search_experiments()]
        has_tag = f"tags.`{JOB_TAG}` != ''"
        return bool(experiments and self._client.search_runs(experiments, has_tag, max_results=1))

    def write(self, job: Job, events: Sequence[JobEvent]) -> str | None:
        """Adds what these events say to the job's run; its place in MLflow's pages, under their address.

        A run begins when a worker takes the job: None for one that still waits. `job` is at least as new as the last
        of the events.
        """
        began = job.started_at or job.ended_at
        if began is None:
            return None
        run = self._of(job, began)
        states = [event for event in events if event.type == "state"]
        metrics = [metric for event in events for metric in projection.metrics_of(event)]
        ended = next((event for event in states if State(event.data["state"]).ended), None)
        result = job.result if ended else None
        if ended and result:
            metrics += projection.result_metrics(job, result, ended.at)
            self._client.log_inputs(run, [projection.data_input(job, result)])
            kept = self._keep_adapter(run, result)
            if result.architecture:
                self._client.log_dict(run, result.architecture, "architecture.json")
        tags = projection.state_tags(states[-1]) if states else []
        if ended and result and kept:
            tags.append(RunTag(COPY_TAG, "kept"))
        for some in _chunks(metrics[METRICS_A_CALL:], METRICS_A_CALL):
            self._client.log_batch(run, metrics=some)
        if metrics or tags:
            self._client.log_batch(run, metrics=metrics[:METRICS_A_CALL], tags=tags)
        if ended:
            self._client.set_terminated(run, STATUS[State(ended.data["state"])], round(ended.at.timestamp() * 1000))
        elif states:
            self._client.update_run(run, status=STATUS[State(states[-1].data["state"])])
        return f"#/experiments/{self._experiment(job.benchmark)}/runs/{run}?{AMONG_RUNS}"

    def _of(self, job: Job, began: datetime) -> str:
        run = self._runs.get(job.id)
        if run is None:
            experiment = self._experiment(job.benchmark)
            run = self._find(experiment, JOB_TAG, job.id) or self._create(experiment, job, began)
            # also where the run was found: whoever made it may have died before saying this
            params = projection.params_of(job.spec)
            for some in _chunks(params[SMALL_A_CALL:], SMALL_A_CALL):
                self._client.log_batch(run, params=some)
            waited, tags = [projection.queueing(job, began)], projection.membership(job)
            self._client.log_batch(run, params=params[:SMALL_A_CALL], metrics=waited, tags=tags)
            self._client.log_text(run, json.dumps(job.spec, indent=2), "spec.json")
            self._views.show_task(experiment, job.spec["task"]["name"])
            self._runs[job.id] = run
        return run

    def _create(self, experiment: str, job: Job, began: datetime) -> str:
        started = round(began.timestamp() * 1000)
        tags: dict[str, Any] = projection.tags_of(job)
        if job.study:
            tags[MLFLOW_PARENT] = self._parent(experiment, STUDY_TAG, job.study, started)
        elif job.suite:
            tags[MLFLOW_PARENT] = self._parent(experiment, SUITE_TAG, job.suite, started)
        created = self._client.create_run(experiment, started, tags, projection.run_name(job))
        return created.info.run_id

    def show_suite(self, job: Job, suite: SuiteView, reused: Sequence[str]) -> str:
        """Makes the view of a suite's runs; its place in MLflow's pages.

        `job` is one of them; `reused` are those that other suites began.
        """
        experiment = self._experiment(job.benchmark)
        for id in reused:
            run = self._runs.get(id) or self._find(experiment, JOB_TAG, id)
            if run:  # else the job waits still
                self._client.set_tag(run, f"{MEMBER}{suite.id}", "yes")
        return self._views.keep(experiment, mlflow_views.of_suite(suite))

    def write_suite(self, job: Job, suite: SuiteView, table: SuiteTable, files: Mapping[str, str]) -> None:
        """Ends the run that stands above a suite's jobs, with its table.

        `job` is one of them. `files`: name → text.
        """
        experiment = self._experiment(job.benchmark)
        run = self._parent(experiment, SUITE_TAG, suite.id, round(suite.created_at.timestamp() * 1000))
        ended = round((suite.ended_at or suite.created_at).timestamp() * 1000)
        self._client.update_run(run, name=projection.name_of(suite))
        for some in _chunks(projection.suite_metrics(table, ended), METRICS_A_CALL):
            self._client.log_batch(run, metrics=some)
        for some in _chunks(projection.suite_tags(suite), SMALL_A_CALL):
            self._client.log_batch(run, tags=some)
        for name, text in files.items():
            self._client.log_text(run, text, name)
        self._client.set_terminated(run, STATUS[State(suite.state)], ended)

    def write_study(self, study: StudyView, report: StudyReport, files: Mapping[str, str]) -> str:
        """Ends the run that stands above a study's trials, with its pictures; the place of its trials' view.

        `files`: name → text.
        """
        experiment = self._experiment(study.benchmark)
        started = round(study.created_at.timestamp() * 1000)
        run = self._parent(experiment, STUDY_TAG, study.id, started)
        ended = round((study.searched_at or study.created_at).timestamp() * 1000)
        self._client.update_run(run, name=projection.name_of(study))
        tags = projection.study_tags(study)
        if study.parent:
            tags.append(RunTag(MLFLOW_PARENT, self._parent(experiment, SUITE_TAG, study.parent, started)))
        self._client.log_batch(run, metrics=projection.study_metrics(study, report, ended), tags=tags)
        for name, text in files.items():
            self._client.log_text(run, text, name)
        with suppress(MlflowException):  # of a study that went on, MLflow keeps the first best's: its params are final
            self._client.log_batch(run, params=projection.study_params(study))
        self._client.set_terminated(run, "FAILED" if study.state == "failed" else "FINISHED", ended)
        return self._views.keep(experiment, mlflow_views.of_study(study))

    def _parent(self, experiment: str, tag: str, id: str, started: int) -> str:
        """The run of a suite or study, found by its tag or begun."""
        run = self._runs.get(id)
        if run is None:
            run = self._find(experiment, tag, id)
            run = run or self._client.create_run(experiment, started, {tag: id}, id).info.run_id
            self._runs[id] = run
        return run

    def _find(self, experiment: str, tag: str, id: str) -> str | None:
        """The run of the job, suite or study that has this id."""
        found = self._client.search_runs([experiment], f"tags.`{tag}` = '{id}'", max_results=1)
        return found[0].info.run_id if found else None

    def _experiment(self, benchmark: str | None) -> str:
        name, description = projection.experiment_of(benchmark)
        if name not in self._experiments:
            experiment = self._client.get_experiment_by_name(name)
            if experiment is None:
                tags = {"mlflow.note.content": description, "mlflow.experimentKind": "custom_model_development"}
                experiment = self._client.get_experiment(self._client.create_experiment(name, tags=tags))
            elif experiment.lifecycle_stage == "deleted":
                self._client.restore_experiment(experiment.experiment_id)
            self._views.meet(experiment)
            self._experiments[name] = experiment.experiment_id
        return self._experiments[name]

    def _keep_adapter(self, run: str, result: RunResult) -> bool:
        """Copies the adapter, if there is one; whether there is a copy now."""
        if result.adapter is None:
            return False
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / ADAPTER
            try:
                with fsspec.open(result.adapter.uri, "rb") as source:
                    copy.write_bytes(source.read())
            except OSError as error:  # deleted with its job meanwhile, or a storage that is not reached from here
                log.warning("%s: %s", result.adapter.uri, error)
                return False
            self._client.log_artifact(run, str(copy))
            self._copy_picture(run, result.adapter.uri, Path(folder) / PICTURE)
        return True

    def _copy_picture(self, run: str, adapter: str, copy: Path) -> None:
        """Copies the confusion matrix, which lies beside the adapter; none where an older worker wrote none."""
        try:
            with fsspec.open(f"{adapter.rpartition('/')[0]}/{PICTURE}", "rb") as source:
                copy.write_bytes(source.read())
        except OSError:
            return
        self._client.log_artifact(run, str(copy))


def refused(error: MlflowException) -> bool:
    """Tells whether MLflow refused for good, such as for a run that a user deleted: asking again is of no use."""
    return error.error_code in ("INVALID_PARAMETER_VALUE", "INVALID_STATE", "BAD_REQUEST")


def missing(error: MlflowException) -> bool:
    """Tells whether something that we remember of MLflow no longer exists."""
    return error.error_code == "RESOURCE_DOES_NOT_EXIST"


def _chunks(items: list[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
