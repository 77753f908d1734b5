"""Checkpoints, from which a run goes on where it was: one safetensors file, replaced in one move.

Draws, crops and the data's order are functions of seed, step and epoch; of all of them the step is enough.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pace_core import storage
from pace_core.regularizers import Regularizer
from pace_core.spec import RESULTS_VERSION, RunError, RunSpec
from pace_core.spec.decisive import decisive, differences
from pace_core.spec.text import shown
from pace_core.tensors import pack, unpack
from pace_core.training.average import Average
from pace_core.training.optimizer import load_optimizer_state, optimizer_state, trainable

NAME = "checkpoint.safetensors"
_CURE = "put it back as it was, or begin anew without the checkpoint"


@dataclass
class Progress:
    """Progress of a run."""

    stage: str = "train"
    """The one under way: `train`, or before it the `supernet` and `search` of a method that searches."""
    step: int = 0
    """Optimizer steps done; of the supernet's training while it is searched."""
    sums: dict[str, float] = field(default_factory=dict)
    """Sums of the loss's terms over the steps of the epoch under way."""
    counts: dict[str, int] = field(default_factory=dict)
    """How many of these steps had each term."""
    losses: list[float] = field(default_factory=list)
    """Mean classification loss of every epoch done."""
    measured: list[tuple[int, float]] = field(default_factory=list)
    """Epoch, and what the task is measured by on validation data, of every evaluation."""
    fitness: list[float] = field(default_factory=list)
    """Of every architecture that the search has evaluated, in its order."""
    architecture: dict[str, list[Any]] | None = None
    """The one that the search found, while it is trained."""


@dataclass(frozen=True)
class Basis:
    """Inputs of a run besides its spec; a run resumes only where they are the same as before."""

    data_hash: str
    class_names: tuple[str, ...]
    weights_hash: str
    """Of the pretrained weights."""


@dataclass(frozen=True)
class Checkpoint:
    """State that an earlier attempt left, as `State.load` takes it."""

    tensors: dict[str, Tensor]
    progress: Progress
    basis: Basis

    def require(self, now: Basis) -> None:
        """Raises RunError, `data_changed` or `spec_invalid`, where data, classes or weights are not those it is of."""
        was = self.basis
        if was.weights_hash != now.weights_hash:
            message = "backbone.weights: the pretrained weights are not those that the checkpoint was trained on"
            raise RunError("spec_invalid", f"{message}; {_CURE}")
        if was.data_hash == now.data_hash:
            return
        came = [shown(name, 50) for name in now.class_names if name not in was.class_names]
        gone = [shown(name, 50) for name in was.class_names if name not in now.class_names]
        changes = (("new classes:", came), ("gone:", gone))
        what = "; ".join(f"{change} {', '.join(names[:5])}" for change, names in changes if names)
        what = what or "the classes are unchanged, but images, labels or splits differ"
        raise RunError("data_changed", f"task: the data set changed since the checkpoint ({what}); {_CURE}")


@dataclass(frozen=True)
class State:
    """Everything of a run that changes while it trains."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    regularizer: Regularizer
    progress: Progress
    average: Average | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Returns all tensors by name, in four groups."""
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
        """Sets everything to the checkpoint's state."""
        tensors, parameters = checkpoint.tensors, trainable(self.model)
        trained = _group(tensors, "trained")
        if {n: v.shape for n, v in trained.items()} != {n: p.shape for n, p in parameters.items()}:
            raise RunError("spec_invalid", f"the checkpoint's tensors are not those of this method; {_CURE}")
        try:
            for name, value in trained.items():
                parameters[name].copy_(value)
            load_optimizer_state(self.optimizer, parameters, _group(tensors, "optimizer"))
            self.regularizer.load_state_dict(_group(tensors, "regularizer"))
            if self.average:
                saved = _group(tensors, "average")
                self.average.values = {name: value.to(parameters[name].device) for name, value in saved.items()}
        except (KeyError, RuntimeError, ValueError) as error:
            message = f"the checkpoint is of another optimizer or regularizer ({type(error).__name__}: {error})"
            raise RunError("spec_invalid", f"{message}; {_CURE}") from error
        self.progress.__dict__.update(checkpoint.progress.__dict__)


def trained_model(state: State) -> AbstractContextManager[None]:
    """Gives the model the parameters that are evaluated and saved, within the context."""
    return state.average.in_place() if state.average else nullcontext()


def save_checkpoint(state: State, spec: RunSpec, basis: Basis, folder: str) -> None:
    """Raises RunError: `nan` before a checkpoint would hold values that are no numbers, `disk_full`."""
    tensors = state.tensors()
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise RunError("nan", f"step {state.progress.step}: trained weights are not finite; lower optimizer.lr")
    facts = {
        "spec": decisive(spec),
        "basis": asdict(basis),
        "progress": state.progress.__dict__,
        "results_version": RESULTS_VERSION,
    }
    storage.write(storage.join(folder, NAME), pack(tensors, facts))


def read_checkpoint(spec: RunSpec, folder: str, own_folder: str) -> Checkpoint | None:
    """Returns the checkpoint of an earlier attempt, None if there is none; a copy is kept as this attempt's first.

    Raises RunError `spec_invalid` for one of another spec or version, or one that cannot be read.
    """
    place = shown(storage.join(folder, NAME), 500)
    try:
        content = storage.read(storage.join(folder, NAME))
    except OSError as error:
        raise RunError("storage_failed", str(error)) from error
    if content is None:
        return None
    try:
        tensors, facts = unpack(content)
    except ValueError as error:
        raise RunError("spec_invalid", f"{place} is not a checkpoint: {error}; {_CURE}") from error
    if facts.get("results_version") != RESULTS_VERSION:
        raise RunError("spec_invalid", f"{place} was written by another version of this product; {_CURE}")
    if changed := differences(facts["spec"], decisive(spec)):
        raise RunError("spec_invalid", f"{place} is of another spec: {changed}; {_CURE}")
    try:
        said, basis = facts["progress"], facts["basis"]
        progress = Progress(**{**said, "measured": [(e, v) for e, v in said["measured"]]})
        checkpoint = Checkpoint(tensors, progress, Basis(**{**basis, "class_names": tuple(basis["class_names"])}))
    except (KeyError, TypeError, ValueError) as error:
        message = f"{place} is not a checkpoint: its metadata cannot be read ({error}); {_CURE}"
        raise RunError("spec_invalid", message) from error
    storage.write(storage.join(own_folder, NAME), content)
    return checkpoint


def _group(tensors: dict[str, Tensor], group: str) -> dict[str, Tensor]:
    prefix = f"{group}:"
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
