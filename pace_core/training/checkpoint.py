"""What a run needs to go on where it was: one safetensors file, replaced in one move.

Draws, crops and the data's order are functions of seed, step and epoch; of all of them the step is enough.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pace_core import storage
from pace_core.regularizers import Regularizer
from pace_core.spec import RunError, RunSpec
from pace_core.tensors import pack, unpack
from pace_core.training.average import Average
from pace_core.training.optimizer import load_optimizer_state, optimizer_state, trainable

NAME = "checkpoint.safetensors"


@dataclass
class Progress:
    """How far a run is."""

    stage: str = "train"
    """The one under way: `train`, or before it the `supernet` and `search` of a method that searches."""
    step: int = 0
    """Optimizer steps done; of the supernet's training while it is searched."""
    sums: dict[str, float] = field(default_factory=dict)
    """Sums of the loss's terms over the steps of the epoch under way."""
    counts: dict[str, int] = field(default_factory=dict)
    """How many of these steps had each term."""
    measured: list[tuple[int, float]] = field(default_factory=list)
    """Epoch and validation accuracy of every evaluation."""
    fitness: list[float] = field(default_factory=list)
    """Of every architecture that the search has evaluated, in its order."""
    architecture: dict[str, list[Any]] | None = None
    """The one that the search found, while it is trained."""


@dataclass(frozen=True)
class Checkpoint:
    """What an earlier attempt left, as `State.load` takes it."""

    tensors: dict[str, Tensor]
    progress: Progress


@dataclass(frozen=True)
class State:
    """Everything of a run that changes while it trains."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    regularizer: Regularizer
    progress: Progress
    average: Average | None = None

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, in four groups."""
        parameters = trainable(self.model)
        groups = {
            "trained": parameters,
            "optimizer": optimizer_state(self.optimizer, parameters),
            "regularizer": self.regularizer.state_dict(),
            "average": self.average.values if self.average else {},
        }
        return {f"{group}:{name}": value for group, members in groups.items() for name, value in members.items()}

    @torch.no_grad()
    def load(self, checkpoint: Checkpoint) -> None:
        """Goes on from there."""
        tensors, parameters = checkpoint.tensors, trainable(self.model)
        for name, value in _group(tensors, "trained").items():
            parameters[name].copy_(value)
        load_optimizer_state(self.optimizer, parameters, _group(tensors, "optimizer"))
        self.regularizer.load_state_dict(_group(tensors, "regularizer"))
        if self.average:
            saved = _group(tensors, "average")
            self.average.values = {name: value.to(parameters[name].device) for name, value in saved.items()}
        self.progress.__dict__.update(checkpoint.progress.__dict__)


def trained_model(state: State) -> AbstractContextManager[None]:
    """Within it, the model has the parameters that are evaluated and saved."""
    return state.average.in_place() if state.average else nullcontext()


def save_checkpoint(state: State, spec: RunSpec, folder: str) -> None:
    """Raises RunError: `nan` before a checkpoint would hold values that are no numbers, `disk_full`."""
    tensors = state.tensors()
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise RunError("nan", f"step {state.progress.step}: trained weights are not finite; lower optimizer.lr")
    facts = {"spec": _decisive(spec), "progress": state.progress.__dict__}
    storage.write(storage.join(folder, NAME), pack(tensors, facts))


def read_checkpoint(spec: RunSpec, folder: str, own_folder: str) -> Checkpoint | None:
    """The checkpoint of an earlier attempt, a copy of which is kept as this one's first; None if there is none.

    Raises RunError `spec_invalid` for a checkpoint of another spec.
    """
    content = storage.read(storage.join(folder, NAME))
    if content is None:
        return None
    try:
        tensors, facts = unpack(content)
    except ValueError as error:
        raise RunError("spec_invalid", f"{folder}: {NAME} is {error}") from error
    if facts["spec"] != _decisive(spec):
        raise RunError("spec_invalid", f"{folder}: the checkpoint there is of another spec; start without it")
    storage.write(storage.join(own_folder, NAME), content)
    said = facts["progress"]
    return Checkpoint(tensors, Progress(**{**said, "measured": [(e, v) for e, v in said["measured"]]}))


def _decisive(spec: RunSpec) -> dict[str, Any]:
    return {key: value for key, value in spec.json_dict().items() if key != "resources"}


def _group(tensors: dict[str, Tensor], group: str) -> dict[str, Tensor]:
    prefix = f"{group}:"
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
