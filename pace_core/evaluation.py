"""Measurements of a model on the images that a phase holds out."""

from typing import NamedTuple

import torch
from torch import Tensor

from pace_core.data import Splits
from pace_core.diagnostics import Diagnostics
from pace_core.training.checkpoint import State, trained_model
from pace_core.training.compute import Compute
from pace_core.training.evaluate import accuracy, batches_of, logits_of, mean_cross_entropy, only


class Measured(NamedTuple):
    """The accuracy in another test than the run's own."""

    task: str
    accuracy: float
    images: int
    logits: int
    """So many were compared."""


class Evaluation:
    """Measurements of a run's model on the held-out split, with the diagnostics where they are asked for.

    Created before training, since the diagnostics keep what the model was at its start.
    """

    def __init__(self, state: State, splits: Splits, compute: Compute, diagnostics: bool) -> None:
        self._state, self._model, self._train = state, state.model, splits.train
        self.split, self._held_out = splits.measured
        self._targets = splits.targets
        self._with = (compute.preprocessing, compute.precision, compute.device)
        self._diagnostics = Diagnostics(state.model) if diagnostics else None
        self._last: tuple[int, Tensor] | None = None

    @property
    def count(self) -> int:
        """Images that are measured."""
        return len(self._held_out)

    def label_counts(self, num_classes: int) -> list[int]:
        """Returns how many of them each class has."""
        return torch.bincount(self._held_out.labels, minlength=num_classes).tolist()

    def measure(self) -> dict[str, float]:
        """Returns `<split>/accuracy` and the diagnostics, by the names under which they are reported."""
        with trained_model(self._state):
            return self._measure(self.split)

    def last_logits(self) -> Tensor:
        """Returns the logits of the held-out images now; those of the last measurement where no step came after it."""
        step = self._state.progress.step
        if self._last is None or self._last[0] != step:
            with trained_model(self._state):
                self._last = step, logits_of(self._model, self._held_out, *self._with)
        return self._last[1]

    @property
    def labels(self) -> Tensor:
        """Labels of the held-out images, int64 [N]."""
        return self._held_out.labels

    def measure_targets(self) -> list[Measured]:
        """Measures each other test; of some, over their own classes' logits."""
        found: list[Measured] = []
        with trained_model(self._state):
            for target in self._targets:
                logits = logits_of(self._model, target.images, *self._with)
                compared = logits if target.classes is None else only(logits, target.classes)
                count = logits.shape[1] if target.classes is None else len(target.classes)
                labels = target.images.labels
                found.append(Measured(target.task, accuracy(compared, labels), len(labels), count))
        return found

    def _measure(self, split: str) -> dict[str, float]:
        logits = logits_of(self._model, self._held_out, *self._with)
        self._last = self._state.progress.step, logits
        values = {f"{split}/accuracy": accuracy(logits, self._held_out.labels)}
        if self._diagnostics:
            fitted = logits_of(self._model, self._train, *self._with)
            values |= {
                f"{split}/loss": mean_cross_entropy(logits, self._held_out.labels),
                "train_set/accuracy": accuracy(fitted, self._train.labels),
                "train_set/loss": mean_cross_entropy(fitted, self._train.labels),
            }
            measured = self._diagnostics.measure(self._held_out, lambda images: batches_of(images, *self._with))
            values |= {f"{split}/{name}": value for name, value in measured.items()}
        return values
