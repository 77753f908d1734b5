"""Regularizers, one per file: each owns the passes, the loss and its gradient in every training step."""

import sys
from typing import Any

from pace_core import registry
from pace_core.regularizers._adapter_noise import attach_noise
from pace_core.regularizers._declaration import Declaration
from pace_core.regularizers._step import Batch, Regularizer, Step, StepContext, consistency, label_loss

__all__ = [
    "Batch",
    "Declaration",
    "Regularizer",
    "Step",
    "StepContext",
    "attach_noise",
    "consistency",
    "entries",
    "find",
    "label_loss",
]


def entries() -> dict[str, Declaration[Any]]:
    """Returns all regularizers by name."""
    return registry.load(sys.modules[__name__], Declaration)


def find(name: str) -> Declaration[Any]:
    """Returns a regularizer by its name. Raises KeyError for an unknown one."""
    return entries()[name]
