"""Starts the stack in a process of its own, waits for it, ends it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import httpx2
from pydantic import ValidationError

from service import postgres
from service.client.models import PartState, Readiness
from service.local.identity import alive, end_session
from service.local.record import Folder, Record

_DOWN_S = 60.0


class StackError(RuntimeError):
    """The stack cannot be started or stopped; the message says why and what to do."""


def start_detached(folder: Folder, within_s: float = 120.0) -> Record:
    """Starts the stack in a process of its own; returns when the API answers. Raises StackError."""
    folder.make()
    log = folder.logs / "supervisor.log"
    with log.open("ab") as output:
        process = subprocess.Popen(  # outlives us
            [sys.executable, "-m", "service.local", "serve"],
            env=os.environ | {"PACE_STATE_DIR": str(folder.path)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        record = folder.read()
        if record and record.supervisor.pid == process.pid and healthy(record.url):
            return record
        if process.poll() is not None:
            raise StackError(f"the stack did not start; the end of {log}:\n{_tail(log.read_text('utf-8'))}")
        time.sleep(0.1)
    raise StackError(f"the API does not answer after {within_s:g} s; see {folder.logs}, and `pace down` to stop")


def stop(folder: Folder) -> bool:
    """Ends the stack of that folder and whatever an earlier one left; False where nothing ran. Raises StackError."""
    ran = folder.running()
    if ran:
        _ask_to_end(folder)
    return clear(folder) or ran


def wait_ready(url: str, since: datetime, within_s: float, say: Callable[[str], None]) -> None:
    """Returns when every part has said since then that it is ready: an earlier stack's word does not count.

    Raises StackError that names those that are not.
    """
    deadline = time.monotonic() + within_s
    seen: set[str] = set()
    while True:
        parts = readiness(url)
        for name, part in parts.items():
            fresh = part.at is not None and part.at >= since
            if part.status == "ok" and fresh and name not in seen:
                seen.add(name)
                say(f"{name} is ready")
        if parts and len(seen) == len(parts):
            return
        if time.monotonic() > deadline:
            late = ", ".join(
                f"{name} ({part.detail or part.status})" for name, part in parts.items() if name not in seen
            )
            raise StackError(f"not ready after {within_s:g} s: {late}; see `pace status`")
        time.sleep(0.5)


def readiness(url: str) -> dict[str, PartState]:
    """How each part is, as the API tells it; empty where it does not answer."""
    try:
        return Readiness.model_validate_json(httpx2.get(f"{url}/readyz", timeout=5.0).content).parts
    except (httpx2.TransportError, ValidationError):
        return {}


def healthy(url: str) -> bool:
    """Whether the API answers there."""
    try:
        return httpx2.get(f"{url}/healthz", timeout=2.0).is_success
    except httpx2.TransportError:
        return False


def clear(folder: Folder) -> bool:
    """Ends what a stack whose supervisor is gone left behind; whether there was anything."""
    record = folder.read()
    left = [part.process for part in record.parts.values() if part.process] if record else []
    found = any(alive(process) for process in left)
    for process in left:
        end_session(process, 0)
    if not os.environ.get("PACE_DATABASE_URL") and postgres.running(folder.postgres):
        postgres.stop(folder.postgres)
        found = True
    if folder.ray.exists():
        shutil.rmtree(folder.ray)
    folder.forget()
    return found


def _ask_to_end(folder: Folder) -> None:
    deadline = time.monotonic() + _DOWN_S
    asked = False
    while folder.running():
        record = folder.read()
        # a stack that has only just begun has written no record yet
        if not asked and record and alive(record.supervisor):
            with suppress(ProcessLookupError):
                os.kill(record.supervisor.pid, signal.SIGTERM)
            asked = True
        if time.monotonic() > deadline:
            if record and asked:
                end_session(record.supervisor, 0)
                return
            raise StackError(f"something holds {folder.path}/lock and is no stack that is known here")
        time.sleep(0.1)


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-20:])
