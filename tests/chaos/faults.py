"""What can happen to the parts of a stack: killed, stopped for a while, a clock set off, a disk filled."""

import errno
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from service.local.identity import identify
from service.local.record import Folder

PARTS = ("api", "dispatcher", "actor", "ray", "postgres", "mlflow", "tracking")
A_DAY_S = 86_400.0
_PAGE = 4096


@dataclass(frozen=True)
class Ground:
    """Where faults happen. `disk`: a small disk of its own under the state folder; `clocks`: see clock.c."""

    folder: Folder
    disk: Path | None = None
    clocks: Path | None = None
    parts: Sequence[str] = PARTS
    """What is killed and stopped."""

    @property
    def kinds(self) -> list[str]:
        """The faults that can be made here."""
        found = [f"{verb} {part}" for verb in ("kill", "stop") for part in self.parts]
        if self.clocks:
            found += [f"clock {part}" for part in ("api", "dispatcher", "tracking", "postgres")]
        return found + (["full disk"] if self.disk else [])


def begin(ground: Ground, kind: str, draw: random.Random) -> threading.Thread:
    """Lets the fault happen in a thread of its own: others may come while it lasts."""
    verb, part = kind.split()
    # a part that is away for longer than a lease lasts, and one that is back before anybody noticed
    lasts_s = draw.uniform(12.0, 15.0) if draw.random() < 0.25 else draw.uniform(0.5, 5.0)
    which = draw.random()
    furthest = 30.0 if part == "postgres" else A_DAY_S  # all compare times with Postgres's clock
    offset_s = draw.choice((-1, 1)) * draw.uniform(5.0, furthest)
    happen: Callable[[], None] = {
        "kill": lambda: _kill(_processes(ground.folder, part), which),
        "stop": lambda: _stop(_processes(ground.folder, part), lasts_s, part == "actor", which),
        "clock": lambda: _set_off(ground, part, offset_s, lasts_s),
        "full": lambda: _fill(ground.disk, lasts_s),
    }[verb]
    thread = threading.Thread(target=happen, name=kind)
    thread.start()
    return thread


def _kill(processes: Sequence[int], which: float) -> None:
    """Kills the first of them, or any: what is left of the part has to notice."""
    if processes:
        _signal(processes[0 if which < 0.5 else int((2 * which - 1) * len(processes))], signal.SIGKILL)


def _stop(processes: Sequence[int], lasts_s: float, one: bool, which: float) -> None:
    if one and processes:
        processes = [processes[int(which * len(processes))]]
    for process in processes:
        _signal(process, signal.SIGSTOP)
    time.sleep(lasts_s)
    for process in processes:
        _signal(process, signal.SIGCONT)


def _signal(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


def _set_off(ground: Ground, part: str, offset_s: float, lasts_s: float) -> None:
    assert ground.clocks is not None
    for process in _processes(ground.folder, part)[:1]:  # what it has forked shares its clock
        with suppress(FileNotFoundError), (ground.clocks / str(process)).open("r+b") as clock:
            for offset in (offset_s, 0.0):
                clock.seek(0)
                clock.write(int(offset * 1e9).to_bytes(8, "little", signed=True))
                clock.flush()
                if offset:
                    time.sleep(lasts_s)


def _fill(disk: Path | None, lasts_s: float) -> None:
    """Leaves no byte on the disk for so long; what others free meanwhile is taken too."""
    assert disk is not None
    ballast, end, piece = disk / "ballast", time.monotonic() + lasts_s, bytes(1 << 20)
    with ballast.open("wb", buffering=0) as file:
        while time.monotonic() < end:
            try:
                file.write(piece)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                piece = piece[: max(_PAGE, len(piece) // 2)]
                time.sleep(0.01 if len(piece) == _PAGE else 0)
    ballast.unlink()


def _processes(folder: Folder, part: str) -> list[int]:
    """The part's processes, its first one first; of Ray those whose end is the cluster's."""
    if part == "postgres":
        with suppress(OSError, ValueError):
            first = int((folder.postgres / "postmaster.pid").read_text().splitlines()[0])
            return [first, *(pid for pid in _all() if _parent(pid) == first)] if identify(first) else []
        return []
    record = folder.read()
    process = record.parts["ray" if part == "actor" else part].process if record else None
    if process is None or identify(process.pid) != process:
        return []
    session = [pid for pid in _all() if _session(pid) == process.pid]
    if part == "actor":
        return [pid for pid in session if "SlotActor" in _command(pid)]
    if part == "ray":
        return [pid for pid in session if _command(pid).partition(" ")[0].endswith(("/raylet", "/gcs_server"))]
    return [process.pid, *(pid for pid in session if pid != process.pid)] if part == "mlflow" else [process.pid]


def _all() -> list[int]:
    return sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _parent(pid: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    return 0


def _session(pid: int) -> int:
    with suppress(ProcessLookupError, PermissionError):
        return os.getsid(pid)
    return 0
