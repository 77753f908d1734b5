"""The stack to which things happen: its settings, its small disk, its clocks, the spec of its jobs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.local import stack as local
from service.local.ports import free_port
from service.local.record import Folder
from tests.chaos import noop
from tests.chaos.faults import Ground
from tests.stack import Stack

DISK_BYTES = 1_000_000_000
START_S = 600.0
_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_SETTINGS = {
    "PACE_SLOTS": "4",
    "OMP_NUM_THREADS": "1",
    "PACE_LEASE_S": "10",  # shorter than the longest stop, so that attempts are lost
    "PACE_REAP_GRACE_S": "5",
    "PACE_RETRY_AFTER_S": "0.2",
    "PACE_MIN_FREE_BYTES": "50000000",
}


@contextmanager
def started(place: Path) -> Iterator[tuple[Stack, Ground]]:
    """Starts a stack in that folder as `pace up` does; says which faults cannot be made on this machine."""
    place.chmod(0o755)  # Postgres runs as a user of its own
    state = place / "state"
    state.mkdir()
    disk, clocks = _mounted(state), _clocks(place)
    python = os.pathsep.join([str(_HERE / "parts"), str(_ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    said = {"PACE_DATA_ROOTS": str(place), "XDG_STATE_HOME": str(place / "user"), "PYTHONPATH": python}
    os.environ |= _SETTINGS | said | {"PACE_PORT": str(free_port())}
    for name in ("PACE_DATABASE_URL", "PACE_RAY_ADDRESS", "MLFLOW_TRACKING_URI", "PACE_STORAGE", "PACE_URL"):
        os.environ.pop(name, None)
    if clocks:
        os.environ |= {"CHAOS_CLOCKS": str(clocks), "LD_PRELOAD": str(clocks.parent / "clock.so")}
    folder = Folder(state)
    try:
        local.start_detached(folder, within_s=START_S)
        stack = Stack(folder)
        yield stack, Ground(folder, disk, clocks)
        stack.close()
    finally:
        local.stop(folder)
        if disk:
            subprocess.run(["umount", "--lazy", str(disk)], check=False)


def spec(place: Path) -> dict[str, Any]:
    """Returns what every job asks for, but for its seed."""
    return {
        "task": {"name": noop.TASK, "source": "image_folder", "path": str(place)},
        "method": {"name": "linear"},
        "training": {"epochs": 3, "warmup_epochs": 0},
    }


def _mounted(state: Path) -> Path | None:
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=755", "pace-chaos", str(state)]
    try:
        done = subprocess.run(mount, check=False, capture_output=True, text=True)
    except OSError as error:
        done = None
        why = str(error)
    else:
        why = done.stderr.strip()
    if done is not None and done.returncode == 0:
        return state
    print(f"No disk is filled: a small one cannot be mounted here ({why}).", file=sys.stderr)
    return None


def _clocks(place: Path) -> Path | None:
    build = ["cc", "-shared", "-fPIC", "-O2", "-o", str(place / "clock.so"), str(_HERE / "clock.c"), "-ldl"]
    try:
        subprocess.run(build, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"No clock is set off: {getattr(error, 'stderr', None) or error}", file=sys.stderr)
        return None
    clocks = place / "clocks"
    clocks.mkdir()
    clocks.chmod(0o1777)
    return clocks
