"""Removes from MLflow what is no longer wanted there: runs of deleted jobs, and old copies of adapters."""

import logging
import time
from collections.abc import Iterator

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from service.client import Client
from worker.mlflow_runs import ADAPTER, COPY_TAG
from worker.projection import JOB_TAG

EVERY_S = 300.0
_PAGE = 200

log = logging.getLogger(__name__)


class Upkeep:
    """The upkeep of MLflow; `keep_copies_s`: how long after its end a run keeps its copy of the adapter."""

    def __init__(self, client: Client, mlflow: MlflowClient, keep_copies_s: float) -> None:
        self._client = client
        self._mlflow = mlflow
        self._keep_copies_s = keep_copies_s
        self._gone: set[str] = set()
        """Deleted jobs of which MLflow has nothing any more."""
        self._due_at = 0.0

    def look_when_due(self) -> None:
        """Does `look` at the first call, and then every few minutes. Raises MlflowException while MLflow is away."""
        if time.monotonic() >= self._due_at:
            self._due_at = time.monotonic() + EVERY_S
            self.look()

    def look(self) -> None:
        """Removes what is due."""
        deleted = set(self._client.worker.deleted_jobs())
        self._gone &= deleted
        for job in sorted(deleted - self._gone):
            for run in list(self._runs(f"tags.`{JOB_TAG}` = '{job}'")):
                self._remove(run, "")  # MLflow only marks a deleted run, and keeps its files
                self._mlflow.delete_run(run.info.run_id)
                log.info("%s was deleted; its run is removed", job)
            self._gone.add(job)
        long_ago = round((time.time() - self._keep_copies_s) * 1000)
        for run in list(self._runs(f"tags.`{COPY_TAG}` = 'kept' and attributes.end_time < {long_ago}")):
            self._remove(run, ADAPTER)
            self._mlflow.set_tag(run.info.run_id, COPY_TAG, "removed")

    def _runs(self, wanted: str) -> Iterator[Run]:
        experiments = [experiment.experiment_id for experiment in self._mlflow.search_experiments()]
        token: str | None = None
        while experiments:
            page = self._mlflow.search_runs(experiments, wanted, max_results=_PAGE, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def _remove(self, run: Run, path: str) -> None:
        """Removes one of the run's files, all of them where the path is empty."""
        repository = get_artifact_repository(run.info.artifact_uri, tracking_uri=self._mlflow.tracking_uri)
        there = {file.path for file in repository.list_artifacts()}
        if path in there or (there and not path):
            repository.delete_artifacts(path or None)
