"""What must hold when all is over, whatever happened."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from pace_core.spec import EventType
from service import postgres
from service.client import Job
from service.events.schemas import PlacedEvent
from service.local.record import Folder
from tests.stack import History
from worker.projection import STATUS


@dataclass
class Log:
    """The log of all jobs' events, as a reader has followed it while things happened."""

    after: int
    """Position behind which it began."""
    position: int = 0
    """Of its last event."""
    trouble: list[str] = field(default_factory=list[str])
    of_jobs: dict[str, list[PlacedEvent]] = field(default_factory=lambda: defaultdict(list))
    ended: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        self.position = self.after

    def read(self, events: Iterable[PlacedEvent]) -> None:
        for event in events:
            if event.position != self.position + 1:
                self.trouble.append(f"after position {self.position} comes {event.position}")
            self.position = event.position
            self.of_jobs[event.job].append(event)
            if event.type == EventType.STATE and event.data["state"] in ("succeeded", "failed", "cancelled"):
                self.ended.add(event.job)


def check_job(history: History, log: Log, adapters: dict[str, str], storage: Path) -> list[str]:
    """Returns what is wrong with a job: it ended once, its events are whole, its adapter is the undisturbed one's.

    `adapters`: what makes jobs alike → checksum of the adapter that such a job has when nothing happens.
    """
    job, trouble = history.job, list[str]()
    try:
        history.check_order()
    except AssertionError as error:
        trouble.append(f"its history is not whole: {(str(error) or 'a gap').splitlines()[0]}")
    if [event.number for event in log.of_jobs[job.id]] != [event.number for event in history.events]:
        trouble.append(f"the log of all jobs has {len(log.of_jobs[job.id])} of its {len(history.events)} events")
    if job.state == "succeeded":
        assert job.result is not None
        assert job.result.adapter is not None
        if job.result.adapter.sha256 != adapters[kind_of(job)]:
            trouble.append("another adapter than undisturbed")
        file = Path(job.result.adapter.uri)
        if not file.is_relative_to(storage) or checksum(file) != job.result.adapter.sha256:
            trouble.append("its adapter is not in the storage as it was said")
    elif not failed_for_room(job):
        trouble.append(f"{job.state} ({job.reason}: {job.message})")
    return [f"{job.id}: {what}" for what in trouble]


def failed_for_room(job: Job) -> bool:
    """Tells whether the disk was full: then a job may fail, if it says so; whoever submitted it tries again."""
    return job.state == "failed" and job.reason == "disk_full"


def kind_of(job: Job) -> str:
    """Equal for jobs that must have the same adapter."""
    return f"{job.task}/{job.seed}"


def checksum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def check_mlflow(folder: Folder, histories: Sequence[History]) -> list[str]:
    """Compares what MLflow has stored with the jobs' events: one run of each job, each number, how it ended."""
    runs, metrics = _stored(folder, [history.job.id for history in histories])
    trouble: list[str] = []
    for history in histories:
        job, found = history.job, runs.get(history.job.id, [])
        if len(found) != 1 and history.job.started_at is not None:
            trouble.append(f"{job.id}: {len(found)} runs in MLflow")
            continue
        for run, status, artifacts in found:
            said = {
                (key, value, event.data["epoch"], round(event.at.timestamp() * 1000))
                for event in history.of("metrics")
                for key, value in event.data["values"].items()
                if value is not None
            }
            got = metrics[run]
            if status != STATUS[job.state]:
                trouble.append(f"{job.id}: MLflow says {status}, it is {job.state}")
            if not said <= got:
                trouble.append(f"{job.id}: MLflow lacks {len(said - got)} of its {len(said)} numbers")
            result = {f"{m.split}/{m.metric}" for m in job.result.metrics} if job.result else set[str]()
            more = {key for key, *_ in got - said} - result
            if strange := {key for key in more if not key.startswith(("cost/", "queued_s"))}:
                trouble.append(f"{job.id}: MLflow has numbers of {strange} that no event said")
            if job.result and job.result.value("test") not in {v for k, v, *_ in got if k == "test/accuracy"}:
                trouble.append(f"{job.id}: MLflow has another result")
            if job.result and job.result.adapter and _kept(folder, artifacts) != job.result.adapter.sha256:
                trouble.append(f"{job.id}: MLflow has another adapter")
    return trouble


Number = tuple[str, float, int, int]


def _stored(folder: Folder, jobs: list[str]) -> tuple[dict[str, list[tuple[str, str, str]]], dict[str, set[Number]]]:
    """Reads MLflow's own database: runs by job, and the numbers of each."""
    runs: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    metrics: dict[str, set[Number]] = defaultdict(set)
    with psycopg.connect(postgres.database_url(folder.postgres, "mlflow")) as connection:
        of_jobs = connection.execute(
            "SELECT tags.value, runs.run_uuid, runs.status, runs.artifact_uri FROM runs JOIN tags USING (run_uuid)"
            " WHERE tags.key = 'pace.job' AND tags.value = ANY(%s)",
            [jobs],
        )
        for job, run, status, artifacts in of_jobs:
            runs[job].append((run, status, artifacts))
        ids = [run for found in runs.values() for run, *_ in found]
        for run, *number in connection.execute(
            "SELECT run_uuid, key, value, step, timestamp FROM metrics WHERE run_uuid = ANY(%s)", [ids]
        ):
            metrics[run].add(_number(*number))
    return runs, metrics


def _number(key: str, value: float, step: int, timestamp: int) -> Number:
    return key, value, step, timestamp


def _kept(folder: Folder, artifacts: str) -> str:
    return checksum(folder.storage / "mlflow" / artifacts.partition(":/")[2].lstrip("/") / "adapter.safetensors")
