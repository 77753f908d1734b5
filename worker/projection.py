"""Projection of a job and its events onto MLflow: plain functions, no connection."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag

from pace_core.spec import EventType, RunResult, State, load_benchmarks, published_beside
from service.client import Job, JobEvent, StudyReport, StudyRequest, StudyView, SuiteTable, SuiteView

OWN = "own"
"""Experiment of the tasks that belong to no benchmark."""
JOB_TAG = "pace.job"
SUITE_TAG = "pace.suite"
STUDY_TAG = "pace.study"
MEMBER = "pace.in."
"""Begins the tag by which the runs of a suite or study are found, those too that a suite reuses. A trial belongs to its
study alone, also where a suite asked for the study."""
NAME_LETTERS = 250
"""Longest name of a run."""

STATUS: dict[State, str] = {
    State.QUEUED: "SCHEDULED",
    State.STARTING: "RUNNING",
    State.RUNNING: "RUNNING",
    State.PAUSED: "SCHEDULED",
    State.SUCCEEDED: "FINISHED",
    State.FAILED: "FAILED",
    State.CANCELLED: "KILLED",
}


def slug(name: str) -> str:
    """Returns the name in MLflow's letters: word characters, blanks, `-` and `.`; all else becomes a single `-`."""
    return re.sub(r"\s*[^\w. -]+\s*", "-", name).strip("-. ") or "-"


def experiment_of(benchmark_name: str | None) -> tuple[str, str]:
    """Returns name and description of a benchmark's experiment; that of the users' own tasks is `own`."""
    benchmark = load_benchmarks().get(benchmark_name or "")
    if benchmark is None:
        return OWN, "Tasks with data of the users' own."
    return benchmark.name, f"{benchmark.title}. {benchmark.protocol}"


def run_name(job: Job) -> str:
    """Returns the job's name, else task/row/seed, with the draw where there are several; unchanged, since a run's name
    may hold any letter."""
    return printable(job.name or f"{job.task}/{job.row or job.spec['method']['name']}/{job.seed}{_draw(job)}")


def printable(name: str) -> str:
    """Returns the name in one line of letters that show, as long as a run's name may be."""
    return "".join(char if char.isprintable() else " " for char in name)[:NAME_LETTERS]


def _draw(job: Job) -> str:
    draw = job.spec["task"].get("draw")
    return "" if draw is None else f"/draw{draw}"


def tags_of(job: Job) -> dict[str, str]:
    """Tags that never change; `pace.job` is how the run is found again. Their keys are in MLflow's letters."""
    own = {slug_key(key): value for key, value in job.tags.items() if not key.startswith(("mlflow.", "pace."))}
    return own | {
        JOB_TAG: job.id,
        "pace.task": job.spec["task"]["name"],
        "pace.row": job.row,
        "pace.seed": str(job.seed),
        "pace.project": job.project,
        "pace.name": job.name,
        "mlflow.user": job.owner,
        "mlflow.source.name": "pace",
    }


def membership(job: Job) -> list[RunTag]:
    """Returns the tag by which the run is found among those of its suite or study."""
    group = job.study or job.suite
    return [RunTag(f"{MEMBER}{group}", "yes")] if group else []


def params_of(spec: Mapping[str, Any]) -> list[Param]:
    """Flattens the resolved spec: `regularizer.sigma`."""
    return [Param(key, value if isinstance(value, str) else json.dumps(value)) for key, value in _flat(spec)]


def queueing(job: Job, began: datetime) -> Metric:
    """Returns `queued_s`: how long the job waited before it began, which is not part of the run's own time."""
    return Metric("queued_s", (began - job.created_at).total_seconds(), _ms(began), 0)


def metrics_of(event: JobEvent) -> list[Metric]:
    """Returns what a metrics event measured, at its own time; the step is the epoch."""
    if event.type != EventType.METRICS:
        return []
    at, epoch = _ms(event.at), event.data.get("epoch") or 0
    values = event.data["values"].items()
    return [Metric(slug_key(key), value, at, epoch) for key, value in values if isinstance(value, int | float)]


def slug_key(key: str) -> str:
    """Returns a metric's or tag's key; slashes, by which MLflow groups charts, are kept."""
    return "/".join(slug(part) for part in key.split("/"))


def result_metrics(job: Job, result: RunResult, at: datetime) -> list[Metric]:
    """Returns the final numbers under the same keys as during training, their cost, and how they compare."""
    ms = _ms(at)
    task = job.spec["task"]["name"]
    found = [
        Metric(
            f"{m.split}/{m.metric}" if m.task == task else f"{m.split}/{m.metric}/{slug(m.task)}", m.value, ms, m.epoch
        )
        for m in result.metrics
    ]
    last = max((m.epoch for m in result.metrics), default=0)
    costs = {
        "cost/minutes": round(result.seconds / 60, 3),
        "cost/peak_memory_mib": result.peak_memory_bytes / 2**20,
        "cost/images_per_s": result.images_per_s,
        "cost/trainable_parameters": result.trainable_parameters,
    }
    return found + [Metric(key, value, ms, last) for key, value in (costs | compared(job, result)).items()]


def compared(job: Job, result: RunResult) -> dict[str, float]:
    """Returns `published/<row>` and `vs/<row>` (ours minus it), as fractions, of what the benchmark reports only.

    For the published row of the job's own label and for the best published one on the task.
    """
    benchmark = load_benchmarks().get(job.benchmark or "")
    ours = result.value(benchmark.reported, benchmark.metric_of(job.task)) if benchmark else None
    if ours is None:
        return {}
    pairs = _published(job.benchmark, job.task, job.row)
    return {f"published/{label}": value for label, value in pairs.items()} | {
        f"vs/{label}": round(ours - value, 6) for label, value in pairs.items()
    }


