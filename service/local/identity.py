"""Identity of a process: a process id alone may belong to another process tomorrow."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Identity(BaseModel):
    """A process that leads a session of its own, and the moment it started."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started: str
    """Boot and clock ticks since (Linux), else the start as `ps` tells it; never the same for two processes."""


def identify(pid: int) -> Identity | None:
    """Returns the process that has this id now; None where there is none, or it has ended and waits to be buried."""
    started = _started_linux(pid) if sys.platform == "linux" else _started_ps(pid)
    return Identity(pid=pid, started=started) if started else None


def alive(process: Identity) -> bool:
    """Tells whether that very process still runs."""
    return identify(process.pid) == process


def end_session(process: Identity, patience_s: float) -> None:
    """Ends the process and all that it started: asks it, and after `patience_s` kills what is left of its session.

    An id that has passed to a stranger is left alone.
    """
    if alive(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM if patience_s else signal.SIGKILL)
        deadline = time.monotonic() + patience_s
        while alive(process) and time.monotonic() < deadline:
            time.sleep(0.05)
    kill_rest(process)


def kill_rest(process: Identity) -> None:
    """Kills what is left of the session that the process led."""
    now = identify(process.pid)
    if now is not None and now != process:
        return  # the id belongs to a stranger, so the session is long gone: a session's id is not given away while used
    for pid in _pids():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == process.pid:
                os.kill(pid, signal.SIGKILL)


def _pids() -> list[int]:
    if sys.platform == "linux":
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    listed = subprocess.run(["ps", "-A", "-o", "pid="], capture_output=True, text=True, check=True)
    return [int(line) for line in listed.stdout.split()]


def _started_linux(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
    if fields[0] in "ZX":
        return None
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text('ascii').strip()}/{fields[19]}"


def _started_ps(pid: int) -> str | None:
    said = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = said.stdout.strip().partition(" ")
    return started.strip() or None if state and not state.startswith("Z") else None
