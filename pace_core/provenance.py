"""Provenance of a number: what it depends on besides its spec, and what a run used."""

import ctypes
import gc
import hashlib
import resource
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

from pace_core.spec import RESULTS_VERSION, Provenance

_LIBRARIES = ("torch", "timm", "numpy", "safetensors", "pillow")
_SELF = Path("/proc/self")


def provenance(*, weights_hash: str, data_hash: str, precision: str, device: torch.device, threads: int) -> Provenance:
    """Returns the provenance of a run in this process."""
    return Provenance(
        code_version=code_version(),
        results_version=RESULTS_VERSION,
        weights_hash=weights_hash,
        data_hash=data_hash,
        precision=precision,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        cpu_features=torch.backends.cpu.get_cpu_capability(),
        threads=threads,
        libraries={name: metadata.version(name) for name in _LIBRARIES} | {"python": sys.version.split()[0]},
    )


@cache
def code_version() -> str:
    """Returns the package's version and a hash of the core's sources."""
    folder, digest = Path(__file__).parent, hashlib.sha256()
    for source in sorted(folder.rglob("*.py")):
        digest.update(source.relative_to(folder).as_posix().encode() + source.read_bytes())
    try:
        version = metadata.version("pace-finetune")
    except metadata.PackageNotFoundError:  # run from a bare checkout
        version = "0"
    return f"{version}+{digest.hexdigest()[:12]}"


def reset_peak_memory(device: torch.device) -> None:
    """Gives back what the last run left in a warm process and forgets its peak, where the system can."""
    gc.collect()  # a model and its hooks refer to each other
    _trim()
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what torch keeps for itself is not free for others
        torch.cuda.reset_peak_memory_stats(device)
    elif _SELF.exists():
        try:
            (_SELF / "clear_refs").write_text("5")
        except OSError:  # a sandbox may forbid it; the peak is then the process's own
            return


def _trim() -> None:
    """Lets glibc give free memory back to the system, which it otherwise keeps for each thread that ever ran."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def peak_memory_bytes(device: torch.device) -> int:
    """Returns the peak of the device's memory, on a CPU of the process's, since its start or `reset_peak_memory`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _SELF.exists():
        for line in (_SELF / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
