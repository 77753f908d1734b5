"""Number formats that a run computes in."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch

from pace_core.spec import RunError, Training


@dataclass(frozen=True)
class Precision:
    """Precision of a run. `dtype`: of weights and images; `autocast`: the context of a forward pass."""

    name: str
    dtype: torch.dtype
    autocast: Callable[[], AbstractContextManager[None]]


def choose_precision(training: Training, device: torch.device) -> Precision:
    """Returns the precision that the spec asks for; `auto` is bfloat16 autocast on GPUs that have it, else float32.

    On a GPU float32 has its 23 bits of mantissa in products and convolutions too. Under bfloat16 autocast, what is left
    in float32 is multiplied in TF32 (10 bits), as its matrix units do.
    """
    name = training.precision
    if name == "auto":
        name = (
            "bfloat16"
            if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            else "float32"
        )
    if device.type == "cuda":  # of the whole process, whatever the run before in a warm worker had
        torch.set_float32_matmul_precision("high" if name == "bfloat16" else "highest")
        torch.backends.cudnn.allow_tf32 = name == "bfloat16"
    if name == "bfloat16":
        return Precision(name, torch.float32, partial(torch.autocast, device.type, torch.bfloat16))
    return Precision(name, {"float32": torch.float32, "float64": torch.float64}[name], nullcontext)


def choose_device(name: str) -> torch.device:
    """Raises RunError `spec_invalid` where a GPU is asked for and there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise RunError("spec_invalid", "resources.device: this machine has no CUDA GPU; use auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
