"""A server in a process of its own, for as long as something is measured."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil

from service.local.ports import free_port


@contextmanager
def only_api(database_url: str, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Starts the API without workers; yields its URL and its process."""
    port = free_port()
    environment = {"PACE_DATABASE_URL": database_url, "PACE_STATE_DIR": str(folder), "PACE_PORT": str(port)}
    with served([sys.executable, "-m", "service"], port, "/healthz", environment) as api:
        yield api


@contextmanager
def served(
    command: list[str], port: int, path: str, environment: Mapping[str, str]
) -> Iterator[tuple[str, psutil.Process]]:
    """Starts a server and waits until `path` answers; yields its URL and its process."""
    output = subprocess.DEVNULL
    process = subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                httpx2.get(f"{url}{path}", timeout=2.0).raise_for_status()
                break
            except httpx2.TransportError:
                assert process.poll() is None, "the server does not start"
                time.sleep(0.05)
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()