def measured_keys(benchmark_name: str | None, tasks: Sequence[str], phase: str) -> list[str]:
    """Returns the keys under which runs on these tasks say how good they are; the users' own tasks say accuracy."""
    benchmark = load_benchmarks().get(benchmark_name or "")
    split = benchmark.reported if benchmark and phase == benchmark.phase else "test" if phase == "final" else "val"
    metrics = dict.fromkeys(benchmark.metric_of(task) for task in tasks) if benchmark else ()
    return [f"{split}/{metric}" for metric in metrics or ("accuracy",)]


def compared_keys(benchmark: str | None, tasks: Sequence[str], rows: Sequence[str]) -> list[str]:
    """Returns the keys `vs/<row>` that runs of these rows on these tasks may have, those of their own labels first."""
    each = [_published(benchmark, task, row) for row in rows for task in tasks]
    own = [next(iter(pairs)) for pairs in each if pairs]
    return [f"vs/{label}" for label in dict.fromkeys([*own, *(label for pairs in each for label in pairs)])]


def _published(benchmark: str | None, task: str, row: str) -> dict[str, float]:
    """Returns by label, as fractions: the published row of this label, if there is one, and the best on the task."""
    rows = [
        (each.label, each.values[task] / 100)
        for table in published_beside(benchmark or "")
        for each in table.rows
        if task in each.values and not each.setting and not each.doubt
    ]
    if not rows:
        return {}
    namesakes = [each for each in rows if each[0].casefold() == row.casefold()]
    return {slug(label): value for label, value in (*namesakes[:1], max(rows, key=lambda each: each[1]))}


def data_input(job: Job, result: RunResult) -> DatasetInput:
    """Returns the data set that the run read, with the hash of its whole data."""
    task = job.spec["task"]
    source = {key: value for key, value in task.items() if key != "phase"}
    dataset = Dataset(
        name=task["name"],
        digest=result.provenance.data_hash[:36],
        source_type=task["source"],
        source=json.dumps(source, sort_keys=True),
    )
    return DatasetInput(dataset, [])


def state_tags(event: JobEvent) -> list[RunTag]:
    """Returns state, attempt and end reason, as a state event has them."""
    said = {"pace.state": event.data["state"], "pace.attempt": str(event.attempt)}
    if event.data.get("reason"):
        said["pace.reason"] = event.data["reason"]
    if event.data.get("message"):
        said["mlflow.note.content"] = event.data["message"]
    return [RunTag(key, value) for key, value in said.items()]


def name_of(parent: SuiteView | StudyView) -> str:
    """Returns the suite's or study's name, else its id."""
    return printable(parent.name or parent.id)


def study_metrics(study: StudyView, report: StudyReport, at: int) -> list[Metric]:
    """Returns the best value with its interval, what matters, and what the search took."""
    best = study.best
    found = {"best": best.value if best else None, "best/low": report.low, "best/high": report.high}
    found |= {f"importance/{path}": share for path, share in report.importance.items()}
    found |= {"trials": float(len(report.trials)), "epochs": float(study.epochs_spent)}
    return [Metric(slug_key(key), value, at, 0) for key, value in found.items() if value is not None]


def study_params(study: StudyView) -> list[Param]:
    """Returns how it was searched, and the settings of the best."""
    asked = StudyRequest.model_validate(study.request)
    said: dict[str, Any] = {"search": asked.search, "scheduler": asked.scheduler, "task": study.task, "row": study.row}
    best = study.best.config if study.best else {}
    return [Param(key, str(value)) for key, value in said.items()] + [
        Param(f"best.{slug(path)}", json.dumps(value)) for path, value in best.items()
    ]


def study_tags(study: StudyView) -> list[RunTag]:
    """Returns how the study stands."""
    counts = ", ".join(f"{count} {state}" for state, count in sorted(study.counts.items()))
    said = {
        "pace.state": study.state,
        "pace.project": study.project,
        "pace.name": study.name,
        "mlflow.user": study.owner,
        "mlflow.note.content": f"{study.message}\n\n{counts}" if study.message else counts,
    }
    return [RunTag(key, value) for key, value in said.items()]


def suite_metrics(table: SuiteTable, at: int) -> list[Metric]:
    """Returns `mean/<row>` of every row that covers all tasks, and `vs/<row>`: what it differs by from its partner."""
    means = [
        Metric(f"mean/{slug(row.label)}", row.mean.value, at, 0)
        for row in table.rows
        if row.kind == "measured" and row.mean and row.mean.complete
    ]
    return means + [
        Metric(f"vs/{slug(each.versus)}/{slug(each.row)}", each.mean, at, 0)
        for each in table.differences
        if each.task is None and each.over == "tasks"
    ]


def suite_tags(suite: SuiteView) -> list[RunTag]:
    """Returns how the suite stands."""
    said = {
        "pace.state": suite.state,
        "pace.project": suite.project,
        "pace.name": suite.name,
        "mlflow.user": suite.owner,
    }
    counts = ", ".join(f"{count} {state}" for state, count in sorted(suite.counts.items()))
    said["mlflow.note.content"] = f"{suite.stopped}\n\n{counts}" if suite.stopped else counts
    return [RunTag(key, value) for key, value in said.items()]


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
