"""Submit by REST; the accuracy comes out in the job, on the leaderboard and in MLflow, and is the same number."""

import re
import subprocess
import sys
from typing import Any

import httpx2
import pytest

from tests.stack import Stack, Watched, until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def job(stack: Stack) -> Watched:
    spec = {
        "task": {"name": "vtab-mini/digits"},
        "method": {"name": "linear"},
        "optimizer": {"lr": 0.02},
        "training": {"epochs": 1, "warmup_epochs": 0.1, "schedule": "step", "batch_size": 64, "drop_path": 0.0},
    }
    answer = stack.rest.post("/v1/jobs", json={"spec": spec, "row": "Linear", "tags": {"sheet": "2"}})
    assert answer.status_code == 202, answer.text
    return Watched(stack, answer.json()["id"])


def run_in_mlflow(stack: Stack, job: Watched, other_than: str | None = None) -> dict[str, Any]:
    """The finished run that the job's link leads to; tracking and MLflow are behind the job."""

    def look() -> dict[str, Any] | None:
        link = job.now().mlflow_url
        if not link or link == other_than:
            return None
        base, run_id = re.fullmatch(r"(.+)/#/experiments/\d+/runs/(\w+)\?workflowType=machine_learning", link).groups()
        answer = httpx2.get(f"{base}/api/2.0/mlflow/runs/get", params={"run_id": run_id}, timeout=30)
        run = answer.raise_for_status().json()["run"]
        return run if run["info"]["status"] == "FINISHED" else None

    return until(look, f"{job.id} is finished in MLflow")


def values(run: dict[str, Any], kind: str) -> dict[str, Any]:
    return {item["key"]: item["value"] for item in run["data"][kind]}


def test_the_accuracy_is_the_same_in_the_job_on_the_leaderboard_and_in_mlflow(stack: Stack, job: Watched) -> None:
    history = job.ended()
    history.check_order()
    assert history.states == ["queued", "starting", "running", "succeeded"]
    (metric,) = [m for m in history.job.result.metrics if (m.split, m.metric) == ("test", "accuracy")]
    assert 0.1 < metric.value <= 1

    board = stack.rest.get("/v1/leaderboards/vtab-mini").json()
    (cell,) = [row["cells"]["digits"] for row in board["rows"] if row["label"] == "Linear"]
    assert (cell["mean"], cell["runs"], cell["jobs"]) == (metric.value, 1, [job.id])

    run = run_in_mlflow(stack, job)
    assert values(run, "metrics")["test/accuracy"] == metric.value
    assert run["info"]["run_name"] == "digits/Linear/0"
    assert values(run, "params")["optimizer.lr"] == "0.02"
    assert values(run, "tags")["pace.job"] == job.id
    assert values(run, "tags")["sheet"] == "2"
    assert run["inputs"]["dataset_inputs"][0]["dataset"]["name"] == "vtab-mini/digits"


def test_the_adapter_that_is_downloaded_is_the_one_that_was_trained(stack: Stack, job: Watched) -> None:
    history = job.ended()
    answer = stack.rest.get(f"/v1/jobs/{job.id}/adapter")
    assert answer.headers["X-Checksum-Sha256"] == history.adapter_sha256


@pytest.mark.slow
def test_an_emptied_mlflow_is_filled_again_from_the_events(stack: Stack, job: Watched) -> None:
    before = run_in_mlflow(stack, job)
    link = job.now().mlflow_url
    base = link.partition("/#/")[0]
    everything = {"run_view_type": "ACTIVE_ONLY", "experiment_ids": [before["info"]["experiment_id"]]}
    runs = httpx2.post(f"{base}/api/2.0/mlflow/runs/search", json=everything, timeout=30).json()["runs"]
    for run in runs:
        body = {"run_id": run["info"]["run_id"]}
        httpx2.post(f"{base}/api/2.0/mlflow/runs/delete", json=body, timeout=30).raise_for_status()

    said = stack.folder.read_client()
    environment = {
        "PACE_URL": said["url"],
        "PACE_API_KEY": stack.folder.read_keys()["tracking"],
        "PATH": "/usr/bin:/bin",
    }
    rebuild = [sys.executable, "-m", "worker", "track", "--rebuild"]
    subprocess.run(rebuild, env=environment, check=True, capture_output=True, timeout=60)

    after = run_in_mlflow(stack, job, other_than=link)
    assert after["info"]["run_id"] != before["info"]["run_id"]
    assert values(after, "metrics") == values(before, "metrics")
    assert values(after, "params") == values(before, "params")
