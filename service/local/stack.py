"""Starts the stack in a process of its own, and ends it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

from service import postgres
from service.local.identity import Identity, alive, end_session
from service.local.readiness import StackError, healthy
from service.local.record import Folder, Record

_DOWN_S = 60.0


def start_detached(folder: Folder, within_s: float = 180.0) -> Record:
    """Starts the stack in a process of its own; returns when the API answers. Raises StackError."""
    folder.make()
    log = folder.logs / "supervisor.log"
    with log.open("ab") as output:
        process = subprocess.Popen(  # outlives us
            [sys.executable, "-m", "service.local"],
            env=os.environ | {"PACE_STATE_DIR": str(folder.path)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        record = folder.read()
        ours = record and record.supervisor.pid == process.pid
        if record and ours and healthy(record.url, folder.read_client().get("key", "")):
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
    asked: Identity | None = None
    while folder.running() or (asked and alive(asked)):
        record = folder.read()
        # a stack that has only just begun has written no record yet
        if not asked and record and alive(record.supervisor):
            asked = record.supervisor
            with suppress(ProcessLookupError):
                os.kill(asked.pid, signal.SIGTERM)
        if time.monotonic() > deadline:
            if asked:
                end_session(asked, 0)
                return
            raise StackError(f"another process holds {folder.path}/lock and is not a stack that is known here")
        time.sleep(0.1)


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-20:])
