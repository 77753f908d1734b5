"""What MLflow has after a suite of four rows on two tasks, of which one run is another suite's."""

from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from pace_core.spec import Metric
from tests.worker.tracked import Service, begin_suite, submit, track

ROWS = {"Linear": 0.61, "LoRA_add": 0.66, "LoRA_mul+VPT_add": 0.69, "PACE": 0.74}
TASKS = ("cifar", "dtd")
EPOCHS = 20
SUITE = "suite_pace_helps"


def tell(mlflow: MlflowClient, folder: Path) -> Service:
    """Tracks the suite's jobs, a job of another suite that it reuses, and one of nobody's; the service that said so."""
    service = Service()
    jobs: list[str] = []
    for task in TASKS:
        for row, accuracy in ROWS.items():
            reused = (task, row) == ("dtd", "Linear")
            jobs.append(f"job_{task}_{len(jobs)}")
            _run(service, jobs[-1], folder, task, row, accuracy, suite="suite_before" if reused else SUITE)
    begin_suite(service, "suite_before", [jobs[len(ROWS)]], name="linear probes", rows=["Linear"], tasks=["dtd"])
    begin_suite(service, SUITE, jobs, rows=list(ROWS), tasks=list(TASKS), reused=1)
    _run(service, "job_alone", folder, "cifar", "PACE", 0.5, suite=None)
    track(service, mlflow)
    return service


def _run(service: Service, id: str, folder: Path, task: str, row: str, accuracy: float, suite: str | None) -> None:
    events = len(service.log)
    job = submit(service, id, folder / f"{id}.safetensors", row=row, suite=suite)
    result = job.result
    assert result
    spec: dict[str, Any] = job.spec | {"task": job.spec["task"] | {"name": f"vtab-1k/{task}"}}
    measured = [Metric(task=f"vtab-1k/{task}", split="test", metric="accuracy", value=accuracy, epoch=EPOCHS)]
    changed = {"metrics": measured, "seconds": 60 + 400 * accuracy}
    update = {"spec": spec, "task": task, "result": result.model_copy(update=changed)}
    service.known[id] = job.model_copy(update=update)
    first = next(place for place in range(events, len(service.log)) if service.log[place].type == "metrics")
    last = [event for event in service.log[first:] if event.type != "metrics"]
    del service.log[first:]
    for epoch in range(1, EPOCHS + 1):
        near = 1 - 0.8**epoch
        values = {
            "train/loss_classification": 2.2 - near * 2 * accuracy,
            "val/accuracy": near * accuracy,
            "train/lr": 0.001,
        }
        if row == "PACE":
            values["train/loss_consistency"] = 0.4 - 0.3 * near
        values["train/loss"] = values["train/loss_classification"] + values.get("train/loss_consistency", 0.0)
        service.add(id, "metrics", {"epoch": epoch, "step": 10 * epoch, "values": values})
    for event in last:
        service.add(id, event.type, event.data)
