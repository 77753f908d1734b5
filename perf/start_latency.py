"""From submission to training on a warm worker, beside Ray's own job submission.

    python -m perf.start_latency

Starts a stack in a temporary folder, then a bare Ray cluster with its job server, one after the other.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
from ray.job_submission import JobStatus, JobSubmissionClient

from service.client import Client, JobRequest, RecipeChoice
from service.local import stack
from service.local.ports import free_port
from service.local.record import Folder

RUNS = 5
JOB = JobRequest(recipe=RecipeChoice(name="vtab-mini", row="PACE", task="digits"))
SCRIPTS = {
    "an empty script": "import time; print(time.time())",
    "torch and timm imported": "import time, torch, timm; print(time.time())",
}


def main() -> None:
    """Prints the median of each, and their ratios."""
    with tempfile.TemporaryDirectory() as folder:
        ours, stepped = zip(*_ours(Folder(Path(folder))), strict=True)
    print(f"submission → training begins, warm worker: {_told(ours)}")
    print(f"submission → the first step of PACE is done (the recipe's batch of 16): {_told(stepped)}")
    with tempfile.TemporaryDirectory(prefix="ray") as folder, _ray_with_job_server(folder) as address:
        client = JobSubmissionClient(address)
        _until_jobs_are_taken(client)
        for name, script in SCRIPTS.items():
            theirs = [_ray_job(client, script) for _ in range(RUNS)]
            ratio = statistics.median(theirs) / statistics.median(ours)
            print(f"Ray job submission → {name}: {_told(theirs)}; {ratio:.1f} times until our training begins")


def _ours(folder: Folder) -> list[tuple[float, float]]:
    """Seconds from the request to training and to its first step's end, by the run's own clock, for job after job."""
    record = stack.start_detached(folder)
    try:
        with Client(record.url, folder.read_client()["key"]) as client:
            _start(client)  # waits for the actors, and has the data set drawn
            return [_start(client) for _ in range(RUNS)]
    finally:
        stack.stop(folder)


def _start(client: Client) -> tuple[float, float]:
    before = time.time()
    job = client.jobs.submit(JOB).id
    events = client.jobs.events(job)
    training = next(e for e in events if e.type == "stage" and e.data["name"] == "train")
    step = next(e for e in events if e.type == "progress" and e.data.get("step"))
    client.jobs.cancel(job)
    client.jobs.wait(job, timeout_s=120)
    return training.at.timestamp() - before, step.at.timestamp() - before


def _ray_job(client: JobSubmissionClient, script: str) -> float:
    """Seconds from the submission to the script's last line."""
    before = time.time()
    job = client.submit_job(entrypoint=f'{sys.executable} -c "{script}"')
    while client.get_job_status(job) not in (JobStatus.SUCCEEDED, JobStatus.FAILED):
        time.sleep(0.05)
    return float(client.get_job_logs(job).strip().splitlines()[-1]) - before


@contextmanager
def _ray_with_job_server(folder: str) -> Iterator[str]:
    port = free_port()
    command = [
        *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--disable-usage-stats"),
        *("--node-ip-address=127.0.0.1", f"--port={free_port()}", f"--temp-dir={folder}"),
        *("--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={port}"),
        *(f"--dashboard-agent-listen-port={free_port()}", f"--ray-client-server-port={free_port()}"),
    ]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    os.environ["RAY_AUTH_MODE"] = "disabled"  # of the client in this process
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for_job_server(address)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for_job_server(address: str) -> None:
    while True:
        try:
            httpx2.get(f"{address}/api/version", timeout=2.0).raise_for_status()
            return
        except (httpx2.TransportError, httpx2.HTTPStatusError):
            time.sleep(0.2)


def _until_jobs_are_taken(client: JobSubmissionClient) -> None:
    """The job server answers before the agent that starts jobs is there."""
    while True:
        try:
            _ray_job(client, SCRIPTS["an empty script"])
            return
        except RuntimeError:
            time.sleep(0.5)


def _told(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} s (median of {len(seconds)}, {min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    main()
