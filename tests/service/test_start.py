"""The API process: it needs no torch, ray or mlflow, and is there at once."""

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

ABSENT = ("torch", "timm", "numpy", "ray", "mlflow", "sklearn", "worker", "dashboards")
BLOCKER = f"""
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


@pytest.fixture
def environment(postgres_url: str, tmp_path: Path) -> dict[str, str]:
    """In which the modules that only workers have cannot be imported."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        **inherited,
        "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}",
        "PACE_DATABASE_URL": postgres_url,
        "PACE_STATE_DIR": str(tmp_path),
        "PACE_PORT": str(port),
    }


@pytest.mark.timeout(400)
def test_it_starts_and_answers_at_little_more_than_the_cost_of_its_libraries_without_torch_ray_and_mlflow(
    environment: dict[str, str],
) -> None:
    absent = subprocess.run([sys.executable, "-c", "import ray"], env=environment, capture_output=True, check=False)
    assert b"ModuleNotFoundError" in absent.stderr
    serve_once(environment)  # compiles, where nothing has been compiled yet
    # seconds of work, so that whatever else this machine does is not counted; a ratio, so that its speed is not either
    libraries = min(cpu_seconds(lambda: import_once(environment)) for _ in range(2))
    assert min(cpu_seconds(lambda: serve_once(environment)) for _ in range(2)) < 1.8 * libraries


def cpu_seconds(work: Callable[[], object]) -> float:
    """What the processes that it starts and ends have computed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def import_once(environment: dict[str, str]) -> None:
    """Loads what the API is built on, and nothing of its own."""
    libraries = "fastapi_offline, uvicorn, sqlalchemy.ext.asyncio, psycopg, structlog, pydantic_settings, jsonschema"
    subprocess.run([sys.executable, "-c", f"import {libraries}"], env=environment, check=True)


def serve_once(environment: dict[str, str]) -> None:
    """Starts the API, waits for its first answer, ends it."""
    process = subprocess.Popen([sys.executable, "-m", "service"], env=environment)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{environment['PACE_PORT']}", timeout=10, verify=False) as http:
            assert first_answer(process, http).json()["ready"]
            assert http.get("/v1/catalogue/methods").status_code == 401
    finally:
        process.terminate()
        process.wait(30)


def first_answer(process: subprocess.Popen[bytes], http: httpx2.Client) -> httpx2.Response:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, "the process ended"
        try:
            return http.get("/readyz")
        except httpx2.TransportError:
            time.sleep(0.05)
    raise TimeoutError("the API does not answer")
