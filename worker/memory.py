"""Memory free for a job."""

import importlib
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def free_memory(device: str) -> int:
    """Returns free bytes: as the GPU counts them, other processes too; else the node's, or its container's if less."""
    if device == "cuda":
        return int(importlib.import_module("torch").cuda.mem_get_info()[0])
    return min(_node(), _container())


def own_memory() -> int:
    """Returns the bytes that this process holds; 0 where the system counts nothing as used."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def _node() -> int:
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():  # macOS says only how much there is
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable"))
    return int(available.split()[1]) * 1024


def _container() -> int | float:
    try:
        limit, used = (_CGROUP / name for name in ("memory.max", "memory.current"))
        return max(0, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return float("inf")
